#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

/// \file
/// What bench programs share: time, percentiles, and the lines of README.md.

namespace membroker::bench {

inline double now_ns() {
  return static_cast<double>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                 std::chrono::steady_clock::now().time_since_epoch())
                                 .count());
}

/// The smallest sample that is >= `share` of all; of none: 0.
inline double percentile(std::vector<double> samples, double share) {
  if (samples.empty()) return 0;
  std::sort(samples.begin(), samples.end());
  const auto index = static_cast<std::size_t>(share * static_cast<double>(samples.size()));
  return samples[std::min(index, samples.size() - 1)];
}

/// `side`: "ours" or "peer:NAME".
inline void print_figure(std::string_view id, const std::string& case_name, const char* unit,
                         const std::string& side, double value) {
  std::printf("%.*s\t%s\t%s\t%s\t%.6g\n", static_cast<int>(id.size()), id.data(), case_name.c_str(),
              unit, side.c_str(), value);
}

inline void print_skipped(std::string_view id, const std::string& reason) {
  std::printf("%.*s\tskipped\t%s\n", static_cast<int>(id.size()), id.data(), reason.c_str());
}

}  // namespace membroker::bench
