#pragma once

#include <cstdint>
#include <string>

#include "client/cli/admin_client.h"
#include "client/cli/console.h"
#include "membroker/error.h"
#include "shared/time.h"

/// \file
/// `membrokerctl top`.

namespace membroker::cli {

struct TopOptions {
  Millis interval = 1000;
  std::int64_t count = 0;  // samples; 0: until it is stopped
  std::string resource;    // empty: all
  bool json = false;
};

/// Samples until `count`, SIGINT, SIGTERM or 'q'. On a terminal a live screen, else (or with json)
/// a line per sample. The first sample must succeed; a later one that fails is shown and tried
/// again with the next, and is the result if it was the last.
Status run_top(AdminClient& admin, const TopOptions& options, Console& console);

}  // namespace membroker::cli
