#pragma once

#include <algorithm>
#include <cstdint>

#include "shared/bytes.h"
#include "shared/time.h"

/// \file
/// The numbers of the specification and its arithmetic. Everything is exact: levels are compared by
/// cross-multiplication in 128 bits, divisions round down.

namespace membroker::arbiter {

using Wide = __int128;

// No figure of one event or one node exceeds this, so sums and products of a few never overflow.
inline constexpr Bytes kFigureMax = Bytes{1} << 60;
inline constexpr Bytes kCapacityMax = Bytes{1} << 56;
inline constexpr Bytes kUnlimited = Bytes{1} << 61;

inline constexpr std::int32_t kWeightMax = 10'000;
inline constexpr std::size_t kTenantDepthMax = 16;

inline constexpr Millis kSettlePeriod = 100;
inline constexpr Millis kRetryAfter = 1'000;
inline constexpr Millis kWaitMax = Millis{7} * 24 * 3600 * 1000;

inline constexpr std::int32_t kPassesPerHead = 16;
inline constexpr Millis kHeadStall = 250;
inline constexpr Bytes kSmallRequestDivisor = 1024;  // of the capacity
inline constexpr Bytes kSmallLaneDivisor = 128;      // of the capacity, in all past one head

inline constexpr Millis kSlackDeadline = 200;
inline constexpr Millis kSpillDeadlineMin = 2'000;
inline constexpr Millis kSpillDeadlineMax = 30'000;
inline constexpr Millis kRevocationMax = 60'000;
inline constexpr Millis kStrikeMin = 1'000;
inline constexpr Millis kStrikeMax = 60'000;
inline constexpr Millis kOverduePeriod = 30'000;
inline constexpr Millis kDeadlockAfter = 500;

inline constexpr Bytes kIdleTax = 3;            // an idle byte counts 1 + 3 times as a victim's
inline constexpr Bytes kSlackKeptDivisor = 16;  // of a lease's held: slack that is left alone
inline constexpr Bytes kSlackClaimDivisor = 8;  // of the chunk: less slack is not worth asking
inline constexpr Bytes kSliceDivisor = 64;      // of a request: what one step asks of one victim
inline constexpr Bytes kNeedDivisor = 8;        // of a debt or an excess, likewise
inline constexpr Bytes kDebtCapDivisor = 32;    // of a tenant's limit: more debt is an alarm
inline constexpr Bytes kFloorShareDivisor = 4;  // of a limit: what floors may take of it

/// The unit of hysteresis.
constexpr Bytes chunk_of(Bytes capacity) {
  return std::clamp(capacity / 64, Bytes{1} * kMiB, Bytes{8} * kMiB);
}

/// Where a node stands: below its guarantee (surplus < 0), or by how much above it per weight.
struct Level {
  Bytes surplus = 0;    // net - guarantee, may be negative
  Bytes guarantee = 0;  // divides a negative surplus
  std::int32_t weight = 1;

  constexpr bool below_guarantee() const { return surplus < 0; }
};

/// < 0, 0 or > 0 as a's level is lower than, the same as or higher than b's.
constexpr int compare(const Level& a, const Level& b) {
  const bool a_below = a.surplus < 0;
  const bool b_below = b.surplus < 0;
  if (a_below != b_below) return a_below ? -1 : 1;
  const Wide left = Wide{a.surplus} * (b_below ? Wide{b.guarantee} : Wide{b.weight});
  const Wide right = Wide{b.surplus} * (a_below ? Wide{a.guarantee} : Wide{a.weight});
  return left < right ? -1 : (left > right ? 1 : 0);
}

/// A node's average over its active children: sum of surplus / sum of weight.
struct Average {
  Bytes surplus = 0;
  std::int64_t weight = 0;
};

constexpr bool above(const Level& level, const Average& average) {
  if (level.below_guarantee()) return false;
  return Wide{level.surplus} * average.weight > Wide{average.surplus} * level.weight;
}

/// level <= average + chunk / weight
constexpr bool within(const Level& level, const Average& average, Bytes chunk) {
  if (level.below_guarantee()) return true;
  return (Wide{level.surplus} - chunk) * average.weight <= Wide{average.surplus} * level.weight;
}

/// One side of a move of bytes between two children of a node.
struct Side {
  Bytes surplus = 0;
  std::int32_t weight = 1;
};

/// What `victim` may lose to `asker` until their levels meet, and never below its guarantee.
/// `taxed` is the victim's surplus with its idle bytes counted again; may be negative.
constexpr Bytes fair_move(const Side& victim, Bytes taxed, const Side& asker) {
  const Wide over = Wide{taxed} * asker.weight - Wide{asker.surplus} * victim.weight;
  const Wide weights = Wide{victim.weight} + asker.weight;
  Wide move = over / weights;
  if (over < 0 && over % weights != 0) --move;
  return static_cast<Bytes>(std::min(Wide{victim.surplus}, move));
}

}  // namespace membroker::arbiter
