#include "tests/sim/random_runs.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>

#include "shared/bytes.h"
#include "tests/sim/effect_text.h"
#include "tests/sim/steady_world.h"

namespace membroker::sim {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point started) {
  return std::chrono::duration<double>(Clock::now() - started).count();
}

void row(const char* name, std::uint64_t value) {
  std::printf("%-24s %12llu\n", name, static_cast<unsigned long long>(value));
}

void print_tally(const Tally& tally, const WorldOptions& options) {
  std::uint64_t denials = 0;
  for (const auto& [reason, count] : tally.denials) denials += count;
  row("events", tally.events);
  row("virtual seconds", static_cast<std::uint64_t>(tally.elapsed / 1000));
  row("grants", tally.grants);
  row("  partial", tally.partial_grants);
  row("denials", denials);
  for (const auto& [reason, count] : tally.denials) {
    row((std::string("  ") + reason_name(reason)).c_str(), count);
  }
  row("revocations", tally.revocations);
  row("  top-ups", tally.top_ups);
  row("  withdrawn", tally.withdrawals);
  row("  overdue", tally.overdue);
  row("  judged", tally.fairness_checks);
  row("answers foreseen", tally.predicted);
  row("grants, others waiting", tally.chosen_of_several);
  row("debts covered", tally.covered);
  row("debts over their cap", tally.alarms);
  row("events rejected", tally.rejected);
  std::printf("%-24s %12s\n", "peak held", format_bytes(tally.peak_held).c_str());
  const double share = tally.held_integral /
                       static_cast<double>(std::max<Millis>(1, tally.elapsed)) /
                       static_cast<double>(options.capacity);
  std::printf("%-24s %11.1f%%\n", "utilisation", 100 * share);
}

}  // namespace

WorldOptions world_of_seed(std::uint64_t seed, std::uint64_t events) {
  WorldOptions options;
  options.seed = seed;
  options.events = events;
  options.clients = 2 + static_cast<int>(seed % 10) * 8;
  options.capacity = seed % 3 == 0 ? 40 * kMiB : kGiB;
  options.drains = seed % 16 == 5;
  if (seed % 8 == 7) options.policy = arbiter::PolicyKind::kGreedy;
  return options;
}

int run_random_world(const WorldOptions& options) {
  World world(options);
  const auto started = Clock::now();
  const std::string wrong = world.run();
  const double took = seconds_since(started);
  const Tally& tally = world.tally();
  row("seed", options.seed);
  row("clients", static_cast<std::uint64_t>(options.clients));
  print_tally(tally, options);
  std::printf("%-24s %12.0f\n", "events/s, checked", static_cast<double>(tally.events) / took);
  std::printf("%-24s %16llx\n", "hash of effects",
              static_cast<unsigned long long>(tally.effects_hash));
  if (wrong.empty()) return 0;
  std::printf("\nFAILED %s\n", wrong.c_str());
  return 1;
}

int run_sweep(std::uint64_t first, std::uint64_t count, std::uint64_t events) {
  const auto started = Clock::now();
  std::uint64_t applied = 0;
  std::uint64_t failed = 0;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    World world(world_of_seed(seed, events));
    const std::string wrong = world.run();
    applied += world.tally().events;
    if (wrong.empty()) continue;
    ++failed;
    std::printf("FAILED %s\n  again: membroker-sim --seeds 1 --seed %llu --events %llu\n",
                wrong.c_str(), static_cast<unsigned long long>(seed),
                static_cast<unsigned long long>(events));
  }
  std::printf("%llu seeds from %llu, %llu events, %llu failed, %.1f s\n",
              static_cast<unsigned long long>(count), static_cast<unsigned long long>(first),
              static_cast<unsigned long long>(applied), static_cast<unsigned long long>(failed),
              seconds_since(started));
  return failed == 0 ? 0 : 1;
}

int run_steady_world(std::uint64_t seed, int clients) {
  const auto result = run_steady({.seed = seed, .clients = clients});
  std::printf("seed %llu: held %s of a demand of %s, revocations %llu, overdue %llu  %s\n",
              static_cast<unsigned long long>(seed), format_bytes(result.held).c_str(),
              format_bytes(result.demand).c_str(),
              static_cast<unsigned long long>(result.revocations),
              static_cast<unsigned long long>(result.overdue), result.wrong.c_str());
  return result.wrong.empty() ? 0 : 1;
}

}  // namespace membroker::sim
