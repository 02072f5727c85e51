#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <string>

#include "tests/sim/example_script.h"
#include "tests/sim/random_runs.h"

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
  std::uint64_t seeds = 0;
  app.add_option("--seeds", seeds, "So many short worlds of --events each, from --seed on");
  CLI11_PARSE(app, argc, argv);
  if (!examples.empty()) return run_example_file(examples);
  if (steady) return membroker::sim::run_steady_world(options.seed, options.clients);
  if (seeds > 0) return membroker::sim::run_sweep(options.seed, seeds, options.events);
  return membroker::sim::run_random_world(options);
}
