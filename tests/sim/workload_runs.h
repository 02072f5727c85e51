#pragma once

#include <cstdint>
#include <string>

/// \file
/// What `membroker-sim --workload` does.

namespace membroker::sim {

struct WorkloadRun {
  std::string file;
  std::string policy = "fair";
  std::uint64_t seed = 1;
  std::uint64_t runs = 1;   // seeds from `seed` on
  std::int64_t growth = 0;  // 0: the workload's
  std::string output = "table";
  std::string svg;
  bool checked = false;
};

/// 0; 1 if an invariant was broken or a file cannot be written; 2 if the workload is wrong.
int run_workload(const WorkloadRun& run);

}  // namespace membroker::sim
