#pragma once

#include <string>

#include "membroker/error.h"
#include "shared/fd.h"

namespace membroker::transport {

/// A non-blocking, close-on-exec stream connected to a Unix socket. Never waits. Errors: kInvalid
/// (the path does not fit a socket address), kPermissionDenied, kUnavailable (nobody listens there,
/// or too many wait); the text names the path and what to do.
Result<UniqueFd> connect_unix(const std::string& path);

}  // namespace membroker::transport
