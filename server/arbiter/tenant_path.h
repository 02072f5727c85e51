#pragma once

#include <algorithm>
#include <string_view>

#include "server/arbiter/rules.h"

namespace membroker::arbiter {

/// "acme/etl/nightly": one to kTenantDepthMax parts, none empty.
inline bool valid_tenant_path(std::string_view path) {
  if (path.empty() || path.front() == '/' || path.back() == '/') return false;
  if (path.find("//") != std::string_view::npos) return false;
  const auto slashes = static_cast<std::size_t>(std::count(path.begin(), path.end(), '/'));
  return slashes < kTenantDepthMax;
}

}  // namespace membroker::arbiter
