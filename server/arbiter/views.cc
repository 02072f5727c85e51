#include <algorithm>
#include <utility>

#include "server/arbiter/arbiter.h"
#include "server/arbiter/state.h"

/// \file
/// What others see of the state.

namespace membroker::arbiter {

namespace {

void fill(NodeView& view, const Account& account, const Tenant& tenant) {
  view.path = path_of(tenant);
  view.guarantee = account.guarantee;
  view.limit = account.limit >= kUnlimited ? kBytesMax : account.limit;
  view.held = account.held;
  view.revoking = account.revoking;
  view.waiting = static_cast<Bytes>(std::min(account.waiting, Wide{kBytesMax}));
  view.debt = account.debt;
  view.overdue = account.overdue;
  view.waiting_requests = account.waiting_requests;
}

LeaseView view_of(const Lease& lease) {
  LeaseView view;
  fill(view, lease, *lease.parent);
  view.session = lease.session;
  view.name = lease.name;
  view.state = lease.state;
  view.floor = lease.floor;
  view.slack = lease.slack;
  view.reclaimable = lease.reclaimable;
  view.stage = lease.revocation.stage;
  view.reason = lease.revocation.reason;
  view.opened = lease.revocation.opened;
  view.deadline = lease.revocation.deadline;
  return view;
}

std::uint32_t sessions_below(const Tenant& tenant) {
  auto count = static_cast<std::uint32_t>(
      std::count_if(tenant.leases.begin(), tenant.leases.end(),
                    [](const Lease* lease) { return lease->state != SessionState::kOrphan; }));
  for (const auto& [name, child] : tenant.tenants) count += sessions_below(*child);
  return count;
}

}  // namespace

Bytes Arbiter::capacity() const { return state_->core.tree.capacity(); }
Bytes Arbiter::chunk() const { return state_->core.tree.chunk(); }

NodeView Arbiter::root() const {
  NodeView view;
  const Tenant& root = state_->core.tree.root();
  fill(view, root, root);
  return view;
}

std::vector<TenantView> Arbiter::tenants() const {
  std::vector<TenantView> views;
  for (const Tenant* tenant : std::as_const(state_->core.tree).tenants()) {
    TenantView& view = views.emplace_back();
    fill(view, *tenant, *tenant);
    view.policy = tenant->policy;
    view.removed = tenant->removed;
    view.sessions = sessions_below(*tenant);
    view.debt_cap = state_->core.tree.debt_cap(*tenant);
  }
  return views;
}

bool Arbiter::has_tenant(std::string_view path) const {
  return std::as_const(state_->core.tree).find(path) != nullptr;
}

std::vector<LeaseView> Arbiter::leases() const {
  std::vector<LeaseView> views;
  for (const Lease* lease : state_->core.tree.sessions().by_session()) {
    views.push_back(view_of(*lease));
  }
  return views;
}

std::optional<LeaseView> Arbiter::lease(SessionId session) const {
  const Lease* lease = state_->core.tree.sessions().find(session);
  if (lease == nullptr) return std::nullopt;
  return view_of(*lease);
}

std::uint64_t Arbiter::node_visits() const { return state_->core.tree.visits(); }

bool Arbiter::tight(SessionId session) const {
  const Lease* lease = state_->core.tree.sessions().find(session);
  if (lease == nullptr) return false;
  const auto& heads = state_->queue.heads();
  return std::any_of(heads.begin(), heads.end(),
                     [&](const Head& head) { return on_path(*head.tight, *lease->parent); });
}

}  // namespace membroker::arbiter
