#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "membroker/error.h"
#include "server/arbiter/events.h"
#include "tests/sim/rng.h"

/// \file
/// What a host does with its memory, as a file says it: tenants, and groups of jobs that arrive,
/// fill memory, compute and end. README.md in this folder explains the keys.

namespace membroker::sim {

/// A figure that is drawn anew each time it is needed.
struct Spread {
  std::int64_t least = 0;  // uniform from here
  std::int64_t most = 0;   // to here, both included; with `mean` the largest (0: none)
  std::int64_t mean = 0;   // above 0: exponential instead

  /// Uses integers only, so that every machine draws the same.
  std::int64_t draw(Rng& rng) const;
};

enum class Conduct { kHonest, kIgnore, kLie, kHalf, kStop, kCrash };

struct Phase {
  Spread demand;  // bytes to fill
  Spread lasts;   // ms of work on them
};

struct Group {
  std::string name;
  std::string tenant;
  std::int64_t count = 1;
  Millis start = 0;
  Spread every;  // ms between arrivals
  std::vector<Phase> phases;
  std::int64_t rounds = 1;
  Spread fill{400 * kMiB, 400 * kMiB, 0};   // bytes per second
  Spread spill{200 * kMiB, 200 * kMiB, 0};  // bytes per second, written and read
  Bytes floor = 0;
  std::int32_t priority = 0;
  Millis wait = 5'000;  // of its requests
  Conduct conduct = Conduct::kHonest;
  Spread after;        // ms until it stops or crashes
  Spread stopped_for;  // ms
};

struct WorkloadTenant {
  std::string path;
  arbiter::TenantPolicy policy;
};

struct Workload {
  std::string name;
  Bytes capacity = 0;
  Millis run_for = 600'000;
  std::int64_t growth = 4;  // chunks that a job asks for at a time
  std::vector<WorkloadTenant> tenants;
  std::vector<Group> groups;
};

/// "a/b" of "a/b/c"; empty of "a".
std::string parent_path(const std::string& path);
/// What is guaranteed at a path, itself and below; the sum of all at the empty one.
Bytes guaranteed(const std::vector<WorkloadTenant>& tenants, const std::string& path);

/// kInvalid: one line per error, "file:line:column: what is wrong and what to write".
Result<Workload> parse_workload(std::string_view text, const std::string& file_name);
Result<Workload> load_workload(const std::string& path);

}  // namespace membroker::sim
