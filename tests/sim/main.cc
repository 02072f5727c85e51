#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>

#include "shared/bytes.h"
#include "tests/sim/effect_text.h"
#include "tests/sim/example_script.h"
#include "tests/sim/steady_world.h"
#include "tests/sim/world.h"

/// \file
/// membroker-sim: the arbiter in virtual time, from the command line.

namespace {

int run_example_file(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    std::fprintf(stderr, "membroker-sim: cannot read \"%s\"\n", path.c_str());
    return 1;
  }
  const auto result = membroker::sim::run_examples(file);
  for (const auto& difference : result.differences) {
    std::printf("%s: %s\n  expected: %s\n  came:     %s\n", difference.example.c_str(),
                difference.step.c_str(), difference.expected.c_str(), difference.came.c_str());
  }
  std::printf("%d examples, %zu differences\n", result.examples, result.differences.size());
  return result.differences.empty() ? 0 : 1;
}

int run_world(const membroker::sim::WorldOptions& options) {
  membroker::sim::World world(options);
  const auto started = std::chrono::steady_clock::now();
  const std::string wrong = world.run();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
  const membroker::sim::Tally& tally = world.tally();
  std::uint64_t denials = 0;
  for (const auto& [reason, count] : tally.denials) denials += count;
  const auto row = [](const char* name, std::uint64_t value) {
    std::printf("%-24s %12llu\n", name, static_cast<unsigned long long>(value));
  };
  row("seed", options.seed);
  row("clients", static_cast<std::uint64_t>(options.clients));
  row("events", tally.events);
  row("virtual seconds", static_cast<std::uint64_t>(tally.elapsed / 1000));
  row("grants", tally.grants);
  row("  partial", tally.partial_grants);
  row("denials", denials);
  for (const auto& [reason, count] : tally.denials) {
    row((std::string("  ") + membroker::sim::reason_name(reason)).c_str(), count);
  }
  row("revocations", tally.revocations);
  row("  top-ups", tally.top_ups);
  row("  withdrawn", tally.withdrawals);
  row("  overdue", tally.overdue);
  row("  checked for fairness", tally.fairness_checks);
  row("debts covered", tally.covered);
  row("events rejected", tally.rejected);
  std::printf("%-24s %12s\n", "peak held", membroker::format_bytes(tally.peak_held).c_str());
  const double share = tally.held_integral /
                       static_cast<double>(std::max<membroker::Millis>(1, tally.elapsed)) /
                       static_cast<double>(options.capacity);
  std::printf("%-24s %11.1f%%\n", "utilisation", 100 * share);
  std::printf("%-24s %12.0f\n", "events/s, checked",
              static_cast<double>(tally.events) / took.count());
  std::printf("%-24s %16llx\n", "hash of effects",
              static_cast<unsigned long long>(tally.effects_hash));
  if (wrong.empty()) return 0;
  std::printf("\nFAILED %s\n", wrong.c_str());
  return 1;
}

int run_steady_world(std::uint64_t seed, int clients) {
  const auto result = membroker::sim::run_steady({.seed = seed, .clients = clients});
  std::printf("seed %llu: held %s of a demand of %s, revocations %llu, overdue %llu  %s\n",
              static_cast<unsigned long long>(seed), membroker::format_bytes(result.held).c_str(),
              membroker::format_bytes(result.demand).c_str(),
              static_cast<unsigned long long>(result.revocations),
              static_cast<unsigned long long>(result.overdue), result.wrong.c_str());
  return result.wrong.empty() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Runs the arbiter in virtual time");
  std::string examples;
  app.add_option("--examples", examples, "Run a file of examples and print those that differ");
  membroker::sim::WorldOptions options;
  app.add_option("--seed", options.seed, "Of the random world")->capture_default_str();
  app.add_option("--events", options.events, "How many to run")->capture_default_str();
  app.add_option("--clients", options.clients, "How many at a time")
      ->capture_default_str()
      ->check(CLI::Range(1, 100'000));
  app.add_flag("--honest", options.only_honest, "No client misbehaves, nothing is reconfigured");
  bool steady = false;
  app.add_flag("--steady", steady, "Honest clients with constant demand, judged by fair shares");
  CLI11_PARSE(app, argc, argv);
  if (!examples.empty()) return run_example_file(examples);
  if (steady) return run_steady_world(options.seed, options.clients);
  return run_world(options);
}
