#include "tests/sim/monitor.h"

#include <algorithm>
#include <set>
#include <utility>
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

bool is_rolled_back(const Effects& effects) {
  return std::any_of(effects.begin(), effects.end(), [](const Effect& effect) {
    const auto* denied = std::get_if<Denied>(&effect);
    return denied != nullptr && denied->reason == DenyReason::kDeadlock;
  });
}

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
  const auto* acquire = event == nullptr ? nullptr : std::get_if<Acquire>(event);
  const bool replay = acquire != nullptr && waits_.contains({acquire->session, acquire->request});
  if (answers_.before(now, event, waits_.size(), {replay, draining_})) ++tally_.predicted;
  may_rise_ = is_one_of<SetCapacity, SetTenant, RemoveTenant, Recovered, Orphaned, Ended>(event);
  in_order_ = event == nullptr || arbiter_.next_deadline() > now;
  wished_ = 0;
  alarms_.clear();
  if (event != nullptr) note_event(*event);
}

void Monitor::note_acquire(const Acquire& event) {
  const RequestKey key{event.session, event.request};
  if (waits_.contains(key)) return;
  const Accounts accounts(arbiter_);
  const int lease = accounts.lease(event.session);
  Waiter& waiter = waits_[key];
  waiter.session = event.session;
  waiter.id = event.request;
  waiter.want = lease < 0 ? event.want : std::min(event.want, accounts.attainable(lease));
  waiter.min = event.min;
  waiter.priority = event.priority;
  waiter.arrived = now_;
  waiter.deadline = now_ + std::max(Millis{0}, event.wait);
  waiter.arrival = ++arrivals_;
}

void Monitor::note_report(SessionId session, Bytes slack, Bytes reclaimable) {
  const auto known = sessions_.find(session);
  if (known == sessions_.end() || slack < 0 || reclaimable < 0) return;
  ++known->second.reports;
  known->second.before_slack = std::exchange(known->second.last_slack, slack);
}

// Each tenant above the session whose debt is then more than 1/32 of the least limit on its path.
void Monitor::note_debt(SessionId session, Bytes more) {
  const Accounts accounts(arbiter_);
  const int lease = accounts.lease(session);
  if (lease < 0 || more <= 0) return;
  std::string path = arbiter_.lease(session)->path;
  for (int at = accounts.node(lease).parent; at > 0; at = accounts.node(at).parent) {
    Bytes limit = kBytesMax;
    for (const int above : accounts.path(at)) limit = std::min(limit, accounts.node(above).limit);
    const Bytes debt = accounts.node(at).debt + more;
    const bool crossed = debt - more <= limit / 32;
    if (debt > limit / 32) alarms_.push_back({path, debt, limit / 32, crossed});
    const std::size_t slash = path.rfind('/');
    path = slash == std::string::npos ? "" : path.substr(0, slash);
  }
}

void Monitor::close(SessionId session) {
  const auto known = sessions_.find(session);
  if (known != sessions_.end()) known->second.revocation = {};
}

void Monitor::note_event(const Event& event) {
  if (const auto* acquire = std::get_if<Acquire>(&event)) {
    note_acquire(*acquire);
  } else if (const auto* opens = std::get_if<Open>(&event)) {
    opening_ = opens->priority;
  } else if (const auto* release = std::get_if<Release>(&event)) {
    const auto known = sessions_.find(release->session);
    if (known == sessions_.end() || release->bytes > known->second.held) return;
    const Bytes bytes = std::max(Bytes{0}, release->bytes);
    known->second.held -= bytes;
    Revocation& revocation = known->second.revocation;
    revocation.bytes -= std::min(revocation.bytes, bytes);
    if (revocation.bytes == 0) revocation.open = false;
  } else if (const auto* over = std::get_if<Over>(&event)) {
    const auto known = sessions_.find(over->session);
    const bool possible = over->bytes >= 0 && over->bytes <= kFigureMax - arbiter_.root().held;
    if (known == sessions_.end() || !possible) return;
    note_debt(over->session, over->bytes);
    known->second.held += over->bytes;
  } else if (const auto* resumed = std::get_if<Resumed>(&event)) {
    const auto known = sessions_.find(resumed->session);
    if (known == sessions_.end()) return;
    note_debt(resumed->session, resumed->held - known->second.held);
    known->second.held = resumed->held;
    known->second.reports = 0;
    note_report(resumed->session, resumed->slack, resumed->reclaimable);
    close(resumed->session);
  } else if (const auto* recovered = std::get_if<Recovered>(&event)) {
    sessions_[recovered->session].held = recovered->held;
    sessions_[recovered->session].priority = recovered->priority;
  } else if (const auto* orphaned = std::get_if<Orphaned>(&event)) {
    sessions_[orphaned->id].held = orphaned->bytes;
  } else if (const auto* gone = std::get_if<Gone>(&event)) {
    sessions_.erase(gone->session);
  } else if (const auto* ended = std::get_if<Ended>(&event)) {
    for (const SessionId session : ended->gone) sessions_.erase(session);
    for (const Orphaned& orphan : ended->left) sessions_[orphan.id].held = orphan.bytes;
  } else if (const auto* report = std::get_if<Report>(&event)) {
    note_report(report->session, report->slack, report->reclaimable);
  } else if (const auto* progress = std::get_if<Progress>(&event)) {
    note_report(progress->session, progress->slack, progress->reclaimable);
    if (progress->current && progress->state != ProgressState::kWorking) close(progress->session);
  } else if (const auto* suspect = std::get_if<Suspect>(&event)) {
    close(suspect->session);
  } else if (const auto* fence = std::get_if<Fence>(&event)) {
    close(fence->session);
  } else if (const auto* wish = std::get_if<Ask>(&event)) {
    const Accounts accounts(arbiter_);
    const int lease = accounts.lease(wish->session);
    if (lease >= 0) wished_ = std::min(wish->bytes, accounts.claim(lease));
  } else if (std::holds_alternative<Drain>(event)) {
    draining_ = true;
  }
}

// ---- effects ----

void Monitor::on(const Opened& effect) {
  Session& session = sessions_[effect.session];
  session.held = effect.floor;
  session.floor = effect.floor;
  session.priority = opening_;
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
  if (draining_) complain("a grant while draining");
  answered_.insert(waits_.extract(wait));
  sessions_[effect.session].held += effect.bytes;
}

void Monitor::on(const Denied& effect) {
  ++tally_.denials[effect.reason];
  const auto wait = waits_.find({effect.session, effect.request});
  if (wait == waits_.end()) {
    complain(strf("request %llu was denied, but none waits",
                  static_cast<unsigned long long>(effect.request.value)));
    return;
  }
  answered_.insert(waits_.extract(wait));
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
  increments_.back() = effect.bytes - revocation.bytes;
  revocation.open = true;
  revocation.bytes = effect.bytes;
  revocation.deadline = effect.deadline;
}

void Monitor::on(const Withdraw& effect) {
  ++tally_.withdrawals;
  Session& session = sessions_[effect.session];
  if (!session.revocation.open) complain("a revocation was withdrawn that was not open");
  if (session.revocation.bytes != effect.bytes) complain("not what was asked is withdrawn");
  session.revocation = {};
}

void Monitor::on(const Overdue& effect) {
  ++tally_.overdue;
  Session& session = sessions_[effect.session];
  if (!session.revocation.open) complain("a revocation became overdue that was not open");
  if (effect.bytes <= 0 || effect.bytes > session.held) complain("overdue bytes make no sense");
  session.revocation = {};
}

void Monitor::on(const DebtOverCap& effect) {
  ++tally_.alarms;
  const DebtOverCap* due = raised_ < alarms_.size() ? &alarms_[raised_] : nullptr;
  const bool same = due != nullptr && due->tenant == effect.tenant && due->debt == effect.debt &&
                    due->cap == effect.cap && due->crossed == effect.crossed;
  if (!same) complain("an alarm of a debt that is not above its cap: \"" + effect.tenant + "\"");
  ++raised_;
}

void Monitor::on(const Rejected&) {
  ++tally_.rejected;
  wished_ = 0;
  alarms_.clear();
}

// ---- after ----

void Monitor::hash(std::int64_t value) {
  for (int i = 0; i < 8; ++i) {
    tally_.effects_hash ^= static_cast<std::uint64_t>(value >> (8 * i)) & 0xFF;
    tally_.effects_hash *= 1099511628211ull;
  }
}

std::string Monitor::after(Instant now, const Event* event, const Effects& effects) {
  answered_.clear();
  increments_.clear();
  raised_ = 0;
  for (const Effect& effect : effects) {
    increments_.push_back(0);
    std::visit([this](const auto& kind) { on(kind); }, effect);
  }
  if (raised_ < alarms_.size()) {
    complain("the debt of \"" + alarms_[raised_].tenant + "\" is above its cap without an alarm");
  }
  if (const std::string unforeseen = answers_.after(effects); !unforeseen.empty()) {
    complain(unforeseen);
  }
  if (in_order_) judge_effects(event, effects);
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
    Bytes wants = 0;
    for (auto wait = waits_.lower_bound({lease.session, {}});
         wait != waits_.end() && wait->first.first == lease.session; ++wait) {
      wants += wait->second.want;
    }
    if (wants != lease.waiting)
      complain(strf("session %llu waits for %lld bytes, not %lld", number(lease.session),
                    static_cast<long long>(lease.waiting), static_cast<long long>(wants)));
    const bool may_fall = is_one_of<Release, Resumed, Progress>(event);
    if (lease.overdue < session.overdue && !may_fall) complain("overdue bytes were forgotten");
    session.overdue = lease.overdue;
    const Revocation& revocation = session.revocation;
    if (revocation.open != (lease.revoking > 0) || revocation.bytes != lease.revoking) {
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

// ---- each effect in the state it was made in ----

// The least of the last two reports' slacks; nothing before the second.
Bytes Monitor::idle(const LeaseView& lease) const {
  const auto known = sessions_.find(lease.session);
  if (known == sessions_.end() || lease.state != SessionState::kActive) return 0;
  if (known->second.reports < 2) return 0;
  return std::min({known->second.last_slack, known->second.before_slack, lease.slack, lease.held});
}

// One plan's revocations come together, in the order in which they were first asked for; only when
// all are asked is it fair. How many of those that follow belong to the same plan cannot be seen,
// but for one thing: it asks nobody twice.
void Monitor::judge_revocations(Accounts& accounts, const Effects& effects, const Run& run) {
  const auto revoke_at = [&](std::size_t i) -> const Revoke& {
    return std::get<Revoke>(effects[i]);
  };
  std::vector<Accounts> after{accounts};  // from the last on
  for (std::size_t i = run.last; i >= run.first && i <= run.last; --i) {
    accounts.add(accounts.lease(revoke_at(i).session), {.revoking = -increments_[i]});
    if (i > run.first) after.push_back(accounts);
  }
  const Judge judge(arbiter_, policy_, now_);
  for (std::size_t i = run.first; i <= run.last; ++i) {
    ++tally_.fairness_checks;
    const Bytes wished = i == run.first_of_wish ? wished_ : 0;
    std::set<SessionId> asked;
    std::string wrong;
    for (std::size_t end = i; end <= run.last && asked.insert(revoke_at(end).session).second;
         ++end) {
      const Judge::Asked what{increments_[i], wished, draining_};
      wrong = judge.revoke(after[run.last - end], waits_, revoke_at(i), what);
      if (wrong.empty()) break;
    }
    complain(wrong);
  }
}

// Deadlines that pass come first: what is before the last of them had another state.
void Monitor::judge_effects(const Event* event, const Effects& effects) {
  Accounts accounts(arbiter_);
  for (const LeaseView& lease : arbiter_.leases()) {
    accounts.describe(accounts.lease(lease.session), sessions_[lease.session].priority,
                      idle(lease));
  }
  const Judge judge(arbiter_, policy_, now_);
  // What a rollback frees is for the next settle.
  if (!is_rolled_back(effects)) complain(judge.rest(accounts, waits_));
  const Ask* wish = event == nullptr ? nullptr : std::get_if<Ask>(event);
  std::size_t first_of_wish = effects.size();
  for (std::size_t i = effects.size(); i-- > 0 && wish != nullptr;) {
    const auto* revoke = std::get_if<Revoke>(&effects[i]);
    if (revoke != nullptr && revoke->session == wish->session) first_of_wish = i;
  }
  if (wished_ > 0 && first_of_wish == effects.size()) complain("an admin's wish was forgotten");
  for (std::size_t i = effects.size(); i-- > 0 && wrong_.empty();) {
    const auto lease_of = [&](const auto& effect) { return accounts.lease(effect.session); };
    if (std::holds_alternative<Overdue>(effects[i])) break;
    if (std::holds_alternative<Revoke>(effects[i])) {
      std::size_t first = i;
      while (first > 0 && std::holds_alternative<Revoke>(effects[first - 1])) --first;
      judge_revocations(accounts, effects, {first, i, first_of_wish});
      i = first;
    } else if (const auto* granted = std::get_if<Granted>(&effects[i])) {
      auto answer = answered_.extract({granted->session, granted->request});
      const Waiter& waiter = waits_.insert(std::move(answer)).position->second;
      accounts.add(lease_of(*granted), {.held = -granted->bytes, .waiting = waiter.want});
      if (waits_.size() > 1) ++tally_.chosen_of_several;
      complain(judge.grant(accounts, waits_, waiter, granted->bytes));
    } else if (const auto* denied = std::get_if<Denied>(&effects[i])) {
      if (lease_of(*denied) < 0) break;
      auto answer = answered_.extract({denied->session, denied->request});
      const Waiter& waiter = waits_.insert(std::move(answer)).position->second;
      accounts.add(lease_of(*denied), {.waiting = waiter.want});
      complain(judge.denial(accounts, waits_, waiter, *denied));
    } else if (const auto* withdraw = std::get_if<Withdraw>(&effects[i])) {
      accounts.add(lease_of(*withdraw), {.revoking = withdraw->bytes});
    } else if (const auto* covered = std::get_if<Covered>(&effects[i])) {
      accounts.add(lease_of(*covered), {.debt = covered->bytes});
      Accounts pumped = accounts;
      for (std::size_t j = i; j-- > 0;) {
        const auto* before = std::get_if<Covered>(&effects[j]);
        if (before == nullptr) break;
        pumped.add(lease_of(*before), {.debt = before->bytes});
      }
      complain(judge.cover(accounts, pumped, waits_, *covered));
    }
  }
  for (const Effect& effect : effects) {
    const auto* granted = std::get_if<Granted>(&effect);
    const auto* denied = std::get_if<Denied>(&effect);
    if (granted != nullptr) waits_.erase({granted->session, granted->request});
    if (denied != nullptr) waits_.erase({denied->session, denied->request});
  }
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
