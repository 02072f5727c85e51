#pragma once

#include <map>
#include <string>
#include <vector>

#include "server/arbiter/events.h"
#include "shared/bytes.h"

namespace membroker::broker {

/// What the tenants of one resource are guaranteed: each its own guarantee or the sum of those
/// below it, whichever is more.
struct Guarantees {
  struct AboveLimit {
    std::string path;
    std::string complaint;  // says the figures and what to do
  };
  Bytes sum = 0;                        // of the tenants at the top
  std::vector<AboveLimit> above_limit;  // children first
};

/// `policies` are by path; parents may be missing. Thread-safe.
Guarantees add_up(const std::map<std::string, arbiter::TenantPolicy>& policies);

}  // namespace membroker::broker
