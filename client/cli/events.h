#pragma once

#include <cstdint>
#include <string>

#include "client/cli/admin_client.h"
#include "client/cli/console.h"
#include "membroker/error.h"

/// \file
/// `membrokerctl events`.

namespace membroker::cli {

struct EventsOptions {
  bool follow = false;      // what comes, until the daemon ends it; else what is kept
  std::uint64_t after = 0;  // only later ones; 0 with follow: only what comes
  bool json = false;
};

/// One event, a line: "2026-05-20 07:29:33.123  session_gone  session=7 tenant=a why=exited".
std::string render(const v1::admin::Event& event, bool colour);

/// Prints a line for each event as it comes, or a JSON object. What the daemon does not have any
/// more is told on standard error.
Status run_events(AdminClient& admin, const EventsOptions& options, Console& console);

}  // namespace membroker::cli
