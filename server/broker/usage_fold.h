#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "server/broker/snapshot.h"
#include "server/broker/usage.h"

namespace membroker::broker {

/// Makes minutes of looks at the broker's state, one a second. Pure.
///
///     if (auto minute = fold.look(snapshot, wall_ms)) keep(*minute);   // every second
///     if (auto minute = fold.finish()) keep(*minute);                  // at the end
///
/// Thread: one.
class UsageFold {
 public:
  /// The minute before, if this look is the first of another one. A clock that is set back is no
  /// error: a minute may come twice, and then its parts add up.
  std::optional<UsageMinute> look(const Snapshot& snapshot, std::int64_t wall_ms);
  /// What there is of the minute that runs.
  std::optional<UsageMinute> finish();

 private:
  struct Tally {
    UsageRow row;
    TenantCounters seen;          // the tenant's counters at its last look
    std::uint64_t last_look = 0;  // number of that look
  };

  std::int64_t minute_ms_ = 0;
  std::int64_t looks_ = 0;  // in this minute
  std::uint64_t looks_ever_ = 0;
  std::map<std::pair<std::string, std::string>, Tally> tallies_;  // by tenant, resource
};

}  // namespace membroker::broker
