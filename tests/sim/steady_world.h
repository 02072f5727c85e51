#pragma once

#include <cstdint>
#include <map>
#include <queue>
#include <string>
#include <vector>

#include "server/arbiter/arbiter.h"
#include "tests/sim/rng.h"

/// \file
/// Honest clients with constant demand in a random tree: each asks for what it lacks and gives back
/// what it is asked for, in the time it takes. Where it settles must be the fair share.

namespace membroker::sim {

struct SteadyOptions {
  std::uint64_t seed = 1;
  int clients = 24;
  Bytes capacity = kGiB;
  Millis run_for = 120'000;
};

struct SteadyResult {
  std::string wrong;  // empty if every lease has its fair share, less two chunks
  std::uint64_t revocations = 0;
  std::uint64_t overdue = 0;
  Bytes held = 0;
  Bytes demand = 0;
};

SteadyResult run_steady(const SteadyOptions& options);

}  // namespace membroker::sim
