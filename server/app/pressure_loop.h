#pragma once

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <optional>

#include "server/broker/pressure.h"
#include "server/rpc/broker_server.h"

namespace membroker::app {

/// Samples the pressure file at its interval and has the broker withhold what PressureControl says,
/// of the resource "ram". A file that cannot be read ends it with one warning, and everything is
/// lent again.
///
/// Thread: the io_context's.
class PressureLoop {
 public:
  /// Off until configured. Both outlive it.
  PressureLoop(asio::io_context& io, rpc::BrokerServer& broker) : timer_(io), broker_(broker) {}

  /// Starts, changes or ends it; a file that could not be read is tried again.
  void configure(const broker::PressureConfig& config);

 private:
  void wait();
  void sample();
  void stop();
  void withhold(Bytes bytes);

  asio::steady_timer timer_;
  rpc::BrokerServer& broker_;
  broker::PressureConfig config_;
  std::optional<broker::PressureControl> control_;  // while it runs
  Bytes withheld_ = 0;                              // as the broker was last told
};

}  // namespace membroker::app
