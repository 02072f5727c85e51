#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "shared/bytes.h"
#include "shared/time.h"

/// \file
/// What came of a workload, summed over one or more runs of it.

namespace membroker::sim {

/// What each tenant held at an instant, for the chart.
struct HeldSample {
  Instant at;
  std::vector<Bytes> held;  // by tenant
};

struct Outcome {
  std::int64_t runs = 0;
  std::int64_t ended = 0;
  std::int64_t crashed = 0;
  std::int64_t unfinished = 0;    // when the run was over
  Millis makespan = 0;            // summed: when the last job of each run ended
  std::vector<Millis> job_times;  // from arrival to end, of honest jobs that ended
  std::vector<Millis> waits;      // from request to answer

  // Sums over samples.
  std::int64_t samples = 0;
  double held = 0;
  double used = 0;
  double wanted = 0;  // at most the capacity
  // Jain's index of held by fair share, while more is wanted than there is.
  std::int64_t contended = 0;
  double tenant_fairness = 0;
  double session_fairness = 0;

  std::int64_t revocations = 0;
  std::int64_t top_ups = 0;
  std::int64_t withdrawn = 0;
  std::int64_t late = 0;
  std::int64_t denied_self_spill = 0;
  std::int64_t denied_deadline = 0;
  std::int64_t denied_otherwise = 0;
  Bytes spilled = 0;
  Bytes peak_held = 0;
  Millis longest_starved = 0;       // wanted memory and had nothing above its floor
  std::vector<HeldSample> history;  // of the last run
  std::string wrong;                // the first broken invariant, with seed and time
};

/// One figure of it, as the table and the JSON name it.
struct Figure {
  std::string key;    // "wait_p99_ms"
  std::string label;  // "wait, p99"
  double value = 0;
  std::string text;  // "1.2 s"
};

/// In the order they are shown; figures that count are means over the runs.
std::vector<Figure> figures_of(const Outcome& outcome, Bytes capacity);

}  // namespace membroker::sim
