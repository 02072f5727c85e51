#pragma once

#include <cstdint>

#include "tests/sim/world.h"

/// \file
/// The random worlds as membroker-sim runs them: prints what happened; 0, or 1 if something is
/// wrong.

namespace membroker::sim {

/// The world of one seed of a sweep: every tenth seed has the same size, some have little capacity,
/// some the policy `greedy`.
WorldOptions world_of_seed(std::uint64_t seed, std::uint64_t events);

int run_random_world(const WorldOptions& options);
/// `count` short worlds, from the seed `first` on.
int run_sweep(std::uint64_t first, std::uint64_t count, std::uint64_t events);
int run_steady_world(std::uint64_t seed, int clients);

}  // namespace membroker::sim
