#pragma once

#include <memory>

#include "membroker/error.h"
#include "server/broker/broker.h"
#include "server/broker/broker_config.h"
#include "server/broker/inbox.h"
#include "server/broker/ledger.h"
#include "server/rpc/acceptor.h"
#include "shared/fd.h"
#include "shared/ids.h"

namespace membroker::rpc {

/// The broker behind its Unix socket: the one thread that drains the completion queue is the
/// broker's, so reading a frame, deciding, and writing the answers take no lock and no other
/// thread. Watches the client processes.
///
///     auto server = BrokerServer::start(config, epoch, std::move(ledger), {.acceptor = {...}});
///     ...
///     (*server)->shutdown();
///
/// Thread-safe.
class BrokerServer {
 public:
  struct Options {
    AcceptorOptions acceptor;
    UniqueFd inherited = {};  // a listening socket from systemd
  };

  /// Charges what the ledger has on record, then opens the door.
  static Result<std::unique_ptr<BrokerServer>> start(broker::BrokerConfig config, Epoch epoch,
                                                     broker::Ledger ledger, Options options);
  ~BrokerServer();  // shutdown()

  /// Runs the job on the broker's thread; false once shut down.
  bool post(broker::Inbox::Job job);
  /// At most 100 ms old, never null.
  std::shared_ptr<const broker::Snapshot> snapshot() const;
  /// Tells every client to keep its lease and to come back, ends the streams and the thread. Takes
  /// at most BrokerTimes::shutdown_grace and a little, also with clients that do not read. The
  /// ledger keeps what is held. Call from any thread but the broker's; once.
  void shutdown();

 private:
  class Impl;
  explicit BrokerServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace membroker::rpc
