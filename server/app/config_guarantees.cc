#include <map>
#include <string>

#include "server/app/config_compile.h"
#include "server/broker/guarantees.h"
#include "shared/format.h"

namespace membroker::app {

void check_guarantees(const broker::BrokerConfig& config, const broker::ResourceConfig& resource,
                      const GuaranteePositions& positions, ConfigErrors& errors) {
  std::map<std::string, arbiter::TenantPolicy> policies;
  for (const broker::TenantConfig& tenant : config.tenants) {
    const auto found = tenant.policies.find(resource.name);
    if (found != tenant.policies.end()) policies[tenant.path] = found->second;
  }
  const broker::Guarantees guarantees = broker::add_up(policies);
  for (const auto& [path, complaint] : guarantees.above_limit) {
    const auto at = positions.tenants.find(path);
    errors.add(at == positions.tenants.end() ? Position{} : at->second, complaint);
  }
  if (guarantees.sum > resource.capacity) {
    errors.add(positions.capacity,
               strf("the tenants' guarantees of \"%s\" sum to %lld bytes, above the capacity of "
                    "%lld; lower a guarantee or raise the capacity",
                    resource.name.c_str(), static_cast<long long>(guarantees.sum),
                    static_cast<long long>(resource.capacity)));
  }
}

}  // namespace membroker::app
