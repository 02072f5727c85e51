#include "server/broker/tenant_path.h"

#include <algorithm>

#include "server/arbiter/rules.h"
#include "shared/format.h"

namespace membroker::broker {

bool is_good_name(std::string_view name) {
  return !name.empty() && name[0] != '.' && name[0] != '-' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '_' || c == '-';
         });
}

Status check_tenant_path(std::string_view path) {
  bool good = path.size() <= kTenantPathBytesMax;
  std::size_t names = 0;
  for (std::size_t at = 0; good && at <= path.size(); ++names) {
    const std::size_t slash = std::min(path.find('/', at), path.size());
    good = is_good_name(path.substr(at, slash - at));
    at = slash + 1;
  }
  if (good && names <= arbiter::kTenantDepthMax) return {};
  return fail(ErrorCode::kInvalid,
              strf("a tenant's path is names of a-z A-Z 0-9 . _ - with \"/\" between them, such as "
                   "\"acme/etl\", at most %zu bytes and %zu names",
                   kTenantPathBytesMax, arbiter::kTenantDepthMax));
}

bool is_within(std::string_view tenant, std::string_view path) {
  if (path.empty() || tenant == path) return true;
  return tenant.starts_with(path) && tenant[path.size()] == '/';
}

}  // namespace membroker::broker
