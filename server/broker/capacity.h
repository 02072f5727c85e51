#pragma once

#include <optional>
#include <string>

#include "membroker/error.h"
#include "shared/bytes.h"

/// \file
/// How much memory this process could have: the machine's, or what its cgroup leaves of it.
///
/// Thread-safe.

namespace membroker::broker {

struct MemoryCapacity {
  Bytes machine = 0;
  std::optional<Bytes> cgroup;  // the tightest limit on the way up; nothing if there is none

  Bytes usable() const { return cgroup && *cgroup < machine ? *cgroup : machine; }
};

/// Reads /proc/meminfo and the limits of the process's memory cgroup and those above it, of cgroup
/// v1 or v2. `root` is put before every path: for tests.
Result<MemoryCapacity> read_memory_capacity(const std::string& root = "");

}  // namespace membroker::broker
