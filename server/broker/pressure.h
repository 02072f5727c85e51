#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "membroker/error.h"
#include "shared/bytes.h"
#include "shared/time.h"

/// \file
/// Lends less while the machine stalls for memory, as the kernel's pressure stall information (PSI)
/// tells it: programs outside the broker may need more than was left for them.

namespace membroker::broker {

struct PressureConfig {
  bool enabled = false;
  /// The machine's, or the memory.pressure of a cgroup.
  std::string file = "/proc/pressure/memory";
  std::int32_t high_percent = 20;  // of the time some task stalled: above it lend less
  std::int32_t low_percent = 5;    // below it, for as long as `hold`, lend more again
  Bytes step = 0;                  // less by each interval
  Bytes grow = 0;                  // more by each interval
  Bytes floor = 0;                 // at least this much is lent, whatever the pressure
  Millis interval = 1'000;
  Millis hold = 30'000;
};

/// Microseconds in which some task stalled for memory, ever: the total of the line "some".
Result<std::int64_t> parse_stalled(std::string_view text);
/// The same of a file, named in the error. Thread-safe.
Result<std::int64_t> read_stalled(const std::string& file);

struct PressureSample {
  Instant at;
  std::int64_t stalled_us = 0;
  Bytes capacity = 0;    // as configured
  Bytes held = 0;        // of it
  Bytes guaranteed = 0;  // of it, to tenants
};

/// How much of the capacity is withheld: a function of its samples, taken every interval.
///
/// Above `high_percent` what is free is withheld at once, and of what is lent a step more by each
/// interval. Between the two nothing moves. After `hold` below `low_percent` it is given back by
/// smaller steps. Neither `floor` nor what is guaranteed is ever withheld.
///
/// Thread: none of its own; one caller at a time.
class PressureControl {
 public:
  explicit PressureControl(PressureConfig config) : config_(std::move(config)) {}

  /// From the next sample on. Of another file that one is the first.
  void configure(PressureConfig config);

  /// Bytes of the capacity that are not to be lent from now on.
  Bytes take(const PressureSample& sample);

  /// Of the time between the last two samples.
  std::int32_t stalled_percent() const { return stalled_percent_; }

 private:
  struct Reading {
    Instant at;
    std::int64_t stalled_us = 0;
  };
  void shrink(const PressureSample& sample);
  void grow(Instant at);

  PressureConfig config_;
  std::optional<Reading> last_;
  std::optional<Instant> calm_since_;
  std::int32_t stalled_percent_ = 0;
  Bytes withheld_ = 0;
};

}  // namespace membroker::broker
