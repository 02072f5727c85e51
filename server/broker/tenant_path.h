#pragma once

#include <cstddef>
#include <string_view>

#include "membroker/error.h"

namespace membroker::broker {

inline constexpr std::size_t kTenantPathBytesMax = 255;  // what a slot of the ledger holds

/// "nightly", "ram": a-z A-Z 0-9 . _ -, not empty, and no '.' or '-' first. Thread-safe.
bool is_good_name(std::string_view name);

/// The one rule for tenants, whether they come from the configuration, an admin or the state store:
/// names as above with single slashes between them, such as "acme/etl", of limited length and
/// depth. The error, kInvalid, says the rule. Thread-safe.
Status check_tenant_path(std::string_view path);

/// `tenant` is `path` or below it; an empty path has all below it. Thread-safe.
bool is_within(std::string_view tenant, std::string_view path);

}  // namespace membroker::broker
