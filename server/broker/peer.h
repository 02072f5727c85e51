#pragma once

#include <sys/types.h>

#include <cstdint>

/// \file
/// A client process as the kernel names it, never as the client does.

namespace membroker::broker {

struct Peer {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  std::uint64_t start_time = 0;  // field 22 of /proc/<pid>/stat, clock ticks since boot

  friend bool operator==(const Peer&, const Peer&) = default;
};

}  // namespace membroker::broker
