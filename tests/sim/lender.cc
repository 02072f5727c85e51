#include "tests/sim/lender.h"

#include <algorithm>
#include <map>
#include <utility>
#include <variant>

#include "server/arbiter/arbiter.h"
#include "server/arbiter/rules.h"
#include "shared/check.h"
#include "tests/sim/monitor.h"

namespace membroker::sim {

namespace {

using namespace membroker::arbiter;  // NOLINT: one function for each of its events

// ---- the arbiter ----

class ArbiterLender final : public Lender {
 public:
  ArbiterLender(PolicyKind policy, Bytes capacity, bool checked)
      : arbiter_(capacity, {.policy = policy}), monitor_(arbiter_, policy), checked_(checked) {}

  void apply(Instant now, const Event& event, Effects& effects) override {
    if (checked_) monitor_.before(now, &event);
    arbiter_.apply(now, event, effects);
    if (checked_) note(monitor_.after(now, &event, effects));
  }
  void expire(Instant now, Effects& effects) override {
    if (checked_) monitor_.before(now, nullptr);
    arbiter_.expire(now, effects);
    if (checked_) note(monitor_.after(now, nullptr, effects));
  }
  Instant next_deadline() const override { return arbiter_.next_deadline(); }
  bool takes_back_after_spill() const override { return false; }
  std::string complaint() const override { return wrong_; }

 private:
  void note(const std::string& wrong) {
    if (wrong_.empty()) wrong_ = wrong;
  }

  Arbiter arbiter_;
  Monitor monitor_;
  const bool checked_;
  std::string wrong_;
};

// ---- divided by a rule ----

enum class Rule { kStatic, kEqual, kTask };

/// Static: each tenant has its part of its parent's by weight, and in it first come, first served.
/// Equal: what one session may hold is the capacity by the number of those that are registered
/// (DataFusion's FairSpillPool). Task: by the number of those that hold or want memory, N; who has
/// less than 1/2N waits, who has more takes what there is and spills (Spark). Nobody is asked to
/// give back.
class DividedLender final : public Lender {
 public:
  DividedLender(Rule rule, const Workload& workload) : rule_(rule), capacity_(workload.capacity) {
    for (const auto& tenant : workload.tenants) tenants_[tenant.path].most = tenant.policy.limit;
    for (const auto& group : workload.groups) tenants_[own(group.tenant)].most = kBytesMax;
    if (rule == Rule::kStatic) divide(workload, "", capacity_);
  }

  void apply(Instant now, const Event& event, Effects& effects) override;
  void expire(Instant now, Effects& effects) override;
  Instant next_deadline() const override {
    Instant next = Instant::never();
    for (const Wait& wait : waits_) next = std::min(next, wait.deadline);
    return next;
  }
  bool takes_back_after_spill() const override { return true; }

 private:
  struct Part {
    Bytes most = 0;
    Bytes held = 0;
  };
  struct Session {
    std::string tenant;
    Bytes held = 0;
    Bytes floor = 0;
    Bytes can_spill = 0;  // slack and reclaimable of its last report
    int waiting = 0;
  };
  struct Wait {
    Acquire acquire;
    Instant deadline;
  };

  /// Where the sessions of a tenant are counted, apart from its sub-tenants.
  static std::string own(const std::string& tenant) { return tenant + "/"; }
  void divide(const Workload& workload, const std::string& path, Bytes part);
  void hold(Session& session, Bytes bytes) {
    session.held += bytes;
    held_ += bytes;
    tenants_.at(own(session.tenant)).held += bytes;
    for (std::string at = session.tenant; !at.empty(); at = parent_path(at)) {
      tenants_.at(at).held += bytes;
    }
  }
  Bytes free(const std::string& tenant) const;
  Bytes room(const Session& session) const;
  Bytes least(const Session& session) const;
  std::int64_t active() const;
  bool try_grant(const Acquire& acquire, Effects& effects);
  void acquire(Instant now, const Acquire& event, Effects& effects);
  void deny(const Acquire& acquire, DenyReason reason, Effects& effects) const;
  void pump(Effects& effects);

  const Rule rule_;
  const Bytes capacity_;
  Bytes held_ = 0;
  std::map<std::string, Part> tenants_;
  std::map<SessionId, Session> sessions_;
  std::vector<Wait> waits_;  // by arrival
};

std::int64_t DividedLender::active() const {
  const auto counts = [this](const auto& entry) {
    const Session& session = entry.second;
    return rule_ == Rule::kEqual || session.held > session.floor || session.waiting > 0;
  };
  return std::max<std::int64_t>(1, std::count_if(sessions_.begin(), sessions_.end(), counts));
}

// By weight; a tenant's own sessions beside its sub-tenants count as one of weight 1.
void DividedLender::divide(const Workload& workload, const std::string& path, Bytes part) {
  const bool has_sessions = tenants_.contains(own(path));
  std::int64_t weights = has_sessions ? 1 : 0;
  for (const auto& tenant : workload.tenants) {
    if (parent_path(tenant.path) == path) weights += tenant.policy.weight;
  }
  if (has_sessions) tenants_.at(own(path)).most = part / weights;
  for (const auto& tenant : workload.tenants) {
    if (parent_path(tenant.path) != path) continue;
    Part& below = tenants_.at(tenant.path);
    const auto share = static_cast<Bytes>(Wide{part} * tenant.policy.weight / weights);
    below.most = std::min(below.most, share);
    divide(workload, tenant.path, below.most);
  }
}

Bytes DividedLender::free(const std::string& tenant) const {
  const Part& sessions = tenants_.at(own(tenant));
  Bytes least = std::min(capacity_ - held_, sessions.most - sessions.held);
  for (std::string at = tenant; !at.empty(); at = parent_path(at)) {
    least = std::min(least, tenants_.at(at).most - tenants_.at(at).held);
  }
  return least;
}

Bytes DividedLender::room(const Session& session) const {
  const Bytes there = free(session.tenant);
  if (rule_ == Rule::kStatic) return there;
  return std::min(there, capacity_ / active() - session.held);
}

// What it may wait for instead of spilling.
Bytes DividedLender::least(const Session& session) const {
  if (rule_ == Rule::kTask) return capacity_ / (2 * active());
  return session.can_spill > 0 ? 0 : kBytesMax;
}

bool DividedLender::try_grant(const Acquire& acquire, Effects& effects) {
  Session& session = sessions_.at(acquire.session);
  const Bytes bytes = std::min(room(session), acquire.want);
  if (bytes < acquire.min) return false;
  hold(session, bytes);
  const GrantKind kind = bytes == acquire.want ? GrantKind::kFree : GrantKind::kPartial;
  effects.emplace_back(Granted{acquire.session, acquire.request, bytes, kind});
  return true;
}

void DividedLender::deny(const Acquire& acquire, DenyReason reason, Effects& effects) const {
  Denied denied;
  denied.session = acquire.session;
  denied.request = acquire.request;
  denied.reason = reason;
  denied.self_spill = std::min(acquire.min, sessions_.at(acquire.session).can_spill);
  denied.hint = denied.self_spill > 0 ? Hint::kSpill : Hint::kWait;
  denied.retry_after = denied.self_spill > 0 ? 0 : kRetryAfter;
  effects.emplace_back(std::move(denied));
}

void DividedLender::acquire(Instant now, const Acquire& event, Effects& effects) {
  Session& session = sessions_.at(event.session);
  ++session.waiting;
  if (!try_grant(event, effects)) {
    if (session.held < least(session) && event.wait > 0) {
      waits_.push_back({event, now + event.wait});
      return;
    }
    deny(event, session.can_spill > 0 ? DenyReason::kSelfSpill : DenyReason::kDeadline, effects);
  }
  --session.waiting;
}

void DividedLender::pump(Effects& effects) {
  for (std::size_t i = 0; i < waits_.size();) {
    const Acquire& waiting = waits_[i].acquire;
    Session& session = sessions_.at(waiting.session);
    const bool granted = try_grant(waiting, effects);
    if (!granted && session.held < least(session)) {
      ++i;
      continue;
    }
    if (!granted) deny(waiting, DenyReason::kSelfSpill, effects);
    --session.waiting;
    waits_.erase(waits_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

void DividedLender::expire(Instant now, Effects& effects) {
  pump(effects);
  for (std::size_t i = 0; i < waits_.size();) {
    if (waits_[i].deadline > now) {
      ++i;
      continue;
    }
    deny(waits_[i].acquire, DenyReason::kDeadline, effects);
    --sessions_.at(waits_[i].acquire.session).waiting;
    waits_.erase(waits_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

void DividedLender::apply(Instant now, const Event& event, Effects& effects) {
  if (const auto* open = std::get_if<Open>(&event)) {
    Session session{open->tenant, 0, 0, 0, 0};
    session.floor = std::clamp<Bytes>(free(open->tenant), 0, open->floor);
    Session& opened = sessions_[open->session] = session;
    hold(opened, session.floor);
    effects.emplace_back(Opened{open->session, session.floor});
  } else if (const auto* gone = std::get_if<Gone>(&event)) {
    hold(sessions_.at(gone->session), -sessions_.at(gone->session).held);
    std::erase_if(waits_, [&](const Wait& w) { return w.acquire.session == gone->session; });
    sessions_.erase(gone->session);
  } else if (const auto* release = std::get_if<Release>(&event)) {
    Session& session = sessions_.at(release->session);
    MB_CHECK(release->bytes <= session.held);
    session.can_spill = std::max(Bytes{0}, session.can_spill - release->bytes);
    hold(session, -release->bytes);
  } else if (const auto* report = std::get_if<Report>(&event)) {
    Session& session = sessions_.at(report->session);
    session.can_spill = std::clamp<Bytes>(report->slack + report->reclaimable, 0, session.held);
  } else if (const auto* wanted = std::get_if<Acquire>(&event)) {
    acquire(now, *wanted, effects);
  } else if (const auto* suspect = std::get_if<Suspect>(&event)) {
    for (const Wait& wait : waits_) {
      if (wait.acquire.session != suspect->session) continue;
      deny(wait.acquire, DenyReason::kSessionSuspect, effects);
      --sessions_.at(suspect->session).waiting;
    }
    std::erase_if(waits_, [&](const Wait& w) { return w.acquire.session == suspect->session; });
  }
  expire(now, effects);
}

}  // namespace

std::unique_ptr<Lender> make_lender(std::string_view name, const Workload& workload, bool checked) {
  if (name == "fair" || name == "greedy") {
    const PolicyKind policy = name == "fair" ? PolicyKind::kFair : PolicyKind::kGreedy;
    return std::make_unique<ArbiterLender>(policy, workload.capacity, checked);
  }
  const Rule rule = name == "static_split"  ? Rule::kStatic
                    : name == "equal_split" ? Rule::kEqual
                                            : Rule::kTask;
  return std::make_unique<DividedLender>(rule, workload);
}

}  // namespace membroker::sim
