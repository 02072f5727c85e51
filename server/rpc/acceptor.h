#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "membroker/error.h"
#include "server/broker/peer.h"
#include "shared/fd.h"

/// \file
/// The front door of a Unix socket: accepts, asks the kernel who is there, and hands the
/// descriptor on to gRPC, which names the connection "fd:<N>" from then on.
///
/// Every accepted descriptor is moved to a rotating number, so that a late RPC cannot be taken for
/// a newer peer, and recorded with its identity. The acceptor keeps a dup and polls it for RDHUP;
/// shutdown() of the dup makes gRPC close. A connection that starts no RPC within 5 s is shut down,
/// and so is one that starts too many or whose RPC is refused: a peer that does not read holds up
/// whoever answers it.
///
/// Thread-safe. Call-backs run on the acceptor's thread and must not block.

namespace membroker::rpc {

struct AcceptorOptions {
  std::string path = {};  // of the socket; made with `mode`, replaced only if nobody listens
  unsigned mode = 0660;
  std::uint32_t connections_max = 4'096;
  std::uint32_t connections_per_uid_max = 1'024;
  std::int64_t first_rpc_ms = 5'000;    // also the time to read why an RPC is refused
  std::uint64_t rpcs_max = UINT64_MAX;  // of a connection, ever
  bool allow_unwatched = false;  // peers whose process cannot be seen (another pid namespace)
  bool use_peerpidfd = true;     // false: as on kernels before 6.5
};

/// A live connection, as an RPC finds it from ServerContext::peer().
struct Connection {
  std::uint64_t generation = 0;  // unique among those of its acceptor, ever
  int fd = -1;                   // gRPC's number; not owned
  broker::Peer peer;
};

class Acceptor {
 public:
  /// `hand_over` gets the descriptor, owned.
  struct Hooks {
    std::function<void(UniqueFd fd)> hand_over;
    /// Optional: the end of each handed-over connection, told exactly once.
    std::function<void(const Connection&)> on_closed = {};
    /// Optional: a connection was closed at the door, with the reason. The peer is all zero where
    /// it could not be identified.
    std::function<void(const broker::Peer&, const Error&)> on_refused = {};
  };

  /// Binds (or takes the descriptor inherited from systemd, if given) and starts to accept.
  static Result<std::unique_ptr<Acceptor>> start(AcceptorOptions options, Hooks hooks,
                                                 UniqueFd inherited = {});
  /// Stops accepting, closes what it owns, removes its socket; runs no hook from then on. What was
  /// handed over stays open: shut the gRPC server down for that.
  virtual ~Acceptor() = default;

  /// The connection behind "fd:<N>"; marks that an RPC has begun. Nothing for an unknown or closed
  /// number, and for a connection that has had too many: refuse the RPC.
  virtual std::optional<Connection> begin_rpc(const std::string& grpc_peer) = 0;
  /// An RPC of that connection is refused: makes gRPC close it, after `first_rpc_ms` if it is the
  /// first one and few others linger, else at once. An unknown connection: nothing.
  virtual void refuse_rpc(const std::string& grpc_peer) = 0;
  /// Whether there is a connection behind "fd:<N>".
  virtual bool knows(const std::string& grpc_peer) const = 0;
  /// Makes gRPC close the connection.
  virtual void shutdown_connection(std::uint64_t generation) = 0;
  virtual void shutdown_all() = 0;
  /// No new connections; the live ones stay.
  virtual void stop_accepting() = 0;
};

}  // namespace membroker::rpc
