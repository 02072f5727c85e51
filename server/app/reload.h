#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "server/broker/broker.h"
#include "server/broker/broker_config.h"

namespace membroker::app {

/// What a reload did.
struct ReloadReport {
  std::size_t tenants_set = 0;
  std::size_t tenants_removed = 0;
  std::size_t capacities_set = 0;
  /// One sentence each: refused by the broker, or needs a restart.
  std::vector<std::string> problems;
};

/// Takes the broker from `before` to `after`, both validated: tenants and capacities. Only what
/// differs between the two is touched, so what admins changed at run time stays where the file did
/// not change.
/// Thread: the broker's.
ReloadReport reload(const broker::BrokerConfig& before, const broker::BrokerConfig& after,
                    broker::Broker& broker, Instant now);

}  // namespace membroker::app
