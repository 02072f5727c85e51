#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "client/cli/views.h"
#include "membroker/v1/admin.pb.h"

/// \file
/// What `membrokerctl top` shows: pure functions of a sample and the one before it.

namespace membroker::cli {

struct Sample {
  v1::admin::GetStatusResponse status;
  v1::admin::ListTenantsResponse tenants;
  v1::admin::ListLeasesResponse leases;
  std::string clock;         // wall time for people, "12:00:01"
  std::int64_t time_ms = 0;  // wall time, milliseconds since 1970
};

/// The whole screen: headline, a bar per resource, a bar per tenant against its guarantee and
/// limit, then the largest leases as far as `height` lines go. No line is wider than look.width,
/// and there are at most `height` lines. `note` is a last line, such as an error.
std::string render_frame(const Sample& now, const Sample* before, const Look& look,
                         std::size_t height, const std::string& note);

/// One line per resource, "key=value", sizes in human units, for logs and pipes.
std::string render_line(const Sample& now);

/// One JSON object on one line: {"time_ms", "status", "tenants", "leases"}.
Result<std::string> render_json(const Sample& now);

}  // namespace membroker::cli
