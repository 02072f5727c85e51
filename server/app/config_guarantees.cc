#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "server/app/config_compile.h"
#include "shared/format.h"

namespace membroker::app {
namespace {

std::string parent_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

}  // namespace

// A tenant is promised its own guarantee or the sum of what those below it are, whichever is more.
void check_guarantees(const broker::BrokerConfig& config, const broker::ResourceConfig& resource,
                      const GuaranteePositions& positions, ConfigErrors& errors) {
  std::map<std::string, Bytes> below;  // sums of the children's promises; "" is the root
  std::map<std::string, const arbiter::TenantPolicy*> policies;
  for (const broker::TenantConfig& tenant : config.tenants) {
    const auto found = tenant.policies.find(resource.name);
    if (found != tenant.policies.end()) policies[tenant.path] = &found->second;
    for (std::string path = tenant.path; !path.empty(); path = parent_of(path)) below[path] = 0;
  }
  // Children first: a longer path cannot be a parent of a shorter one.
  std::vector<std::string> order;
  for (const auto& [path, sum] : below) order.push_back(path);
  std::sort(order.begin(), order.end(),
            [](const auto& a, const auto& b) { return a.size() > b.size(); });
  for (const std::string& path : order) {
    const auto own = policies.find(path);
    const Bytes guarantee = own == policies.end() ? 0 : own->second->guarantee;
    const Bytes limit = own == policies.end() ? kBytesMax : own->second->limit;
    const Bytes promised = std::max(guarantee, below[path]);
    if (promised > limit) {
      errors.add(
          positions.tenants.at(path),
          strf("the guarantees below \"%s\" sum to %lld bytes, above its limit of %lld; "
               "lower them or raise the limit",
               path.c_str(), static_cast<long long>(promised), static_cast<long long>(limit)));
    }
    Bytes& parent = below[parent_of(path)];
    parent = saturating_add(parent, promised);
  }
  if (below[""] > resource.capacity) {
    errors.add(positions.capacity,
               strf("the tenants' guarantees of \"%s\" sum to %lld bytes, above the capacity of "
                    "%lld; lower a guarantee or raise the capacity",
                    resource.name.c_str(), static_cast<long long>(below[""]),
                    static_cast<long long>(resource.capacity)));
  }
}

}  // namespace membroker::app
