#include <algorithm>
#include <utility>

#include "shared/format.h"
#include "tests/sim/world.h"

/// \file
/// What the clients of the world do, each after its manners, and what the operator does.

namespace membroker::sim {

namespace {

using namespace membroker::arbiter;  // NOLINT: one function for each of its events

}  // namespace

// ---- what a client knows of itself ----

Bytes World::slack(const Client& client) const {
  return std::max(Bytes{0}, held(client) - client.used);
}

Bytes World::reclaimable(const Client& client) const {
  if (client.manners == Manners::kLying) return held(client);
  return std::min(client.used, held(client)) / 1000 * client.spillable;
}

Bytes World::random_size(Bytes most) {
  const Bytes size = rng_.between(1, most);
  return rng_.chance(300) ? std::max(Bytes{1}, size / 64) : size;
}

// ---- life ----

void World::open(Client& client) {
  const std::uint64_t life = client.life + 1;
  client = Client{};
  client.life = life;
  client.session = SessionId{++sessions_};
  client.tenant = static_cast<int>(rng_.between(0, std::ssize(tenants_) - 1));
  client.manners = Manners::kHonest;
  if (!options_.only_honest && rng_.chance(450)) {
    client.manners = static_cast<Manners>(rng_.between(1, 5));
  }
  client.spillable = static_cast<int>(rng_.between(0, 1000));
  if (options_.only_honest) client.spillable = 1000;
  client.spill_rate = rng_.between(20, 2'000) * kMiB;
  client.open = true;
  Open event;
  event.session = client.session;
  event.name = strf("c%llu", static_cast<unsigned long long>(client.session.value));
  event.tenant = tenants_[static_cast<std::size_t>(client.tenant)];
  event.priority = static_cast<std::int32_t>(rng_.chance(800) ? 0 : rng_.between(0, 2));
  event.floor = rng_.chance(500) ? rng_.between(0, 4) * kMiB : 0;
  event.optional_floor = rng_.chance(700);
  apply(event);
  if (client.open) plan(index_of(client), Act::kThink, rng_.between(1, 100));
}

void World::think(Client& client) {
  report(client);
  const std::int64_t dice = rng_.between(0, 999);
  if (dice < 420) {
    ask_for_memory(client);
  } else if (dice < 700) {
    give_back(client);
  } else if (dice < 720 && !client.waits.empty()) {
    apply(Cancel{client.session, client.waits.front()});
  } else if (options_.only_honest) {
    return;
  } else if (dice < 735) {
    misbehave(client);
  } else if (dice < 750) {
    stop(client);
  } else if (dice < 756) {
    crash(client);
  } else if (dice < 790 && client.manners == Manners::kOverdrawing) {
    overdraw(client);
  } else if (dice < 795) {
    operate();
  }
}

void World::ask_for_memory(Client& client) {
  Acquire event;
  event.session = client.session;
  event.request = RequestId{++client.requests};
  event.want = random_size(options_.capacity / 12);
  event.min = rng_.chance(400) ? event.want : rng_.between(1, event.want);
  event.wait = rng_.chance(200) ? 0 : rng_.between(1, 8'000);
  event.priority = static_cast<std::int32_t>(rng_.chance(800) ? 0 : rng_.between(0, 2));
  client.waits.push_back(event.request);
  apply(event);
}

void World::give_back(Client& client) {
  const Bytes floor = std::min(held(client), Bytes{4} * kMiB);
  const Bytes most = held(client) - floor;
  if (most <= 0) return;
  const Bytes bytes = rng_.chance(100) ? most : rng_.between(1, most);
  client.used = std::max(Bytes{0}, client.used - bytes);
  apply(Release{client.session, bytes});
}

void World::report(Client& client) {
  apply(Report{client.session, slack(client), reclaimable(client)});
}

void World::overdraw(Client& client) {
  const Bytes bytes = random_size(options_.capacity / 64);
  client.used += bytes;
  apply(Over{client.session, bytes});
}

void World::crash(Client& client) {
  const Bytes left = held(client);
  const SessionId session = client.session;
  client.open = false;
  if (left > 0 && rng_.chance(200)) {
    const SessionId orphan{++sessions_};
    orphans_.push_back(orphan);
    const std::string& tenant = tenants_[static_cast<std::size_t>(client.tenant)];
    apply(Ended{{session}, {{orphan, "orphan", tenant, left / rng_.between(1, 4)}}});
  } else {
    apply(Gone{session});
  }
  ++client.life;
  plan(index_of(client), Act::kOpen, rng_.between(1, 1'000));
  if (orphans_.size() > 4) {
    apply(Gone{orphans_.front()});
    orphans_.erase(orphans_.begin());
  }
}

void World::stop(Client& client) {
  client.stopped = true;
  if (rng_.chance(800)) apply(Suspect{client.session});
  client.waits.clear();
  plan(index_of(client), Act::kResume, rng_.between(1, 5'000));
}

// It comes back with what it really holds: the same, less, or more than is on record.
void World::resume(Client& client) {
  if (!client.open || !client.stopped) return;
  client.stopped = false;
  client.answering = false;
  client.waits.clear();
  Bytes holds = held(client);
  if (rng_.chance(200)) holds -= rng_.between(0, holds);
  if (rng_.chance(50)) holds += rng_.between(0, 8) * kMiB;
  client.used = std::min(client.used, holds);
  apply(Resumed{client.session, holds, holds - client.used, 0});
  plan(index_of(client), Act::kThink, rng_.between(1, 100));
}

// Things no correct peer or shell does.
void World::misbehave(Client& client) {
  switch (rng_.between(0, 7)) {
    case 0: apply(Release{client.session, held(client) + 1}); return;
    case 1: apply(Release{SessionId{UINT64_MAX}, 1}); return;
    case 2:
      apply(Acquire{client.session, RequestId{++client.requests}, kMiB, 2 * kMiB, 100, 0});
      return;
    case 3:
      apply(Acquire{client.session, RequestId{++client.requests}, kBytesMax, kBytesMax, 100, 0});
      return;
    case 4: apply(Cancel{client.session, RequestId{UINT64_MAX}}); return;
    case 5: apply(Report{client.session, -1, kBytesMax}); return;
    case 6: apply(Over{client.session, kBytesMax}); return;
    default: progress(client, ProgressState::kDone); return;
  }
}

// ---- answers to revocations ----

void World::progress(Client& client, ProgressState state) {
  Progress event;
  event.session = client.session;
  event.current = !rng_.chance(50);
  event.state = state;
  event.slack = slack(client);
  event.reclaimable = reclaimable(client);
  apply(event);
}

void World::answer(Client& client) {
  client.answering = false;
  const auto lease = arbiter_.lease(client.session);
  if (!lease || lease->revoking == 0) return;
  switch (client.manners) {
    case Manners::kIgnoring: return;
    case Manners::kHalf:
      apply(Release{client.session, std::min(held(client), lease->revoking / 2)});
      client.used = std::min(client.used, held(client));
      progress(client, rng_.chance(500) ? ProgressState::kDone : ProgressState::kWorking);
      return;
    case Manners::kCareless:
      progress(client, rng_.chance(500) ? ProgressState::kDone : ProgressState::kCannot);
      return;
    case Manners::kLying: progress(client, ProgressState::kDone); return;
    default: answer_honestly(client); return;
  }
}

// Slack first; what must be spilled takes its time, in pieces.
void World::answer_honestly(Client& client) {
  const Bytes wanted = arbiter_.lease(client.session)->revoking;
  const Bytes unused = std::min(slack(client), wanted);
  if (unused > 0) apply(Release{client.session, unused});
  const Bytes rest = wanted - unused;
  if (rest <= 0) return;
  const auto lease = arbiter_.lease(client.session);
  if (!lease || lease->revoking == 0) return;
  if (client.stage == Stage::kSlack && unused < wanted) {
    progress(client, ProgressState::kDone);
    return;
  }
  const Bytes piece = std::min({rest, reclaimable(client), lease->revoking, 64 * kMiB});
  if (piece <= 0) {
    progress(client, ProgressState::kCannot);
    return;
  }
  client.used -= piece;
  apply(Release{client.session, piece});
  const auto after = arbiter_.lease(client.session);
  if (!after || after->revoking == 0 || client.answering) return;
  client.answering = true;
  plan(index_of(client), Act::kAnswer, 1 + piece * 1000 / client.spill_rate);
}

// ---- the operator ----

void World::operate() {
  const std::int64_t dice = rng_.between(0, 99);
  if (dice < 30) {
    const Bytes least = options_.capacity / 2;
    apply(SetCapacity{least + rng_.between(0, options_.capacity / 2)});
  } else if (dice < 45) {
    const auto any = static_cast<std::size_t>(rng_.between(0, std::ssize(clients_) - 1));
    if (clients_[any].open) apply(Ask{clients_[any].session, random_size(64 * kMiB)});
  } else {
    operate_on_tenant();
  }
}

void World::operate_on_tenant() {
  if (!removed_.empty() && rng_.chance(700)) {
    apply(SetTenant{removed_.back(), random_policy(rng_, options_.capacity)});
    removed_.pop_back();
    return;
  }
  const auto any = static_cast<std::size_t>(rng_.between(0, std::ssize(tenants_) - 1));
  if (rng_.chance(150)) {
    apply(RemoveTenant{tenants_[any]});
    removed_.push_back(tenants_[any]);
    return;
  }
  apply(SetTenant{tenants_[any], random_policy(rng_, options_.capacity)});
}

}  // namespace membroker::sim
