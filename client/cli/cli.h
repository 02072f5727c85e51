#pragma once

#include <string>
#include <vector>

#include "client/cli/console.h"

/// \file
/// membrokerctl as a function: arguments in, text and an exit code out.

namespace membroker::cli {

/// Documented in `membrokerctl --help` and README.md.
enum ExitCode : int {
  kExitOk = 0,
  kExitError = 1,
  kExitUsage = 2,
  kExitUnreachable = 3,
  kExitDenied = 4,
};

/// `arguments` without the program's name.
int run(const std::vector<std::string>& arguments, Console& console);

/// Where the admin socket is: beside the session socket that MEMBROKER_SOCKET names, else
/// /run/membroker/admin.sock.
std::string default_socket();

}  // namespace membroker::cli
