#include "server/broker/usage_fold.h"

#include <algorithm>
#include <iterator>

namespace membroker::broker {
namespace {

std::int64_t sum(std::int64_t a, std::int64_t b) {
  return std::min(saturating_add(a, b), kUsageSumMax);
}

/// A counter that is lower than before has begun anew.
template <class Count>
Count growth(Count before, Count now) {
  return now >= before ? now - before : now;
}

bool is_all_zero(const UsageRow& row) {
  return row.peak_held == 0 && row.peak_waiting == 0 && row.spilled == 0 && row.revoked == 0;
}

}  // namespace

std::optional<UsageMinute> UsageFold::look(const Snapshot& snapshot, std::int64_t wall_ms) {
  const std::int64_t minute_ms = wall_ms - wall_ms % kUsageMinuteMs;
  std::optional<UsageMinute> before;
  if (minute_ms != minute_ms_) before = finish();
  minute_ms_ = minute_ms;
  ++looks_;
  ++looks_ever_;
  for (const TenantRow& tenant : snapshot.tenant_rows) {
    Tally& tally = tallies_[{tenant.view.path, tenant.resource}];
    UsageRow& row = tally.row;
    // One that was gone meanwhile has new counters.
    if (tally.last_look + 1 != looks_ever_) tally.seen = {};
    tally.last_look = looks_ever_;
    row.held_sum = sum(row.held_sum, tenant.view.held);
    row.peak_held = std::max(row.peak_held, tenant.view.held);
    row.peak_waiting = std::max(row.peak_waiting, tenant.view.waiting);
    row.spilled = sum(row.spilled, growth(tally.seen.spilled, tenant.counters.spilled));
    row.revoked += static_cast<std::int64_t>(growth(tally.seen.revoked, tenant.counters.revoked));
    tally.seen = tenant.counters;
  }
  return before;
}

std::optional<UsageMinute> UsageFold::finish() {
  if (looks_ == 0) return std::nullopt;
  UsageMinute minute{minute_ms_, looks_, {}};
  for (auto at = tallies_.begin(); at != tallies_.end();) {
    const auto& [tenant, resource] = at->first;
    UsageRow row = std::exchange(at->second.row, {});
    row.tenant = tenant;
    row.resource = resource;
    if (!is_all_zero(row)) minute.rows.push_back(std::move(row));
    at = at->second.last_look == looks_ever_ ? std::next(at) : tallies_.erase(at);
  }
  looks_ = 0;
  return minute;
}

}  // namespace membroker::broker
