#include "server/app/stored_tenants.h"

#include <algorithm>

#include "server/app/config_compile.h"
#include "server/arbiter/rules.h"
#include "server/broker/tenant_path.h"
#include "shared/format.h"

namespace membroker::app {
namespace {

std::string complaint(const broker::StoredTenant& tenant, const broker::BrokerConfig& merged) {
  if (const auto good = broker::check_tenant_path(tenant.path); !good) {
    return good.error().message();
  }
  const arbiter::TenantPolicy& policy = tenant.policy;
  if (policy.weight < 1 || policy.weight > arbiter::kWeightMax || policy.guarantee < 0 ||
      policy.guarantee > policy.limit) {
    return "its figures are impossible";
  }
  const auto resource =
      std::find_if(merged.resources.begin(), merged.resources.end(),
                   [&](const auto& known) { return known.name == tenant.resource; });
  if (resource == merged.resources.end()) return "that resource is not configured";
  ConfigErrors errors("stored tenants");
  check_guarantees(merged, *resource, {{}, {}}, errors);
  return errors.text();
}

broker::TenantConfig& tenant_of(broker::BrokerConfig& config, const std::string& path) {
  const auto found = std::find_if(config.tenants.begin(), config.tenants.end(),
                                  [&](const auto& tenant) { return tenant.path == path; });
  if (found != config.tenants.end()) return *found;
  config.tenants.push_back({.path = path, .policies = {}, .uids = {}, .gids = {}});
  return config.tenants.back();
}

}  // namespace

std::vector<std::string> merge_stored_tenants(const std::vector<broker::StoredTenant>& stored,
                                              broker::BrokerConfig& config) {
  std::vector<std::string> left_out;
  // A guarantee may fit only beside a lower one that comes later: again, until nothing more fits.
  for (std::vector<broker::StoredTenant> rest = stored, unfit; !rest.empty(); rest.swap(unfit)) {
    left_out.clear();
    unfit.clear();
    for (const broker::StoredTenant& tenant : rest) {
      broker::BrokerConfig merged = config;
      tenant_of(merged, tenant.path).policies[tenant.resource] = tenant.policy;
      const std::string wrong = complaint(tenant, merged);
      if (wrong.empty()) {
        config = std::move(merged);
        continue;
      }
      unfit.push_back(tenant);
      left_out.push_back(strf("tenant %s of resource %s: %s", tenant.path.c_str(),
                              tenant.resource.c_str(), wrong.c_str()));
    }
    if (unfit.size() == rest.size()) break;
  }
  std::stable_sort(config.tenants.begin(), config.tenants.end(), [](const auto& a, const auto& b) {
    const auto depth = [](const auto& tenant) {
      return std::count(tenant.path.begin(), tenant.path.end(), '/');
    };
    return depth(a) < depth(b);
  });
  return left_out;
}

}  // namespace membroker::app
