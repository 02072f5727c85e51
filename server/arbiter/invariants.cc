#include <algorithm>
#include <string>

#include "server/arbiter/arbiter.h"
#include "server/arbiter/audit.h"
#include "server/arbiter/state.h"
#include "shared/format.h"

/// \file
/// The invariants of one state, each derived again from the specification's definitions rather than
/// from the sums the core keeps.

namespace membroker::arbiter {

namespace {

long long number(Bytes bytes) { return bytes; }

std::string lease_complaint(const Lease& lease, Instant now, const ArbiterOptions& options) {
  const Revocation& revocation = lease.revocation;
  if (lease.held < 0 || lease.debt < 0 || lease.overdue < 0 || lease.floor < 0) {
    return "a figure is negative";
  }
  if (lease.debt > lease.held) return "debt exceeds what it holds";
  if (lease.overdue > lease.held) return "overdue exceeds what it holds";
  if (lease.planned != 0 || lease.asked_now != 0 || lease.admin_now != 0) {
    return "a plan was left behind";
  }
  if (revocation.open != (lease.revoking > 0)) return "bytes are asked without a revocation";
  if (revocation.open) {
    if (!lease.active_session()) return "a session that is not active is asked";
    if (lease.revoking > lease.held - lease.floor) return "asked for more than above its floor";
    if (revocation.deadline <= now) return "a deadline has passed";
    if (revocation.deadline > revocation.opened + kRevocationMax) return "a deadline is too late";
  }
  if (!lease.active_session() && !lease.waits.empty()) return "waits without being active";
  if (std::ssize(lease.waits) > options.waits_per_lease_max) return "waits too often";
  Wide waiting = 0;
  for (const auto& wait : lease.waits) {
    if (wait->hidden || wait->got != 0) return "a request is still being planned for";
    if (wait->min <= 0 || wait->min > wait->want) return "a request makes no sense";
    if (wait->deadline <= now) return "a request is past its deadline";
    if (wait->lane_used < 0 || wait->passes_left < 0 || wait->passes_left > kPassesPerHead) {
      return "a head was passed too often";
    }
    waiting += wait->want;
  }
  if (waiting != lease.waiting || lease.waits.size() != lease.waiting_requests) {
    return "its waits do not add up";
  }
  return {};
}

}  // namespace

std::string Audit::lease(const Lease& lease) const {
  const std::string wrong = lease_complaint(lease, core_.now, core_.options);
  if (wrong.empty()) return {};
  return strf("lease %s (session %llu, held %lld, revoking %lld): %s", lease.name.c_str(),
              static_cast<unsigned long long>(lease.session.value), number(lease.held),
              number(lease.revoking), wrong.c_str());
}

// Invariant 3, and that what the parent keeps about its children is what they are.
std::string Audit::sums(const Tenant& tenant) const {
  Account sum;
  Tenant kept;
  const auto add = [&](const Account& child) {
    sum.held += child.held;
    sum.revoking += child.revoking;
    sum.debt += child.debt;
    sum.overdue += child.overdue;
    sum.idle += child.idle;
    sum.floor += child.floor;
    sum.planned += child.planned;
    sum.waiting += child.waiting;
    sum.waiting_requests += child.waiting_requests;
    sum.holders += child.holders;
    sum.holders_waiting += child.holders_waiting;
    kept.children_hold += hold(child);
    kept.children_excess += excess(child);
    if (!active(child)) return;
    kept.surplus_sum += std::max(Bytes{0}, child.net() - child.guarantee);
    kept.weight_sum += child.weight;
  };
  for (const auto& [name, child] : tenant.tenants) add(*child);
  for (const Lease* child : tenant.leases) add(*child);
  const char* wrong = nullptr;
  if (sum.held != tenant.held) wrong = "held";
  if (sum.revoking != tenant.revoking) wrong = "revoking";
  if (sum.debt != tenant.debt) wrong = "debt";
  if (sum.overdue != tenant.overdue) wrong = "overdue";
  if (sum.idle != tenant.idle) wrong = "idle";
  if (sum.floor != tenant.floor) wrong = "floor";
  if (sum.planned != tenant.planned) wrong = "planned";
  if (sum.waiting != tenant.waiting) wrong = "waiting";
  if (sum.waiting_requests != tenant.waiting_requests) wrong = "waiting requests";
  if (sum.holders != tenant.holders) wrong = "holders";
  if (sum.holders_waiting != tenant.holders_waiting) wrong = "waiting holders";
  if (kept.children_hold != tenant.children_hold) wrong = "hold";
  if (tenant.children_promised != 0) wrong = "promised";
  if (kept.children_excess != tenant.children_excess) wrong = "excess";
  if (kept.surplus_sum != tenant.surplus_sum) wrong = "surplus";
  if (kept.weight_sum != tenant.weight_sum) wrong = "weight";
  if (wrong == nullptr) return {};
  return strf("tenant \"%s\": %s is not the sum of its children's", path_of(tenant).c_str(), wrong);
}

std::string Audit::node(const Tenant& tenant) const {
  std::string wrong = sums(tenant);
  if (wrong.empty()) wrong = sets(tenant);
  if (wrong.empty() && tenant.set_aside) wrong = left_out(tenant);
  for (const Lease* child : tenant.leases) {
    if (wrong.empty()) wrong = lease(*child);
  }
  for (const auto& [name, child] : tenant.tenants) {
    if (wrong.empty()) wrong = node(*child);
  }
  const bool done = tenant.removed && tenant.leases.empty() && tenant.tenants.empty();
  if (wrong.empty() && done) wrong = strf("tenant \"%s\" is left over", path_of(tenant).c_str());
  return wrong;
}

std::string Audit::all() const {
  std::string wrong = node(core_.tree.root());
  if (wrong.empty()) wrong = order();
  for (const Lease* lease : core_.tree.sessions().by_session()) {
    if (wrong.empty() && (lease->debt > 0) != core_.tree.debtors().contains(as_key(*lease))) {
      wrong = strf("lease %s: its debt is not listed rightly", lease->name.c_str());
    }
  }
  return wrong;
}

std::string Arbiter::check_invariants() const { return Audit(state_->core, state_->queue).all(); }

}  // namespace membroker::arbiter
