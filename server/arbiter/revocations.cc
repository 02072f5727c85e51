#include "server/arbiter/revocations.h"

#include <algorithm>

#include "shared/check.h"

namespace membroker::arbiter {

// ---- asking ----

void Revocations::ask(Lease& lease, Bytes bytes, RevokeReason reason) {
  MB_CHECK(bytes > 0 && lease.active_session());
  if (lease.asked_now == 0) {
    asked_.push_back(&lease);
    lease.asked_reason = reason;
  }
  lease.asked_now += bytes;
  core_.tree.add(lease, {.revoking = bytes});
}

void Revocations::ask_for_admin(Lease& lease, Bytes bytes) {
  ask(lease, bytes, RevokeReason::kAdmin);
  lease.admin_now += bytes;
}

void Revocations::ask_to_floor(Lease& lease, bool any) {
  if (!core_.draining || !lease.active_session() || lease.backing_off) return;
  if (!any && lease.claim(Stage::kSpill) == 0) return;
  const Bytes bytes = lease.held - lease.floor - lease.revoking;
  if (bytes > 0) ask(lease, bytes, RevokeReason::kDrain);
}

void Revocations::take_back(Lease& lease, Bytes bytes) {
  MB_CHECK(bytes <= lease.asked_now);
  lease.asked_now -= bytes;
  core_.tree.add(lease, {.revoking = -bytes});
  if (lease.asked_now == 0) std::erase(asked_, &lease);
}

void Revocations::undo() {
  while (!asked_.empty()) take_back(*asked_.back(), asked_.back()->asked_now);
}

bool Revocations::send() {
  if (asked_.empty()) return false;
  for (Lease* lease : asked_) {
    lease->asked_now = 0;
    Revocation& revocation = lease->revocation;
    const bool opened = !revocation.open;
    if (opened) open(*lease);
    if (lease->admin_now > 0) {
      revocation.admin += lease->admin_now;
      lease->admin_now = 0;
      core_.tree.refresh(*lease);
    }
    if (lease->revoking > lease->slack) revocation.stage = Stage::kSpill;
    extend(*lease);
    arm(*lease);
    core_.emit(Revoke{lease->session, lease->revoking, revocation.deadline, revocation.stage,
                      revocation.reason, opened});
  }
  asked_.clear();
  return true;
}

void Revocations::open(Lease& lease) {
  Revocation& revocation = lease.revocation;
  revocation = Revocation{};
  revocation.open = true;
  revocation.reason = lease.asked_reason;
  revocation.opened = core_.now;
  revocation.older = youngest_;
  if (youngest_ != nullptr) youngest_->revocation.younger = &lease;
  youngest_ = &lease;
}

void Revocations::close(Lease& lease) {
  Revocation& revocation = lease.revocation;
  if (!revocation.open) return;
  if (revocation.older != nullptr) revocation.older->revocation.younger = revocation.younger;
  if (revocation.younger != nullptr) {
    revocation.younger->revocation.older = revocation.older;
  } else {
    youngest_ = revocation.older;
  }
  revocation = Revocation{};
}

// Closes, whatever is still wanted.
void Revocations::clear_asked(Lease& lease) {
  close(lease);
  if (lease.revoking > 0) core_.tree.add(lease, {.revoking = -lease.revoking});
}

// ---- deadlines ----

Millis Revocations::time_for(const Lease& lease) const {
  if (lease.revocation.stage == Stage::kSlack) return kSlackDeadline;
  const Bytes rate = lease.spill_rate > 0 ? lease.spill_rate : core_.options.assumed_spill_rate;
  const Wide needed = Wide{lease.revoking} * 2 * 1000 / rate;
  return static_cast<Millis>(std::clamp(needed, Wide{kSpillDeadlineMin}, Wide{kSpillDeadlineMax}));
}

// Never shortened, never past a minute from its opening.
void Revocations::extend(Lease& lease) const {
  Revocation& revocation = lease.revocation;
  const Instant wanted = std::max(revocation.deadline, core_.now + time_for(lease));
  revocation.deadline = std::min(wanted, revocation.opened + kRevocationMax);
}

void Revocations::measure_rate(Lease& lease) const {
  const Millis elapsed = core_.now - lease.revocation.opened;
  if (elapsed <= 0) return;
  const Wide per_second = Wide{lease.revocation.freed} * 1000 / elapsed;
  const Bytes rate = static_cast<Bytes>(std::clamp(per_second, Wide{1}, Wide{kFigureMax}));
  lease.spill_rate = lease.spill_rate == 0 ? rate : (3 * lease.spill_rate + rate) / 4;
}

void Revocations::strike(Lease& lease) {
  const bool again = lease.strike > 0 && !lease.freed_since_strike;
  lease.strike = again ? std::min(2 * lease.strike, kStrikeMax) : kStrikeMin;
  lease.freed_since_strike = false;
  lease.backing_off = true;
  lease.backoff_until = core_.now + lease.strike;
}

void Revocations::arm_policy(Lease& lease) const {
  if (lease.overdue == 0 || !lease.active_session()) {
    lease.policy_at = Instant::never();
  } else if (lease.policy_at == Instant::never()) {
    lease.policy_at = core_.now + kOverduePeriod;
  }
}

void Revocations::arm(Lease& lease) {
  arm_policy(lease);
  Instant next = lease.policy_at;
  if (lease.revocation.open) next = std::min(next, lease.revocation.deadline);
  if (lease.backing_off) next = std::min(next, lease.backoff_until);
  if (next == Instant::never()) {
    core_.lease_timers.drop(lease);
  } else {
    core_.lease_timers.put(lease, next.ms);
  }
}

void Revocations::pass_deadlines() {
  auto& timers = core_.lease_timers;
  while (!timers.empty() && timers.top().key <= core_.now.ms) {
    pass_deadlines_of(*timers.top().item);
  }
}

void Revocations::pass_deadlines_of(Lease& lease) {
  if (lease.backing_off && lease.backoff_until <= core_.now) {
    lease.backing_off = false;
    core_.tree.refresh(lease);
    ask_to_floor(lease, false);
  }
  if (lease.revocation.open && lease.revocation.deadline <= core_.now) expire(lease);
  if (lease.policy_at <= core_.now) {
    const bool fence = lease.parent->policy.on_overdue == OnOverdue::kFence;
    core_.emit(OverduePolicy{lease.session, lease.overdue, fence});
    lease.policy_at = core_.now + kOverduePeriod;
  }
  arm(lease);
}

void Revocations::expire(Lease& lease) {
  const Bytes overdue = std::max(lease.overdue, lease.revoking) - lease.overdue;
  const Bytes left = lease.revoking;
  close(lease);
  strike(lease);
  core_.tree.add(lease, {.revoking = -left, .overdue = overdue});
  core_.emit(Overdue{lease.session, lease.overdue});
}

// ---- answers ----

void Revocations::release(Lease& lease, Bytes bytes) {
  MB_CHECK(bytes <= lease.held);
  if (bytes == 0) return;
  const Bytes from_slack = std::min(lease.slack, bytes);
  lease.slack -= from_slack;
  lease.reclaimable -= std::min(lease.reclaimable, bytes - from_slack);
  lease.freed_since_strike = true;
  core_.progress_at = core_.now;
  Revocation& revocation = lease.revocation;
  revocation.admin -= std::min(revocation.admin, bytes);
  const bool met = revocation.open && bytes >= lease.revoking;
  if (revocation.open) {
    revocation.freed += bytes;
    if (revocation.stage == Stage::kSpill) measure_rate(lease);
  }
  if (met) {
    close(lease);
    lease.strike = 0;
    lease.backing_off = false;
  }
  core_.tree.add(lease, {.held = -bytes,
                         .revoking = -std::min(lease.revoking, bytes),
                         .debt = -std::min(lease.debt, bytes),
                         .overdue = -std::min(lease.overdue, bytes)});
  if (revocation.open) extend(lease);
  arm(lease);
}

void Revocations::report(Lease& lease, Bytes slack, Bytes reclaimable) {
  lease.slack = std::min(slack, kFigureMax);
  lease.reclaimable = std::min(reclaimable, kFigureMax);
  lease.reported_slack = {lease.reported_slack[1], lease.slack};
  lease.reports = std::min(lease.reports + 1, 2);
  core_.tree.refresh(lease);
}

void Revocations::progress(Lease& lease, const Progress& progress) {
  report(lease, progress.slack, progress.reclaimable);
  if (!progress.current || progress.state == ProgressState::kWorking) return;
  if (lease.revocation.open) {
    const bool spill = lease.revocation.stage == Stage::kSpill;
    (spill ? lease.reclaimable : lease.slack) = 0;
    if (spill) strike(lease);
    clear_asked(lease);
  }
  if (progress.state == ProgressState::kCannot && lease.overdue > 0) {
    core_.tree.add(lease, {.overdue = -lease.overdue});
  }
  core_.tree.refresh(lease);
  arm(lease);
}

void Revocations::suspend(Lease& lease) {
  const Bytes left = lease.revoking;
  const Bytes overdue = std::max(lease.overdue, left) - lease.overdue;
  close(lease);
  core_.tree.add(lease, {.revoking = -left, .overdue = overdue});
  arm(lease);
}

void Revocations::resume(Lease& lease) {
  core_.tree.refresh(lease);
  arm(lease);
  ask_to_floor(lease, true);
}

void Revocations::forget(Lease& lease) {
  close(lease);
  core_.lease_timers.drop(lease);
}

// ---- withdrawal ----

// Bytes asked for beyond what waiters, debts and excess need and free memory does not cover.
Bytes Revocations::unneeded() const {
  const Tenant& root = core_.tree.root();
  const Bytes excess = root.counted.excess;
  const Bytes free =
      excess > 0 ? 0 : std::max(Bytes{0}, root.limit - root.held - root.children_hold);
  const Wide needed = root.waiting + root.debt + excess - free;
  const Wide spare = Wide{root.revoking} - std::max(Wide{0}, needed);
  return spare > 0 ? static_cast<Bytes>(spare) : 0;
}

// Then the sums at the root do not say what is needed.
bool Revocations::someone_waits_below_root() const {
  const Tree& tree = core_.tree;
  for (const Lease* debtor : tree.debtors()) {
    if (tree.cover_room(*debtor->parent).tight != &tree.root()) return true;
  }
  std::vector<const Tenant*> open{&tree.root()};
  while (!open.empty()) {
    const Tenant* node = open.back();
    open.pop_back();
    if (!node->arrivals[1].empty() && tree.room(*node).tight != &tree.root()) return true;
    for (const auto& [name, child] : node->tenants) {
      if (child->waiting_requests > 0) open.push_back(child.get());
    }
  }
  return false;
}

void Revocations::withdraw_unneeded() {
  if (core_.draining) return;
  Bytes spare = unneeded();
  if (spare == 0) return;
  bool checked = false;
  for (Lease* lease = youngest_; lease != nullptr && spare > 0;) {
    Lease* older = lease->revocation.older;
    if (lease->revoking <= spare) {
      if (!checked && someone_waits_below_root()) return;
      checked = true;
      const Bytes bytes = lease->revoking;
      spare -= bytes;
      clear_asked(*lease);
      arm(*lease);
      core_.emit(Withdraw{lease->session, bytes});
    }
    lease = older;
  }
}

}  // namespace membroker::arbiter
