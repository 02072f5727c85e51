#pragma once

#include <sys/types.h>

#include <cstdint>
#include <utility>
#include <vector>

/// \file
/// A client process as the kernel names it, never as the client does.

namespace membroker::broker {

/// What tells one process from another: its pid, and its start where the pid was used again.
using ProcessKey = std::pair<pid_t, std::uint64_t>;

struct Peer {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  std::uint64_t start_time = 0;  // field 22 of /proc/<pid>/stat, clock ticks since boot
  // As seen when it connected; not part of who it is.
  std::uint64_t image = 0;         // process_image(); 0: the daemon may not see it
  std::vector<gid_t> groups = {};  // its supplementary groups

  ProcessKey key() const { return {pid, start_time}; }
  friend bool operator==(const Peer& a, const Peer& b) {
    return a.key() == b.key() && a.uid == b.uid && a.gid == b.gid;
  }
};

/// Whether the process is of one of the groups, by its primary or a supplementary one.
inline bool in_any_group(const Peer& peer, const std::vector<gid_t>& gids) {
  for (const gid_t gid : gids) {
    if (gid == peer.gid) return true;
    for (const gid_t own : peer.groups) {
      if (gid == own) return true;
    }
  }
  return false;
}

}  // namespace membroker::broker
