#pragma once

#include <compare>
#include <cstdint>

/// \file
/// Time as the pure layers know it: milliseconds of a clock that never goes back, handed in by the
/// caller. Only `monotonic_now()` reads a clock; the pure layers never call it.

namespace membroker {

using Millis = std::int64_t;

struct Instant {
  Millis ms = 0;

  friend constexpr auto operator<=>(Instant, Instant) = default;
  friend constexpr Instant operator+(Instant at, Millis by) { return {at.ms + by}; }
  friend constexpr Instant operator-(Instant at, Millis by) { return {at.ms - by}; }
  friend constexpr Millis operator-(Instant a, Instant b) { return a.ms - b.ms; }

  /// Later than every real instant: "no deadline".
  static constexpr Instant never() { return {INT64_MAX / 4}; }
};

/// CLOCK_MONOTONIC in milliseconds. Thread-safe.
Instant monotonic_now() noexcept;

}  // namespace membroker
