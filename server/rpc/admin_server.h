#pragma once

#include <sys/types.h>
#include <memory>
#include <string>
#include <vector>

#include "membroker/error.h"
#include "server/broker/state_store.h"
#include "server/rpc/acceptor.h"
#include "server/rpc/broker_server.h"
#include "shared/fd.h"

namespace membroker::rpc {

/// The Admin service on its own Unix socket, for peers of certain uids and gids. Reads come from
/// the broker's snapshot. Changes are applied by the broker, then written to the state store with
/// who made them, then answered; they are done also if the caller has gone away meanwhile.
///
/// Thread-safe.
class AdminServer {
 public:
  struct Options {
    AcceptorOptions acceptor;
    UniqueFd inherited = {};  // a listening socket from systemd
    std::vector<uid_t> uids;  // besides the daemon's own
    std::vector<gid_t> gids;
    std::string version;
    /// Keeps tenants and the audit; may be null: then changes last as long as the daemon.
    broker::StateStore* store = nullptr;
  };

  /// `broker` and the store outlive it.
  static Result<std::unique_ptr<AdminServer>> start(BrokerServer& broker, Options options);
  ~AdminServer();  // shutdown()

  /// Ends the service within about a second. Once.
  void shutdown();

 private:
  class Impl;
  explicit AdminServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace membroker::rpc
