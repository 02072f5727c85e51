#include "server/arbiter/audit.h"

#include <algorithm>
#include <utility>

#include "shared/format.h"

namespace membroker::arbiter {

namespace {

template <class Visit>
void for_each_child(const Tenant& tenant, Visit visit) {
  for (const auto& [name, child] : tenant.tenants) visit(*child);
  for (const Lease* child : tenant.leases) visit(*child);
}

// What is below a tenant and may be looked at: its own leases wait while it has debt.
template <class Visit>
void for_each_eligible(const Account& node, Visit visit) {
  if (node.is_lease) {
    for (const auto& wait : as_lease(node).waits) visit(*wait);
    return;
  }
  const Tenant& tenant = as_tenant(node);
  if (tenant.set_aside) return;
  for_each_child(tenant, [&](const Account& child) {
    if (!child.is_lease || tenant.debt == 0) for_each_eligible(child, visit);
  });
}

template <class Heap>
std::string heap_complaint(const Heap& heap) {
  const auto& entries = heap.entries();
  for (std::size_t i = 1; i < entries.size(); ++i) {
    const std::size_t parent = (i - 1) / 2;
    if (Heap::order_before(entries[i], entries[parent])) return "is out of order";
  }
  return {};
}

}  // namespace

Bytes Audit::hold(const Account& node) {
  if (node.is_lease) return 0;
  const Tenant& tenant = as_tenant(node);
  Bytes below = 0;
  for_each_child(tenant, [&](const Account& child) { below += hold(child); });
  const bool reserved = !tenant.removed && tenant.policy.mode == GuaranteeMode::kReserved;
  return std::max(reserved ? std::max(Bytes{0}, tenant.guarantee - tenant.held) : 0, below);
}

Bytes Audit::excess(const Account& node) {
  if (node.is_lease) return std::min(as_lease(node).revocation.admin, node.revoking);
  Bytes below = 0;
  for_each_child(as_tenant(node), [&](const Account& child) { below += excess(child); });
  return std::max(node.held - node.limit, below);
}

bool Audit::active(const Account& node) {
  if (node.is_lease) return node.held > node.floor || !as_lease(node).waits.empty();
  bool any = false;
  for_each_child(as_tenant(node), [&](const Account& child) { any = any || active(child); });
  return any;
}

bool Audit::claimable(const Account& node, Stage stage) const {
  if (node.is_lease) {
    const Lease& lease = as_lease(node);
    const Bytes least = stage == Stage::kSlack ? core_.tree.chunk() / kSlackClaimDivisor : 1;
    return !lease.backing_off && lease.claim(stage) >= least;
  }
  if (node.held - node.revoking + node.overdue <= node.guarantee) return false;
  bool any = false;
  for_each_child(as_tenant(node),
                 [&](const Account& child) { any = any || claimable(child, stage); });
  return any;
}

bool Audit::eligible(const Account& node) {
  bool any = false;
  for_each_eligible(node, [&](const Request&) { any = true; });
  return any;
}

bool Audit::aged(const Account& node) {
  bool any = false;
  for_each_eligible(node, [&](const Request& request) { any = any || request.aged; });
  return any;
}

std::uint64_t Audit::arrival(const Account& node) {
  std::uint64_t first = UINT64_MAX;
  for_each_eligible(node,
                    [&](const Request& request) { first = std::min(first, request.arrival); });
  return first;
}

// Every child is in exactly the sets it belongs to, under the key it has now.
std::string Audit::sets(const Tenant& tenant) const {
  std::string wrong;
  for (const auto& siblings : tenant.classes) {
    for (const std::string& broken :
         {heap_complaint(siblings->active), heap_complaint(siblings->slack),
          heap_complaint(siblings->spill), heap_complaint(siblings->waiting[0]),
          heap_complaint(siblings->waiting[1])}) {
      if (!broken.empty()) wrong = "a set of its children " + broken;
    }
  }
  for_each_child(tenant, [&](const Account& child) {
    const auto expect = [&](bool in, Place place, const auto& heap, Bytes key) {
      const std::uint32_t at = child.places[place];
      if (in != (at != kNoPlace)) {
        wrong = child.name + (in ? " is missing from a set" : " is in a set it left");
      } else if (in && (heap.entries()[at].item != &child || heap.entries()[at].key != key)) {
        wrong = child.name + " has an old key in a set";
      }
    };
    const ChildClass& siblings = *child.in_class;
    const Bytes surplus = child.net() - child.guarantee;
    expect(active(child), kInActive, siblings.active, surplus);
    expect(claimable(child, Stage::kSlack), kInSlack, siblings.slack,
           surplus + kIdleTax * child.idle);
    expect(claimable(child, Stage::kSpill), kInSpill, siblings.spill, surplus);
    expect(eligible(child), kInWaiting, siblings.waiting[aged(child) ? 1 : 0], surplus);
    if (eligible(child) && child.counted.arrival != arrival(child)) {
      wrong = child.name + " has an old arrival";
    }
  });
  if (wrong.empty()) return {};
  return strf("tenant \"%s\": %s", path_of(tenant).c_str(), wrong.c_str());
}

// Nobody is forgotten below a node that the order leaves out: there is nothing for him.
std::string Audit::left_out(const Tenant& tenant) const {
  if (std::cmp_greater_equal(tenant.waiting_requests, core_.options.scan)) return {};
  std::string wrong;
  for_each_child(tenant, [&](const Account& child) {
    if (!child.is_lease || tenant.debt > 0) return;
    for (const auto& wait : as_lease(child).waits) {
      if (core_.tree.room(tenant).bytes >= wait->min) wrong = child.name + " waits unseen";
    }
  });
  return wrong;
}

// The six keys of section 2; under `greedy` who lacks most of its guarantee, then arrival.
bool Audit::waits_before(const Account& a, const Account& b, const Tenant& node) const {
  const Level first = a.level();
  const Level second = b.level();
  if (first.below_guarantee() != second.below_guarantee()) return first.below_guarantee();
  if (core_.options.policy == PolicyKind::kGreedy) {
    const int order = first.below_guarantee() ? compare(first, second) : 0;
    return order != 0 ? order < 0 : arrival(a) < arrival(b);
  }
  const Average average = node.average();
  const bool first_within = within(first, average, core_.tree.chunk());
  if (first_within != within(second, average, core_.tree.chunk())) return first_within;
  if (aged(a) != aged(b)) return aged(a);
  if (a.priority != b.priority) return a.priority > b.priority;
  const int order = compare(first, second);
  return order != 0 ? order < 0 : arrival(a) < arrival(b);
}

// The sets lead to the same first waiter as a look at every child does.
std::string Audit::order() const {
  const Account* node = &core_.tree.root();
  while (node != nullptr && !node->is_lease) {
    const Tenant& tenant = as_tenant(*node);
    const Account* best = nullptr;
    for_each_child(tenant, [&](const Account& child) {
      if (!eligible(child) || (child.is_lease && tenant.debt > 0)) return;
      if (best == nullptr || waits_before(child, *best, tenant)) best = &child;
    });
    node = best;
  }
  const Request* first = queue_.first();
  if (node == nullptr) return first == nullptr ? "" : "a request waits that none should see";
  if (first == nullptr || first->lease != node) {
    return "the first waiter should be " + node->name + ", not " +
           (first == nullptr ? "nobody" : first->lease->name);
  }
  for (const auto& wait : as_lease(*node).waits) {
    if (wait->priority > first->priority ||
        (wait->priority == first->priority && wait->arrival < first->arrival)) {
      return "the first waiter of " + node->name + " is not the first";
    }
  }
  return {};
}

}  // namespace membroker::arbiter
