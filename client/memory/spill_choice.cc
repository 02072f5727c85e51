#include "client/memory/spill_choice.h"

namespace membroker::detail {
namespace {

// True: a is to be asked before b.
bool goes_before(const SpillCandidate& a, const SpillCandidate& b, std::int64_t bytes) {
  if (a.is_asker != b.is_asker) return b.is_asker;
  if (a.priority != b.priority) return a.priority > b.priority;
  const bool a_covers = a.used >= bytes;
  const bool b_covers = b.used >= bytes;
  if (a_covers != b_covers) return a_covers;
  if (a.used != b.used) return a_covers ? a.used < b.used : a.used > b.used;
  return a.id < b.id;
}

}  // namespace

const SpillCandidate* choose_spill(std::span<const SpillCandidate> candidates, std::int64_t bytes) {
  const SpillCandidate* best = nullptr;
  for (const SpillCandidate& candidate : candidates) {
    if (candidate.used <= 0) continue;
    if (best == nullptr || goes_before(candidate, *best, bytes)) best = &candidate;
  }
  return best;
}

}  // namespace membroker::detail
