#include "tests/sim/accounts.h"

#include <algorithm>

namespace membroker::sim {

using arbiter::Arbiter;
using arbiter::GuaranteeMode;
using arbiter::LeaseView;
using arbiter::NodeView;
using arbiter::TenantView;

namespace {

constexpr Bytes kSlackKept = 16;  // a lease keeps this part of what it holds as slack

void copy(Accounts::Node& node, const NodeView& view) {
  node.guarantee = view.guarantee;
  node.limit = view.limit;
  node.held = view.held;
  node.revoking = view.revoking;
  node.overdue = view.overdue;
  node.debt = view.debt;
  node.waiting = view.waiting;
}

}  // namespace

Accounts::Accounts(const Arbiter& arbiter) {
  const auto add = [&](int parent, const NodeView& view) {
    const int index = size();
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
    at(index).priority = view.policy.priority;
    at(index).reserved = !view.removed && view.policy.mode == GuaranteeMode::kReserved;
  }
  for (const LeaseView& view : arbiter.leases()) {
    const int index = add(tenants_.at(view.path), view);
    leases_[view.session] = index;
    Node& lease = at(index);
    lease.is_lease = true;
    lease.session = view.session;
    lease.guarantee = 0;
    lease.floor = view.floor;
    if (view.state != arbiter::SessionState::kActive) continue;
    lease.slack = view.slack;
    lease.reclaimable = view.reclaimable;
  }
}

// ---- the tree ----

int Accounts::lease(SessionId session) const {
  const auto known = leases_.find(session);
  return known == leases_.end() ? -1 : known->second;
}

std::vector<int> Accounts::path(int index) const {
  std::vector<int> path;
  for (; index >= 0; index = node(index).parent) path.push_back(index);
  return path;
}

bool Accounts::is_above(int above, int index) const {
  while (index > above) index = node(index).parent;  // parents come first
  return index == above;
}

Accounts::Sides Accounts::sides(int first, int second) const {
  Sides sides{node(second).parent, first, second};
  while (!is_above(sides.common, first)) {
    sides.second = sides.common;
    sides.common = node(sides.common).parent;
  }
  while (node(sides.first).parent != sides.common) sides.first = node(sides.first).parent;
  return sides;
}

// ---- changes ----

void Accounts::describe(int lease, std::int32_t priority, Bytes idle) {
  at(lease).priority = priority;
  for (int index = lease; index >= 0; index = node(index).parent) at(index).idle += idle;
}

void Accounts::add(int lease, const Change& change) {
  for (int index = lease; index >= 0; index = node(index).parent) {
    Node& account = at(index);
    account.held += change.held;
    account.revoking += change.revoking;
    account.debt += change.debt;
    account.waiting += change.waiting;
  }
  if (change.held != 0) holds_.clear();
}

// ---- definitions ----

void Accounts::note_holds() const {
  holds_.assign(nodes_.size(), 0);
  std::vector<Bytes> below(nodes_.size(), 0);
  for (std::size_t i = nodes_.size(); i-- > 0;) {
    const Node& account = nodes_[i];
    const Bytes own = account.reserved ? std::max(Bytes{0}, account.guarantee - account.held) : 0;
    holds_[i] = std::max(own, below[i]);
    if (account.parent >= 0) below[static_cast<std::size_t>(account.parent)] += holds_[i];
  }
}

std::vector<Accounts::Room> Accounts::free(int lease) const {
  if (holds_.empty()) note_holds();
  std::vector<Room> path;
  Bytes kept = 0;
  int child = lease;
  for (int at = node(lease).parent; at >= 0; child = at, at = node(at).parent) {
    for (const int other : node(at).children) {
      if (other != child) kept += holds_[static_cast<std::size_t>(other)];
    }
    path.push_back({node(at).limit - node(at).held - kept, at});
  }
  return path;
}

Accounts::Room Accounts::room(int lease) const {
  const std::vector<Room> path = free(lease);
  return *std::min_element(path.begin(), path.end(),
                           [](const Room& a, const Room& b) { return a.bytes < b.bytes; });
}

Bytes Accounts::attainable(int lease) const {
  std::vector<Bytes> reserves(nodes_.size(), 0);  // reserved guarantees, or those below
  std::vector<Bytes> below(nodes_.size(), 0);
  for (std::size_t i = nodes_.size(); i-- > 0;) {
    reserves[i] = std::max(nodes_[i].reserved ? nodes_[i].guarantee : 0, below[i]);
    if (nodes_[i].parent >= 0) below[static_cast<std::size_t>(nodes_[i].parent)] += reserves[i];
  }
  Bytes least = kBytesMax;
  Bytes others = 0;
  int child = lease;
  for (int at = node(lease).parent; at >= 0; child = at, at = node(at).parent) {
    const auto of = [](int index) { return static_cast<std::size_t>(index); };
    others += below[of(at)] - reserves[of(child)];
    least = std::min(least, node(at).limit - others);
  }
  return std::max(Bytes{0}, least - node(lease).held);
}

Bytes Accounts::cover_room(int lease) const {
  Bytes least = kBytesMax;
  for (const Room& at : free(lease)) {
    least = std::min(least, saturating_add(at.bytes, node(at.tight).debt));
  }
  return least;
}

bool Accounts::below_guarantee(int lease) const {
  for (int at = node(lease).parent; at > 0; at = node(at).parent) {
    if (node(at).held < node(at).guarantee) return true;
  }
  return false;
}

bool Accounts::active(int index) const {
  const Node& account = node(index);
  if (account.is_lease) return account.held > account.floor || account.waiting > 0;
  return std::any_of(account.children.begin(), account.children.end(),
                     [this](int child) { return active(child); });
}

Accounts::Average Accounts::average(int index) const {
  Average sums;
  for (const int child : node(index).children) {
    if (!active(child)) continue;
    sums.surplus += std::max(Bytes{0}, node(child).surplus());
    sums.weight += node(child).weight;
  }
  return sums;
}

Bytes Accounts::slack_claim(int lease) const {
  const Node& account = node(lease);
  const Bytes spare = account.slack - std::min(account.slack, account.held / kSlackKept);
  return std::min(spare, account.held - account.floor) - account.revoking;
}

Bytes Accounts::claim(int lease) const {
  const Node& account = node(lease);
  const Bytes offered = saturating_add(account.slack, account.reclaimable);
  return std::min(offered, account.held - account.floor) - account.revoking;
}

}  // namespace membroker::sim
