#include <algorithm>

#include "client/lease/lease_cache.h"
#include "shared/check.h"
#include "shared/format.h"

/// \file
/// What the lease does while the daemon cannot be reached: LeaseCacheOptions::when_away.

namespace membroker::lease {

// A refusal is not an absence: who was refused is not served by a rule for absences.
bool LeaseCache::is_away() const { return !attached_ && away_ && !final_; }

bool LeaseCache::frozen() const { return is_away() && options_.when_away == WhenAway::kFail; }

bool LeaseCache::alone() const {
  return is_away() && options_.when_away == WhenAway::kStandalone && !closed_;
}

bool LeaseCache::waits_for_daemon() const {
  return !is_away() || options_.when_away == WhenAway::kWait;
}

// What may be taken beyond the lease, as overdraft: the ledger learns of it by the next Hello, and
// what is freed repays it first.
Bytes LeaseCache::room_beyond() const {
  return alone() ? std::max<Bytes>(0, options_.standalone - state_.cap()) : 0;
}

// n is within room().
void LeaseCache::claim(Bytes n) {
  const Bytes missing = state_.overdraw(n);
  MB_CHECK(missing == 0 || alone());
  counters_.overdrawn_total += missing;
  counters_.peak_held = std::max(counters_.peak_held, state_.totals().held());
  counters_.peak_reserved = std::max(counters_.peak_reserved, state_.reserved());
}

LeaseRefusal LeaseCache::away_refusal(Bytes asked) const {
  std::string rule = "opened to grow only within its lease";
  if (options_.when_away == WhenAway::kFail) rule = "opened to grow no further";
  if (options_.when_away == WhenAway::kStandalone) {
    rule = "opened to hold at most " + format_bytes(options_.standalone);
  }
  LeaseRefusal refusal;
  refusal.code = ErrorCode::kUnavailable;
  refusal.reason = strf(
      "%s more were asked for while membrokerd is away, and the client was %s then (%s held, %s "
      "free in it): %s",
      format_bytes(asked).c_str(), rule.c_str(), format_bytes(state_.totals().held()).c_str(),
      format_bytes(state_.free()).c_str(), away_->message().c_str());
  return refusal;
}

}  // namespace membroker::lease
