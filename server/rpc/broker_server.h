#pragma once

#include <memory>

#include "membroker/error.h"
#include "server/broker/broker.h"
#include "server/broker/broker_config.h"
#include "server/broker/inbox.h"
#include "server/broker/ledger.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/doors.h"
#include "shared/ids.h"

namespace membroker::rpc {

/// The broker and its admins, each behind a Unix socket of their own. One gRPC server for both: the
/// one thread that drains the completion queue is the broker's and the only one that polls, so
/// reading a frame, deciding, and writing the answers take no lock and no other thread. (gRPC polls
/// all descriptors of a process together: a second thread that polls would get the events of the
/// first one's streams and wake it for each.) Watches the client processes.
///
///     auto server = BrokerServer::start(config, epoch, std::move(ledger), std::move(options));
///     ...
///     (*server)->shutdown();
///
/// Thread-safe.
class BrokerServer {
 public:
  struct Options {
    DoorOptions clients;
    DoorOptions admins;
    AdminService::Options admin;
  };

  /// Charges what the ledger has on record, then opens the doors.
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
