#include "tests/sim/fair_share.h"

#include <algorithm>

namespace membroker::sim {

using arbiter::Arbiter;
using arbiter::GuaranteeMode;
using arbiter::LeaseView;
using arbiter::NodeView;
using arbiter::TenantView;

namespace {

void copy(FairShares::Node& node, const NodeView& view) {
  node.guarantee = view.guarantee;
  node.limit = view.limit;
  node.held = view.held;
  node.revoking = view.revoking;
  node.overdue = view.overdue;
  node.debt = view.debt;
  node.waiting = view.waiting;
}

}  // namespace

FairShares::FairShares(const Arbiter& arbiter, const std::map<SessionId, Bytes>& demands) {
  const auto add = [&](int parent, const NodeView& view) {
    const int index = static_cast<int>(nodes_.size());
    Node& node = nodes_.emplace_back();
    copy(node, view);
    node.parent = parent;
    if (parent >= 0) at(parent).children.push_back(index);
    return index;
  };
  add(-1, arbiter.root());
  tenants_[""] = 0;
  for (const TenantView& view : arbiter.tenants()) {
    const std::size_t slash = view.path.rfind('/');
    const std::string above = slash == std::string::npos ? "" : view.path.substr(0, slash);
    const int index = add(tenants_.at(above), view);
    tenants_[view.path] = index;
    at(index).weight = view.policy.weight;
    at(index).reserved = !view.removed && view.policy.mode == GuaranteeMode::kReserved;
  }
  for (const LeaseView& view : arbiter.leases()) {
    const int index = add(tenants_.at(view.path), view);
    leases_[view.session] = index;
    at(index).is_lease = true;
    at(index).guarantee = 0;
    at(index).floor = view.floor;
    at(index).idle_most = std::min(view.slack, view.held);
    const auto known = demands.find(view.session);
    if (known != demands.end()) at(index).waiting = std::max(Bytes{0}, known->second - view.held);
  }
  demand_of(0);
  at(0).share = std::min(at(0).limit, at(0).demand);
  pour(0);
}

// held + waiting, at most the limit, but at least held - revoking.
void FairShares::demand_of(int index) {
  if (node(index).is_lease) {
    Node& lease = at(index);
    lease.active = lease.held > lease.floor || lease.waiting > 0;
    lease.demand = lease.held + lease.waiting;
    return;
  }
  Bytes demand = 0;
  Bytes idle = 0;
  bool active = false;
  for (const int child : node(index).children) {
    demand_of(child);
    demand += node(child).demand;
    idle += node(child).idle_most;
    active = active || node(child).active;
  }
  Node& tenant = at(index);
  tenant.active = active;
  tenant.idle_most = idle;
  tenant.demand = std::max(std::min(demand, tenant.limit), tenant.held - tenant.revoking);
}

// First min(demand, guarantee) to each active child, the rest by weight until demands are met.
void FairShares::pour(int index) {
  Bytes left = node(index).share;
  std::vector<int> open;
  for (const int child : node(index).children) {
    Node& account = at(child);
    if (!account.active) {
      account.share = account.held;
      left -= account.held;
    } else {
      account.share = std::min(account.demand, account.guarantee);
      left -= account.share;
      if (account.demand > account.share) open.push_back(child);
    }
  }
  while (left > 0 && !open.empty()) {
    __int128 weights = 0;
    for (const int child : open) weights += node(child).weight;
    // The first to be met takes what it lacks; if none is, all take their part and it is done.
    const auto part = [&](int child) {
      return static_cast<Bytes>(static_cast<__int128>(left) * node(child).weight / weights);
    };
    Bytes taken = 0;
    std::vector<int> still;
    for (const int child : open) {
      if (node(child).demand - node(child).share > part(child)) {
        still.push_back(child);
        continue;
      }
      taken += node(child).demand - node(child).share;
      at(child).share = node(child).demand;
    }
    if (still.size() == open.size()) {
      for (const int child : open) at(child).share += part(child);
      break;
    }
    left -= taken;
    open = still;
  }
  for (const int child : node(index).children) {
    if (!node(child).is_lease) pour(child);
  }
}

int FairShares::lease(SessionId session) const {
  const auto known = leases_.find(session);
  return known == leases_.end() ? -1 : known->second;
}

std::vector<int> FairShares::path(int index) const {
  std::vector<int> path;
  for (; index >= 0; index = node(index).parent) path.push_back(index);
  return path;
}

}  // namespace membroker::sim
