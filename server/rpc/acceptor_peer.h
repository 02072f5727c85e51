#pragma once

#include "membroker/error.h"
#include "server/broker/peer.h"
#include "shared/fd.h"

namespace membroker::rpc {

struct IdentifiedPeer {
  broker::Peer peer;
  UniqueFd pidfd;  // empty: the process cannot be watched
};

/// Asks the kernel who is at the other end of an accepted Unix socket. kNotFound: the process has
/// ended. kPermissionDenied: it cannot be watched (another pid namespace) and `allow_unwatched` is
/// off. `use_peerpidfd` false takes the way of kernels before 6.5.
/// Thread-safe.
Result<IdentifiedPeer> identify_peer(int fd, bool allow_unwatched, bool use_peerpidfd = true);

}  // namespace membroker::rpc
