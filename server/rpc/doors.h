#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "membroker/error.h"
#include "server/rpc/acceptor.h"
#include "shared/fd.h"

namespace membroker::rpc {

struct DoorOptions {
  AcceptorOptions acceptor;
  UniqueFd inherited = {};  // a listening socket from systemd
};

/// The two doors of one gRPC server, the clients' and the admins': each a Unix socket, and who has
/// come in through it. gRPC knows nothing of doors; it says of an RPC only which descriptor it came
/// over.
///
/// Thread-safe, once open() has returned.
class Doors {
 public:
  explicit Doors(grpc::Server& server) : server_(server) {}  // which outlives it

  /// RPCs may come before it has returned, and wait: no descriptor is handed over before.
  Status open(DoorOptions clients, DoorOptions admins);
  /// Lets nobody in any more; who is in stays.
  void close();

  /// Who is behind an RPC, if it came in through that door. Marks that an RPC has begun; the
  /// connection of one that came in through the other door is closed soon.
  std::optional<Connection> client(const std::string& grpc_peer);
  std::optional<broker::Peer> admin(const std::string& grpc_peer);
  /// Makes gRPC close all connections.
  void shutdown_all();
  /// An RPC is refused: its connection is closed soon.
  void refuse(const std::string& grpc_peer);
  /// Makes gRPC close a client's connection.
  void shutdown_client(std::uint64_t generation) { clients_->shutdown_connection(generation); }

 private:
  Acceptor::Hooks hooks(const char* refused);
  void hand_over(UniqueFd fd);

  grpc::Server& server_;
  std::mutex mutex_;  // guards open_; held over the hand-over, which must not be early or late
  bool open_ = false;
  std::unique_ptr<Acceptor> clients_;
  std::unique_ptr<Acceptor> admins_;
};

}  // namespace membroker::rpc
