#pragma once

#include "membroker/error.h"
#include "server/broker/peer.h"

namespace membroker::rpc {

/// Asks the kernel who is at the other end of an accepted Unix socket. kNotFound: the process has
/// ended. kPermissionDenied: it cannot be watched (another pid namespace) and `allow_unwatched` is
/// off. `use_peerpidfd` false takes the way of kernels before 6.5.
/// Thread-safe.
Result<broker::Peer> identify_peer(int fd, bool allow_unwatched, bool use_peerpidfd = true);

}  // namespace membroker::rpc
