#pragma once

#include <sys/types.h>

#include "membroker/error.h"
#include "shared/fd.h"

namespace membroker::broker {

/// A descriptor of the process, closed on exec; kNotFound if there is none. Thread-safe.
Result<UniqueFd> open_pidfd(pid_t pid);

}  // namespace membroker::broker
