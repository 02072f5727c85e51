#pragma once

#include <cstdint>
#include <string>

#include "client/cli/admin_client.h"
#include "client/cli/console.h"
#include "client/cli/views.h"
#include "membroker/error.h"

/// \file
/// `membrokerctl usage`.

namespace membroker::cli {

struct UsageOptions {
  std::string tenant;    // it and those below; empty: all
  std::string resource;  // empty: all
  std::int64_t since_ms = 0;
  std::int64_t until_ms = 0;  // 0: to the last minute there is
  bool json = false;
};

std::string render(const v1::admin::GetUsageResponse& usage, const Look& look);

/// Prints a line for each minute, tenant and resource, or a JSON object. Asks for page after page,
/// and holds no more than one: each is a table of its own.
Status run_usage(AdminClient& admin, const UsageOptions& options, const Look& look,
                 Console& console);

}  // namespace membroker::cli
