#pragma once

#include <string>
#include <vector>

#include "server/broker/broker_config.h"
#include "server/broker/state_store.h"

namespace membroker::app {

/// Puts tenants set at run time over those of the file. What does not fit it any more (a resource
/// that is gone, guarantees above the capacity) is left out; one sentence each is returned.
std::vector<std::string> merge_stored_tenants(const std::vector<broker::StoredTenant>& stored,
                                              broker::BrokerConfig& config);

}  // namespace membroker::app
