#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "server/arbiter/events.h"
#include "shared/bytes.h"
#include "shared/time.h"

/// \file
/// What the broker is run with: the compiled and validated form of the configuration file. The
/// broker trusts it; server/app/config.h makes it.

namespace membroker::broker {

struct ResourceConfig {
  std::string name;  // "ram"
  Bytes capacity = 0;
  Bytes floor_max = 16 * kMiB;
  arbiter::PolicyKind policy = arbiter::PolicyKind::kFair;
};

struct TenantConfig {
  std::string path;
  std::map<std::string, arbiter::TenantPolicy> policies;  // by resource; absent: defaults
  std::vector<uid_t> uids;  // who may attach; with gids also empty: everybody
  std::vector<gid_t> gids;
};

struct BrokerTimes {
  Millis heartbeat_interval = 500;
  Millis session_ttl = 5'000;
  Millis suspect_grace = 60'000;   // then quarantined
  Millis recover_window = 10'000;  // no grants after the loss of the ledger
  Millis shutdown_grace = 2'000;
};

/// Limits of the shell; those of the core are in arbiter::ArbiterOptions.
struct BrokerLimits {
  std::uint32_t sessions_max = 4'096;
  std::uint32_t sessions_per_uid_max = 1'024;
  std::uint32_t frame_messages_max = 64;
  Bytes frame_bytes_max = 256 * kKiB;
  std::uint32_t labels_max = 16;
  std::uint32_t text_bytes_max = 128;  // names, label keys and values
};

/// Events that watchers can still be told.
inline constexpr std::size_t kEventsKeptMax = 1'024;

struct BrokerConfig {
  std::vector<ResourceConfig> resources;  // at least "ram"
  std::vector<TenantConfig> tenants;      // parents before children
  BrokerTimes times;
  BrokerLimits limits;
};

}  // namespace membroker::broker
