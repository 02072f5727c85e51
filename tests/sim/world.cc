#include "tests/sim/world.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "shared/format.h"
#include "tests/sim/effect_text.h"

namespace membroker::sim {

namespace {

using namespace membroker::arbiter;  // NOLINT: one function for each of its events and effects

}  // namespace

World::World(const WorldOptions& options)
    : options_(options),
      rng_(options.seed),
      arbiter_(options.capacity, {.policy = options.policy}),
      monitor_(arbiter_, options.policy) {}

std::string World::run() {
  make_tenants();
  clients_.resize(static_cast<std::size_t>(options_.clients));
  for (int i = 0; i < options_.clients; ++i) plan(i, Act::kOpen, rng_.between(0, 500));
  bool drained = !options_.drains;
  while (wrong_.empty() && monitor_.tally().events < options_.events) {
    if (!drained && monitor_.tally().events >= options_.events / 10 * 9) {
      drained = true;
      apply(Drain{});
      continue;
    }
    const Instant deadline = arbiter_.next_deadline();
    if (agenda_.empty() || deadline <= agenda_.top().at) {
      now_ = std::max(now_, deadline);
      step(nullptr);
      continue;
    }
    const Planned planned = agenda_.top();
    agenda_.pop();
    now_ = planned.at;
    act(planned);
  }
  if (wrong_.empty()) end();
  if (wrong_.empty()) return {};
  return strf("--seed=%llu event %llu at %lld ms: %s",
              static_cast<unsigned long long>(options_.seed),
              static_cast<unsigned long long>(monitor_.tally().events),
              static_cast<long long>(now_.ms), wrong_.c_str());
}

// ---- machinery ----

bool World::step(const Event* event) {
  if (!wrong_.empty()) return false;
  if (recording_ != nullptr) {
    recording_->push_back({now_, event == nullptr, event == nullptr ? Event{} : *event});
  }
  Effects effects;
  monitor_.before(now_, event);
  if (event != nullptr) {
    arbiter_.apply(now_, *event, effects);
  } else {
    arbiter_.expire(now_, effects);
  }
  wrong_ = monitor_.after(now_, event, effects);
  if (wrong_.empty() && arbiter_.next_deadline() <= now_) wrong_ = "it has more to do at once";
  if (!wrong_.empty()) wrong_ += "\n  effects of this step: " + effects_text(effects, {});
  hear(effects);
  return wrong_.empty();
}

void World::plan(int client, Act act, Millis in) {
  const std::uint64_t life = clients_[static_cast<std::size_t>(client)].life;
  agenda_.push({now_ + in, ++planned_, client, act, life});
}

int World::index_of(const Client& client) const {
  return static_cast<int>(&client - clients_.data());
}

World::Client* World::client_of(SessionId session) {
  for (Client& client : clients_) {
    if (client.open && client.session == session) return &client;
  }
  return nullptr;
}

void World::act(const Planned& planned) {
  Client& client = clients_[static_cast<std::size_t>(planned.client)];
  if (planned.life != client.life) return;
  switch (planned.act) {
    case Act::kOpen: open(client); return;
    case Act::kResume: resume(client); return;
    case Act::kThink:
      if (client.open && !client.stopped) think(client);
      if (client.open) plan(planned.client, Act::kThink, rng_.between(1, 120));
      return;
    case Act::kAnswer:
      if (client.open && !client.stopped) answer(client);
      return;
  }
}

void World::hear(const Effects& effects) {
  for (const Effect& effect : effects) hear(effect);
}

void World::hear(const Effect& effect) {
  if (const auto* opened = std::get_if<Opened>(&effect)) {
    if (Client* client = client_of(opened->session)) client->used = opened->floor;
  } else if (const auto* refused = std::get_if<OpenRefused>(&effect)) {
    if (Client* client = client_of(refused->session)) {
      client->open = false;
      ++client->life;
      plan(index_of(*client), Act::kOpen, rng_.between(50, 2'000));
    }
  } else if (const auto* granted = std::get_if<Granted>(&effect)) {
    if (Client* client = client_of(granted->session)) {
      client->used += rng_.between(granted->bytes / 2, granted->bytes);
      std::erase(client->waits, granted->request);
    }
  } else if (const auto* denied = std::get_if<Denied>(&effect)) {
    if (Client* client = client_of(denied->session)) std::erase(client->waits, denied->request);
  } else if (const auto* revoke = std::get_if<Revoke>(&effect)) {
    Client* client = client_of(revoke->session);
    if (client == nullptr) return;
    client->asked = revoke->bytes;
    client->stage = revoke->stage;
    if (client->answering) return;
    client->answering = true;
    plan(index_of(*client), Act::kAnswer, rng_.between(1, 20));
  } else if (const auto* withdraw = std::get_if<Withdraw>(&effect)) {
    if (Client* client = client_of(withdraw->session)) client->asked = 0;
  } else if (const auto* overdue = std::get_if<Overdue>(&effect)) {
    if (Client* client = client_of(overdue->session)) client->asked = overdue->bytes;
  } else if (const auto* policy = std::get_if<OverduePolicy>(&effect)) {
    if (policy->fence) {
      // The daemon fences it; the client comes back with its totals.
      Client* client = client_of(policy->session);
      if (client == nullptr || client->stopped) return;
      client->stopped = true;
      apply(Fence{policy->session});
      plan(index_of(*client), Act::kResume, rng_.between(1, 500));
    }
  }
}

// ---- the tree ----

TenantPolicy random_policy(Rng& rng, Bytes capacity) {
  TenantPolicy policy;
  policy.weight = static_cast<std::int32_t>(rng.chance(600) ? 1 : rng.between(1, 8));
  policy.priority = static_cast<std::int32_t>(rng.chance(700) ? 0 : rng.between(0, 3));
  policy.priority_max = 2;
  if (rng.chance(350)) policy.guarantee = rng.between(0, capacity / 24);
  if (rng.chance(300)) policy.mode = GuaranteeMode::kReserved;
  if (rng.chance(300)) {
    policy.limit = policy.guarantee + rng.between(capacity / 32, capacity / 2);
  }
  if (rng.chance(300)) policy.on_overdue = OnOverdue::kFence;
  return policy;
}

std::vector<std::string> random_tenants(Rng& rng) {
  std::vector<std::string> tenants;
  const std::int64_t roots = rng.between(2, 6);
  for (std::int64_t i = 0; i < roots; ++i) tenants.push_back(strf("t%d", static_cast<int>(i)));
  const std::int64_t deeper = rng.between(0, 10);
  for (std::int64_t i = 0; i < deeper; ++i) {
    const auto above = static_cast<std::size_t>(rng.between(0, std::ssize(tenants) - 1));
    if (std::count(tenants[above].begin(), tenants[above].end(), '/') >= 3) continue;
    tenants.push_back(tenants[above] + strf("/s%d", static_cast<int>(i)));
  }
  return tenants;
}

void World::make_tenants() {
  tenants_ = random_tenants(rng_);
  for (const std::string& tenant : tenants_) {
    apply(SetTenant{tenant, random_policy(rng_, options_.capacity)});
  }
}

// ---- the end ----

void World::end() {
  for (const SessionId orphan : orphans_) apply(Gone{orphan});
  for (Client& client : clients_) {
    if (client.open) apply(Gone{client.session});
    client.open = false;
  }
  if (wrong_.empty()) wrong_ = monitor_.at_end();
}

}  // namespace membroker::sim
