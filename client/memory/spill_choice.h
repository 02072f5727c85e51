#pragma once

#include <cstdint>
#include <span>

/// \file
/// Who spills next, as a pure function.

namespace membroker::detail {

struct SpillCandidate {
  std::uint64_t id = 0;  // registration order: of equal ones the smaller goes first
  std::int64_t used = 0;
  std::int32_t priority = 0;
  bool is_asker = false;
};

/// The candidate to ask for `bytes`; null if none uses anything. The asker only if alone; else the
/// highest priority; of these the smallest that covers the need alone, or else the largest.
const SpillCandidate* choose_spill(std::span<const SpillCandidate> candidates, std::int64_t bytes);

}  // namespace membroker::detail
