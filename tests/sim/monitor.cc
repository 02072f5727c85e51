#include "tests/sim/monitor.h"

#include <algorithm>
#include <variant>

#include "server/arbiter/rules.h"
#include "shared/format.h"
#include "tests/sim/effect_text.h"

namespace membroker::sim {

namespace {

using namespace membroker::arbiter;  // NOLINT: one function for each of its events and effects

template <class... Kinds>
bool is_one_of(const Event* event) {
  return event != nullptr && (std::holds_alternative<Kinds>(*event) || ...);
}

unsigned long long number(SessionId session) { return session.value; }

}  // namespace

void Monitor::complain(const std::string& what) {
  if (wrong_.empty()) wrong_ = what;
}

Bytes Monitor::held(SessionId session) const {
  const auto known = sessions_.find(session);
  return known == sessions_.end() ? 0 : known->second.held;
}

// ---- before ----

void Monitor::before(Instant now, const Event* event) {
  tally_.held_integral +=
      static_cast<double>(arbiter_.root().held) * static_cast<double>(now - now_);
  tally_.elapsed += now - now_;
  now_ = now;
  ++tally_.events;
  waited_before_ = waits_;
  const auto* acquire = event == nullptr ? nullptr : std::get_if<Acquire>(event);
  const bool replay = acquire != nullptr && waits_.contains({acquire->session, acquire->request});
  if (answers_.before(now, event, waits_.size(), replay)) ++tally_.predicted;
  revoking_before_.clear();
  for (const LeaseView& lease : arbiter_.leases()) revoking_before_[lease.session] = lease.revoking;
  may_rise_ = is_one_of<SetCapacity, SetTenant, RemoveTenant, Recovered, Orphaned>(event);
  if (event != nullptr) note_event(*event);
}

void Monitor::note_event(const Event& event) {
  if (const auto* acquire = std::get_if<Acquire>(&event)) {
    const RequestKey key{acquire->session, acquire->request};
    const Millis wait = std::max(Millis{0}, acquire->wait);
    waits_.emplace(key, Wait{now_ + wait, acquire->want, acquire->min});
    waited_before_.emplace(key, waits_.at(key));
  } else if (const auto* release = std::get_if<Release>(&event)) {
    const auto known = sessions_.find(release->session);
    if (known == sessions_.end() || release->bytes > known->second.held) return;
    known->second.held -= std::max(Bytes{0}, release->bytes);
    if (arbiter_.lease(release->session)->revoking <= release->bytes) {
      known->second.revocation.open = false;
    }
  } else if (const auto* over = std::get_if<Over>(&event)) {
    const auto known = sessions_.find(over->session);
    const bool possible = over->bytes >= 0 && over->bytes <= kFigureMax - arbiter_.root().held;
    if (known != sessions_.end() && possible) known->second.held += over->bytes;
  } else if (const auto* resumed = std::get_if<Resumed>(&event)) {
    const auto known = sessions_.find(resumed->session);
    if (known == sessions_.end()) return;
    known->second.held = resumed->held;
    known->second.revocation.open = false;
  } else if (const auto* recovered = std::get_if<Recovered>(&event)) {
    sessions_[recovered->session].held = recovered->held;
  } else if (const auto* orphaned = std::get_if<Orphaned>(&event)) {
    sessions_[orphaned->id].held = orphaned->bytes;
  } else if (const auto* gone = std::get_if<Gone>(&event)) {
    sessions_.erase(gone->session);
  } else if (const auto* progress = std::get_if<Progress>(&event)) {
    const auto known = sessions_.find(progress->session);
    const bool closes = progress->current && progress->state != ProgressState::kWorking;
    if (known != sessions_.end() && closes) known->second.revocation.open = false;
  } else if (const auto* suspect = std::get_if<Suspect>(&event)) {
    sessions_[suspect->session].revocation.open = false;
  } else if (const auto* fence = std::get_if<Fence>(&event)) {
    sessions_[fence->session].revocation.open = false;
  }
}

// ---- effects ----

void Monitor::on(const Opened& effect) {
  Session& session = sessions_[effect.session];
  session.held = effect.floor;
  session.floor = effect.floor;
}

void Monitor::on(const Granted& effect) {
  ++tally_.grants;
  if (effect.kind == GrantKind::kPartial) ++tally_.partial_grants;
  const auto wait = waits_.find({effect.session, effect.request});
  if (wait == waits_.end()) {
    complain(strf("request %llu was granted, but none waits",
                  static_cast<unsigned long long>(effect.request.value)));
    return;
  }
  if (effect.bytes < wait->second.min || effect.bytes > wait->second.want) {
    complain("a grant is not between min and want");
  }
  waits_.erase(wait);
  sessions_[effect.session].held += effect.bytes;
}

void Monitor::on(const Denied& effect) {
  ++tally_.denials[effect.reason];
  const auto wait = waits_.find({effect.session, effect.request});
  if (wait != waits_.end()) denied_now_[effect.session] += wait->second.want;
  if (waits_.erase({effect.session, effect.request}) == 0) {
    complain(strf("request %llu was denied, but none waits",
                  static_cast<unsigned long long>(effect.request.value)));
  }
}

void Monitor::on(const Revoke& effect) {
  effect.opened ? ++tally_.revocations : ++tally_.top_ups;
  Session& session = sessions_[effect.session];
  Revocation& revocation = session.revocation;
  if (effect.opened == revocation.open) {
    complain(
        strf("session %llu: a second revocation, or a top-up of none", number(effect.session)));
  }
  if (effect.opened) revocation.opened = now_;
  if (effect.bytes <= 0 || effect.bytes > session.held - session.floor) {
    complain(strf("session %llu is asked for what it does not have", number(effect.session)));
  }
  if (!effect.opened && effect.deadline < revocation.deadline) complain("a deadline was shortened");
  if (effect.deadline <= now_ || effect.deadline > revocation.opened + 60'000) {
    complain("a deadline is out of its bounds");
  }
  revocation.open = true;
  revocation.deadline = effect.deadline;
  if (effect.reason == RevokeReason::kFairShare) asked_fairly_.push_back(effect);
}

void Monitor::on(const Withdraw& effect) {
  ++tally_.withdrawals;
  Session& session = sessions_[effect.session];
  if (!session.revocation.open) complain("a revocation was withdrawn that was not open");
  session.revocation.open = false;
}

void Monitor::on(const Overdue& effect) {
  ++tally_.overdue;
  Session& session = sessions_[effect.session];
  if (!session.revocation.open) complain("a revocation became overdue that was not open");
  if (effect.bytes <= 0 || effect.bytes > session.held) complain("overdue bytes make no sense");
  session.revocation.open = false;
}

void Monitor::on(const Rejected&) { ++tally_.rejected; }

// ---- after ----

void Monitor::hash(std::int64_t value) {
  for (int i = 0; i < 8; ++i) {
    tally_.effects_hash ^= static_cast<std::uint64_t>(value >> (8 * i)) & 0xFF;
    tally_.effects_hash *= 1099511628211ull;
  }
}

std::string Monitor::after(Instant now, const Event* event, const Effects& effects) {
  asked_fairly_.clear();
  denied_now_.clear();
  for (const Effect& effect : effects) {
    std::visit([this](const auto& kind) { on(kind); }, effect);
  }
  if (const std::string unforeseen = answers_.after(effects); !unforeseen.empty()) {
    complain(unforeseen);
  }
  if (policy_ == PolicyKind::kFair) {
    // A revocation keeps its reason also when an admin's wish tops it up.
    const Ask* wish = event == nullptr ? nullptr : std::get_if<Ask>(event);
    for (const Revoke& effect : asked_fairly_) {
      const bool wished = wish != nullptr && wish->session == effect.session && !effect.opened;
      if (!wished) check_fairness(effect);
    }
  } else if (!asked_fairly_.empty()) {
    complain("a first-come policy asked for a fair share");
  }
  if (!effects.empty()) {
    hash(now.ms);
    for (const char c : effects_text(effects, {})) hash(c);
  }
  tally_.peak_held = std::max(tally_.peak_held, arbiter_.root().held);
  check_answered();
  check_sessions(event);
  check_limits();
  if (!wrong_.empty()) return wrong_;
  return arbiter_.check_invariants();
}

// Invariant 4: each request is answered at or before its deadline, in the same tick.
void Monitor::check_answered() {
  for (const auto& [key, wait] : waits_) {
    if (wait.deadline > now_) continue;
    complain(strf("request %llu of session %llu has no answer at its deadline",
                  static_cast<unsigned long long>(key.second.value), number(key.first)));
  }
}

// Invariant 3, and that overdue bytes fall only by bytes, by `cannot` or by the end.
void Monitor::check_sessions(const Event* event) {
  const std::vector<LeaseView> leases = arbiter_.leases();
  if (leases.size() != sessions_.size()) complain("sessions came or went by themselves");
  Bytes sum = 0;
  for (const LeaseView& lease : leases) {
    Session& session = sessions_[lease.session];
    sum += lease.held;
    if (lease.held != session.held) {
      complain(strf("session %llu holds %lld, by what happened it should hold %lld",
                    number(lease.session), static_cast<long long>(lease.held),
                    static_cast<long long>(session.held)));
    }
    const bool may_fall = is_one_of<Release, Resumed, Progress>(event);
    if (lease.overdue < session.overdue && !may_fall) complain("overdue bytes were forgotten");
    session.overdue = lease.overdue;
    if (session.revocation.open != (lease.revoking > 0)) {
      complain(strf("session %llu: a revocation was opened or closed without a word",
                    number(lease.session)));
    }
  }
  if (sum != arbiter_.root().held) complain("the root does not hold the sum of its leases");
}

// Invariants 1 and 2: what is lent stays within every limit; where it is above, it does not grow.
void Monitor::check_limits() {
  std::map<std::string, Bytes> over;
  const auto check = [&](const NodeView& node, Bytes limit) {
    const Bytes by = node.held - node.debt - limit;
    if (by <= 0) return;
    over[node.path] = by;
    const auto before = over_before_.find(node.path);
    const Bytes was = before == over_before_.end() ? 0 : before->second;
    if (by > was && !may_rise_) {
      complain(strf("\"%s\" went above its limit, or further above it, by %lld bytes",
                    node.path.c_str(), static_cast<long long>(by - was)));
    }
  };
  check(arbiter_.root(), arbiter_.capacity());
  for (const TenantView& tenant : arbiter_.tenants()) check(tenant, tenant.limit);
  over_before_ = over;
}

// ---- invariant 5 ----

bool Monitor::someone_is_over() const {
  const std::vector<TenantView> tenants = arbiter_.tenants();
  return arbiter_.root().debt > 0 || arbiter_.root().held > arbiter_.capacity() ||
         std::any_of(tenants.begin(), tenants.end(),
                     [](const TenantView& tenant) { return tenant.held > tenant.limit; });
}

void Monitor::check_fairness(const Revoke& effect) {
  // A revocation keeps its reason when it is topped up for a debt or for a limit.
  if (!effect.opened && someone_is_over()) return;
  ++tally_.fairness_checks;
  // What was denied in this step was demanded while it was planned for.
  std::map<SessionId, Bytes> demands;
  for (const auto& [session, want] : denied_now_) {
    const auto lease = arbiter_.lease(session);
    if (lease) demands[session] = lease->held + lease->waiting + std::min(want, kUnlimited);
  }
  const FairShares shares(arbiter_, demands);
  const int victim = shares.lease(effect.session);
  const Bytes before = effect.opened ? 0 : revoking_before_[effect.session];
  const Bytes asked = effect.bytes - before;
  std::string sides;
  Bytes claimed = 0;  // one revocation may serve several requests
  for (const auto& [key, wait] : waited_before_) {
    const int asker = shares.lease(key.first);
    if (asker < 0 || asker == victim) continue;
    std::string why;
    claimed = saturating_add(claimed, fair_claim(shares, {victim, asker, asked, wait.want}, &why));
    if (claimed >= asked) return;
    sides += "\n  for request " + std::to_string(key.second.value) + ": " + why;
  }
  const auto figures = [&](const std::string& name, const FairShares::Node& node) {
    sides += strf("\n  %s: held %s, revoking %s, waiting %s, fair share %s", name.c_str(),
                  format_bytes(node.held).c_str(), format_bytes(node.revoking).c_str(),
                  format_bytes(node.waiting).c_str(), format_bytes(node.share).c_str());
  };
  for (const TenantView& tenant : arbiter_.tenants()) {
    figures("\"" + tenant.path + "\"", shares.node(shares.tenant(tenant.path)));
  }
  complain(strf("session %llu is asked for %lld bytes that nobody has a fair claim to",
                number(effect.session), static_cast<long long>(asked)) +
           sides);
}

// What the victim may be asked for on behalf of the asker, and why it is not more.
Bytes Monitor::fair_claim(const FairShares& shares, const Move& move, std::string* why) const {
  const auto& [victim, asker, asked, want] = move;
  const std::vector<int> victims = shares.path(victim);
  int asker_side = asker;
  int common = shares.node(asker).parent;
  while (std::find(victims.begin(), victims.end(), common) == victims.end()) {
    asker_side = common;
    common = shares.node(common).parent;
  }
  int victim_side = victim;
  for (const int node : victims) {
    if (node == common) break;
    victim_side = node;
    const FairShares::Node& account = shares.node(node);
    // What is asked below it for its own waiters, in the same step, it does not lose.
    const Bytes within = account.waiting > 0 ? account.revoking - asked : 0;
    if (account.keeps() + std::max(Bytes{0}, within) < account.guarantee) {
      *why = "below its guarantee";
      return 0;
    }
  }
  const FairShares::Node& loses = shares.node(victim_side);
  const FairShares::Node& gains = shares.node(asker_side);
  if (loses.debt + loses.overdue + gains.debt + gains.overdue > 0) return kBytesMax;
  const Bytes tolerance = 2 * arbiter_.chunk() + want / 32;
  const Bytes keeps = loses.keeps() + 3 * loses.idle_most;
  if (keeps >= loses.share - tolerance) return kBytesMax;
  *why = strf("one side keeps %s (idle %s) of its share of %s, the other %s of %s",
              format_bytes(loses.keeps()).c_str(), format_bytes(loses.idle_most).c_str(),
              format_bytes(loses.share).c_str(), format_bytes(gains.keeps()).c_str(),
              format_bytes(gains.share).c_str());
  const Bytes lacks = gains.share + tolerance - gains.keeps();
  return std::clamp(lacks, Bytes{0}, saturating_add(want, arbiter_.chunk()));
}

std::string Monitor::at_end() const {
  const NodeView root = arbiter_.root();
  if (root.held != 0 || root.debt != 0 || root.waiting != 0 || root.revoking != 0) {
    return "all sessions are gone, but not everything is free";
  }
  if (!waits_.empty()) return "all sessions are gone, but a request has no answer";
  return {};
}

}  // namespace membroker::sim
