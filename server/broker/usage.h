#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "shared/bytes.h"

/// \file
/// What tenants use, minute by minute: plain values.

namespace membroker::broker {

inline constexpr std::int64_t kUsageMinuteMs = 60'000;
/// Sums stop here, so that a sum of two is no overflow.
inline constexpr std::int64_t kUsageSumMax = std::int64_t{1} << 61;

/// One tenant and resource in one minute; what tenants below did is included.
struct UsageRow {
  std::string tenant;
  std::string resource;
  std::int64_t held_sum = 0;  // of the bytes held at each look
  Bytes peak_held = 0;
  Bytes peak_waiting = 0;
  Bytes spilled = 0;
  std::int64_t revoked = 0;  // revocations opened

  friend bool operator==(const UsageRow&, const UsageRow&) = default;
};

struct UsageMinute {
  std::int64_t minute_ms = 0;  // wall time of its first instant
  std::int64_t looks = 0;
  std::vector<UsageRow> rows;  // by tenant, resource; none that is all zero
};

}  // namespace membroker::broker
