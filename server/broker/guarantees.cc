#include "server/broker/guarantees.h"

#include <algorithm>

#include "shared/format.h"

namespace membroker::broker {
namespace {

std::string parent_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

}  // namespace

Guarantees add_up(const std::map<std::string, arbiter::TenantPolicy>& policies) {
  std::map<std::string, Bytes> below;  // sums of the children's; "" is the root
  for (const auto& [tenant, policy] : policies) {
    for (std::string path = tenant; !path.empty(); path = parent_of(path)) below[path] = 0;
  }
  // Children first: a longer path cannot be a parent of a shorter one.
  std::vector<std::string> order;
  for (const auto& [path, sum] : below) order.push_back(path);
  std::sort(order.begin(), order.end(),
            [](const auto& a, const auto& b) { return a.size() > b.size(); });
  Guarantees result;
  for (const std::string& path : order) {
    const auto found = policies.find(path);
    const arbiter::TenantPolicy own =
        found == policies.end() ? arbiter::TenantPolicy{} : found->second;
    const Bytes guarantee = std::max(own.guarantee, below[path]);
    if (guarantee > own.limit) {
      result.above_limit.push_back(
          {path, strf("the guarantees below \"%s\" sum to %lld bytes, above its limit of %lld; "
                      "lower them or raise the limit",
                      path.c_str(), static_cast<long long>(guarantee),
                      static_cast<long long>(own.limit))});
    }
    Bytes& parent = below[parent_of(path)];
    parent = saturating_add(parent, guarantee);
  }
  result.sum = below[""];
  return result;
}

}  // namespace membroker::broker
