#pragma once

#include <chrono>

/// \file
/// Until when a call may wait.

namespace membroker {

/// An instant of the steady clock. Made from an instant or from a duration that begins now:
/// `acquire(1, n, 200ms)`. A value; implicit on purpose.
struct Deadline {
  using Clock = std::chrono::steady_clock;

  Clock::time_point at;

  Deadline(Clock::time_point instant) : at(instant) {}  // NOLINT(google-explicit-constructor)
  /// Durations beyond a year mean "never".
  template <class Rep, class Period>
  Deadline(std::chrono::duration<Rep, Period> from_now)  // NOLINT(google-explicit-constructor)
      : at(from_now > std::chrono::hours(24 * 365)
               ? Clock::time_point::max()
               : Clock::now() + std::chrono::duration_cast<Clock::duration>(from_now)) {}

  static Deadline never() { return Deadline(Clock::time_point::max()); }
  /// Do not wait.
  static Deadline now() { return Deadline(Clock::now()); }
  bool passed() const { return at != Clock::time_point::max() && Clock::now() >= at; }
};

}  // namespace membroker
