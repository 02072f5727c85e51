#pragma once

#include <cstddef>
#include <string>

#include "client/cli/text.h"
#include "membroker/v1/admin.pb.h"

/// \file
/// What each command prints: pure functions of the daemon's answer. `width` 0: not limited.

namespace membroker::cli {

struct Look {
  std::size_t width = 0;
  bool colour = false;
  bool unicode = false;  // bars in block glyphs instead of ASCII
};

std::string render(const v1::admin::GetStatusResponse& status, const Look& look);
std::string render(const v1::admin::ListTenantsResponse& tenants, const Look& look);
std::string render(const v1::admin::ListSessionsResponse& sessions, const Look& look);
std::string render(const v1::admin::ListLeasesResponse& leases, const Look& look);
std::string render(const v1::admin::ResourceStatus& resource, const Look& look);

/// "membrokerd 0.1.0  pid 123  epoch 7  up 1h02m  serving".
std::string headline(const v1::admin::GetStatusResponse& status, const Look& look);

/// What a lease is asked for: "slack fair_share 1.5 s", or nothing.
std::string revocation(const v1::admin::Lease& lease);

/// Colours by meaning: zero is dim, anything else as given.
Style unless_zero(std::int64_t value, Style style);

/// The answer by the proto JSON mapping: field names as in admin.proto, fields with default values
/// included, 64-bit integers as strings (so every reader keeps them exact), one object, a line
/// break at its end. `compact`: on one line.
Result<std::string> to_json(const google::protobuf::Message& message, bool compact);

}  // namespace membroker::cli
