#include "server/arbiter/tenants.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "server/arbiter/tenant_path.h"
#include "shared/format.h"

namespace membroker::arbiter {

namespace {

void deny_below(Tenant& tenant, Queue& queue) {
  std::vector<Lease*> leases = tenant.leases;
  std::sort(leases.begin(), leases.end(),
            [](const Lease* a, const Lease* b) { return name_before(*a, *b); });
  for (Lease* lease : leases) {
    queue.deny_all(*lease, DenyReason::kTenantRemoved, Hint::kRollback);
  }
  for (const auto& [name, child] : tenant.tenants) deny_below(*child, queue);
}

}  // namespace

void Tenants::set_capacity(const SetCapacity& event) {
  if (event.capacity < 0 || event.capacity > kCapacityMax) {
    core_.emit(Rejected{strf("capacity of %lld bytes: must be 0 to %lld",
                             static_cast<long long>(event.capacity),
                             static_cast<long long>(kCapacityMax))});
    return;
  }
  core_.tree.set_capacity(event.capacity);
}

std::string Tenants::complaint(const SetTenant& event) const {
  const TenantPolicy& policy = event.policy;
  if (!valid_tenant_path(event.path)) return "is no path";
  if (policy.weight < 1 || policy.weight > kWeightMax) {
    return strf("weight %d: must be 1 to %d", policy.weight, kWeightMax);
  }
  if (policy.guarantee < 0 || policy.limit < 0) return "a guarantee or limit is negative";
  if (policy.guarantee > policy.limit) {
    return strf("guarantee of %lld bytes is above its limit of %lld",
                static_cast<long long>(policy.guarantee), static_cast<long long>(policy.limit));
  }
  // After a cut of the capacity the sum may be too large already; it may then be lowered in steps.
  const Tenant* known = core_.tree.find(event.path);
  const Bytes has = known == nullptr || known->removed ? 0 : known->policy.guarantee;
  const Wide sum = core_.tree.guarantees_with(event.path, policy.guarantee);
  if (sum > core_.tree.capacity() && policy.guarantee > has) {
    return strf(
        "guarantee of %lld bytes: all guarantees together would exceed the capacity of %lld",
        static_cast<long long>(policy.guarantee), static_cast<long long>(core_.tree.capacity()));
  }
  return {};
}

void Tenants::set(const SetTenant& event) {
  const std::string wrong = complaint(event);
  if (!wrong.empty()) {
    core_.emit(Rejected{strf("tenant \"%s\": %s", event.path.c_str(), wrong.c_str())});
    return;
  }
  core_.tree.set_policy(core_.tree.make_tenant(event.path, false), event.policy);
}

void Tenants::remove(const RemoveTenant& event) {
  Tenant* tenant = valid_tenant_path(event.path) ? core_.tree.find(event.path) : nullptr;
  if (tenant == nullptr) {
    core_.emit(Rejected{strf("tenant \"%s\" is not configured", event.path.c_str())});
    return;
  }
  core_.tree.remove_subtree(*tenant);
  deny_below(*tenant, queue_);
  Tenant* parent = tenant->parent;
  core_.tree.prune_subtree(*tenant);
  core_.tree.prune(parent);
}

}  // namespace membroker::arbiter
