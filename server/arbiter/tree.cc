#include "server/arbiter/tree.h"

#include <algorithm>
#include <utility>

#include "shared/check.h"

namespace membroker::arbiter {

namespace {

Bytes idle_of(const Lease& lease) {
  if (!lease.active_session() || lease.reports < 2) return 0;
  const Bytes both = std::min(lease.reported_slack[0], lease.reported_slack[1]);
  return std::min({both, lease.slack, lease.held});
}

void apply(Account& node, const Change& change, Bytes idle) {
  node.held += change.held;
  node.revoking += change.revoking;
  node.debt += change.debt;
  node.overdue += change.overdue;
  node.floor += change.floor;
  node.planned += change.planned;
  node.waiting += change.waiting;
  node.waiting_requests += static_cast<std::uint32_t>(change.waiting_requests);
  node.idle += idle;
}

}  // namespace

bool Tree::DeepestFirst::operator()(const Tenant* a, const Tenant* b) const {
  return a->depth != b->depth ? a->depth > b->depth : a->ordinal < b->ordinal;
}

Tree::Tree(Bytes capacity) : chunk_(chunk_of(capacity)) { root_.limit = capacity; }

// ---- figures ----

void Tree::add(Lease& lease, const Change& change) {
  ++version_;
  const bool owed = lease.debt > 0;
  walk_up(lease, change, true);
  if (owed == (lease.debt > 0)) return;
  if (owed) {
    debtors_.erase(&lease);
  } else {
    debtors_.insert(&lease);
  }
}

void Tree::walk_up(Lease& lease, const Change& change, bool shows) {
  apply(lease, change, 0);
  const Bytes idle = idle_of(lease) - lease.idle;
  lease.idle += idle;
  MB_CHECK(lease.held >= 0 && lease.revoking >= 0 && lease.debt >= 0 && lease.overdue >= 0);
  count(lease);
  for (Tenant* node = lease.parent; node != nullptr; node = node->parent) {
    if (shows && node->set_aside) {
      node->set_aside = false;
      set_aside_.erase(node);
    }
    apply(*node, change, idle);
    count(*node);
  }
}

void Tree::count_up(Tenant& node) {
  for (Tenant* at = &node; at != nullptr; at = at->parent) count(*at);
}

void Tree::set_aside(Tenant& node) {
  node.set_aside = true;
  set_aside_.insert(&node);
  count_up(node);
}

void Tree::show(Tenant& node) {
  if (!node.set_aside) return;
  node.set_aside = false;
  set_aside_.erase(&node);
  count_up(node);
}

void Tree::show_all() {
  while (!set_aside_.empty()) show(**set_aside_.begin());
}

Counted Tree::counts_of(const Lease& lease) const {
  Counted now;
  now.active = lease.held > lease.floor || lease.waiting > 0;
  now.surplus = now.active ? lease.net() : 0;
  now.excess = std::min(lease.revocation.admin, lease.revoking);
  const bool askable = lease.active_session() && !lease.backing_off;
  now.claimable[0] = askable && lease.claim(Stage::kSlack) >= chunk_ / kSlackClaimDivisor;
  now.claimable[1] = askable && lease.claim(Stage::kSpill) >= 1;
  for (const auto& wait : lease.waits) {
    if (wait->hidden) continue;
    now.arrival = now.eligible ? std::min(now.arrival, wait->arrival) : wait->arrival;
    now.aged = now.aged || wait->aged;
    now.eligible = true;
  }
  now.holders = lease.active_session() && lease.held > lease.floor ? 1 : 0;
  now.holders_waiting = lease.waits.empty() ? 0 : now.holders;
  return now;
}

Counted Tree::counts_of(const Tenant& tenant) const {
  Counted now;
  now.active = tenant.active_children > 0;
  now.surplus = now.active ? std::max(Bytes{0}, tenant.net() - tenant.guarantee) : 0;
  const bool reserved = !tenant.removed && tenant.policy.mode == GuaranteeMode::kReserved;
  now.hold = std::max(reserved ? tenant.guarantee - tenant.held : 0, tenant.children_hold);
  const Bytes own = reserved ? tenant.guarantee - tenant.held - tenant.planned : 0;
  now.promised = now.hold - std::max(own, tenant.children_hold - tenant.children_promised);
  now.reserve = std::max(reserved ? tenant.guarantee : 0, tenant.children_reserve);
  now.excess = std::max(tenant.held - tenant.limit, tenant.children_excess);
  const bool above_guarantee = tenant.keeps() > tenant.guarantee;
  for (std::size_t stage = 0; stage < now.claimable.size(); ++stage) {
    now.claimable[stage] = above_guarantee && tenant.claimable_children[stage] > 0;
  }
  // While the tenant has debt its own leases wait; what is below its sub-tenants does not.
  const std::size_t kinds = tenant.set_aside ? 0 : (tenant.debt > 0 ? 1 : 2);
  for (std::size_t kind = 0; kind < kinds; ++kind) {
    now.aged = now.aged || tenant.aged_children[kind] > 0;
    if (tenant.eligible_children[kind] == 0) continue;
    const auto arrival = static_cast<std::uint64_t>(tenant.arrivals[kind].top().key);
    now.arrival = now.eligible ? std::min(now.arrival, arrival) : arrival;
    now.eligible = true;
  }
  now.holders = tenant.holders;
  now.holders_waiting = tenant.holders_waiting;
  return now;
}

void Tree::count(Account& node) {
  ++visits_;
  if (!node.is_lease) note_over(as_tenant(node));
  const Counted now = node.is_lease ? counts_of(as_lease(node)) : counts_of(as_tenant(node));
  if (node.is_lease) {
    node.holders = now.holders;
    node.holders_waiting = now.holders_waiting;
  }
  if (node.parent != nullptr && node.in_class != nullptr) count_in_parent(node, now);
  const bool was_aged = node.counted.aged;
  if (node.in_class != nullptr && was_aged != now.aged) {
    node.in_class->waiting[was_aged ? 1 : 0].drop(node);
  }
  node.counted = now;
  if (node.in_class != nullptr) place(node);
}

void Tree::count_in_parent(const Account& node, const Counted& now) {
  Tenant& parent = *node.parent;
  const Counted& old = node.counted;
  parent.surplus_sum += now.surplus - old.surplus;
  if (now.active != old.active) {
    parent.weight_sum += now.active ? node.weight : -node.weight;
    parent.active_children += now.active ? 1 : -1;
  }
  parent.children_hold += now.hold - old.hold;
  parent.children_promised += now.promised - old.promised;
  parent.children_excess += now.excess - old.excess;
  parent.children_reserve += now.reserve - old.reserve;
  for (std::size_t stage = 0; stage < now.claimable.size(); ++stage) {
    parent.claimable_children[stage] += now.claimable[stage] - old.claimable[stage];
  }
  const std::size_t kind = node.is_lease ? 1 : 0;
  parent.eligible_children[kind] += now.eligible - old.eligible;
  parent.aged_children[kind] += now.aged - old.aged;
  parent.holders += now.holders - old.holders;
  parent.holders_waiting += now.holders_waiting - old.holders_waiting;
}

void Tree::place(Account& node) {
  ChildClass& siblings = *node.in_class;
  const Counted& now = node.counted;
  const Bytes surplus = node.net() - node.guarantee;
  if (now.active) {
    siblings.active.put(node, surplus);
  } else {
    siblings.active.drop(node);
  }
  if (now.claimable[0]) {
    siblings.slack.put(node, surplus + kIdleTax * node.idle);
  } else {
    siblings.slack.drop(node);
  }
  if (now.claimable[1]) {
    siblings.spill.put(node, surplus);
  } else {
    siblings.spill.drop(node);
  }
  auto& waiting = siblings.waiting[now.aged ? 1 : 0];
  auto& arrivals = node.parent->arrivals[node.is_lease ? 1 : 0];
  if (now.eligible) {
    waiting.put(node, surplus);
    arrivals.put(node, static_cast<std::int64_t>(now.arrival));
  } else {
    waiting.drop(node);
    arrivals.drop(node);
  }
}

void Tree::note_over(Tenant& tenant) {
  const bool over = tenant.held - tenant.revoking > tenant.limit;
  if (over == tenant.over) return;
  tenant.over = over;
  if (over) {
    over_.insert(&tenant);
  } else {
    over_.erase(&tenant);
  }
}

// ---- structure ----

void Tree::attach(Account& node) {
  Tenant& parent = *node.parent;
  for (const auto& known : parent.classes) {
    if (known->leases == node.is_lease && known->priority == node.priority &&
        known->weight == node.weight) {
      node.in_class = known.get();
    }
  }
  if (node.in_class == nullptr) {
    auto made = std::make_unique<ChildClass>();
    made->leases = node.is_lease;
    made->priority = node.priority;
    made->weight = node.weight;
    node.in_class = made.get();
    parent.classes.push_back(std::move(made));
  }
  ++node.in_class->members;
  count(node);
}

void Tree::detach(Account& node) {
  ChildClass& siblings = *node.in_class;
  count_in_parent(node, Counted{});
  siblings.active.drop(node);
  siblings.slack.drop(node);
  siblings.spill.drop(node);
  siblings.waiting[node.counted.aged ? 1 : 0].drop(node);
  node.parent->arrivals[node.is_lease ? 1 : 0].drop(node);
  node.counted = Counted{};
  node.in_class = nullptr;
  if (--siblings.members > 0) return;
  auto& classes = node.parent->classes;
  std::erase_if(classes, [&](const auto& known) { return known.get() == &siblings; });
}

Lease& Tree::add_lease(Tenant& tenant, SessionId session, std::string name, std::int32_t priority) {
  auto lease = std::make_unique<Lease>();
  lease->parent = &tenant;
  lease->name = std::move(name);
  lease->is_lease = true;
  lease->depth = static_cast<std::uint16_t>(tenant.depth + 1);
  lease->priority = priority;
  lease->session = session;
  lease->index_in_tenant = static_cast<std::uint32_t>(tenant.leases.size());
  tenant.leases.push_back(lease.get());
  Lease& added = sessions_.insert(std::move(lease));
  attach(added);
  ++version_;
  return added;
}

void Tree::drop_lease(Lease& lease) {
  MB_CHECK(lease.held == 0 && lease.revoking == 0 && lease.debt == 0 && lease.overdue == 0);
  MB_CHECK(lease.floor == 0 && lease.waits.empty() && lease.planned == 0);
  detach(lease);
  Tenant& tenant = *lease.parent;
  tenant.leases.back()->index_in_tenant = lease.index_in_tenant;
  tenant.leases[lease.index_in_tenant] = tenant.leases.back();
  tenant.leases.pop_back();
  sessions_.erase(lease.session);
  ++version_;
}

// ---- questions ----

Climb::Climb(const Tenant& tenant)
    : node(&tenant),
      kept(tenant.children_hold),
      promised(tenant.children_promised),
      reserved(tenant.children_reserve) {}

void Climb::up() {
  const Counted& below = node->counted;
  node = node->parent;
  if (node == nullptr) return;
  kept += node->children_hold - below.hold;
  promised += node->children_promised - below.promised;
  reserved += node->children_reserve - below.reserve;
}

Room Tree::room(const Tenant& tenant) const {
  Room least{kBytesMax, &tenant};
  for (Climb climb(tenant); climb.node != nullptr; climb.up()) {
    const Bytes here = climb.free();
    if (here < least.bytes) least = {here, climb.node};
  }
  visits_ += tenant.depth + 1u;
  return least;
}

Room Tree::cover_room(const Tenant& tenant) const {
  Room least{kUnlimited, &tenant};
  for (Climb climb(tenant); climb.node != nullptr; climb.up()) {
    const Bytes covers = climb.free() + climb.node->debt;
    if (covers < least.bytes) least = {covers, climb.node};
  }
  return least;
}

Bytes Tree::attainable(const Tenant& tenant) const {
  Bytes least = kUnlimited;
  for (Climb climb(tenant); climb.node != nullptr; climb.up()) {
    least = std::min(least, climb.node->limit - climb.reserved);
  }
  return least;
}

Bytes Tree::limit_on_path(const Tenant& tenant) const {
  Bytes least = kUnlimited;
  for (const Tenant* node = &tenant; node != nullptr; node = node->parent) {
    least = std::min(least, node->limit);
  }
  return least;
}

}  // namespace membroker::arbiter
