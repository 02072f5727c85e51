#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <string>

#include "tests/sim/example_script.h"
#include "tests/sim/lender.h"
#include "tests/sim/random_runs.h"
#include "tests/sim/workload_runs.h"

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

using membroker::sim::kLenders;

struct CommandLine {
  std::string examples;
  bool steady = false;
  std::uint64_t seeds = 0;
  membroker::sim::WorldOptions world;
  membroker::sim::WorkloadRun workload;
};

void add_options(CLI::App& app, CommandLine& line) {
  const char* const kWorkloads = "A workload";
  auto* file = app.add_option("-w,--workload", line.workload.file,
                              "Run the jobs of a file (tests/sim/README.md) and print what came");
  file->group(kWorkloads);
  const std::vector<std::string> names(kLenders.begin(), kLenders.end());
  app.add_option("-p,--policy", line.workload.policy, "Who lends; also of a random world")
      ->check(CLI::IsMember(names))
      ->capture_default_str()
      ->group(kWorkloads);
  const auto of_workload = [&](CLI::Option* option) { option->needs(file)->group(kWorkloads); };
  of_workload(app.add_option("--runs", line.workload.runs, "So many seeds, from --seed on")
                  ->check(CLI::Range(1, 10'000)));
  of_workload(app.add_option("--growth", line.workload.growth,
                             "Chunks that a job asks for at a time, instead of the file's")
                  ->check(CLI::Range(1, 1'024)));
  of_workload(app.add_option("-o,--output", line.workload.output, "table or json")
                  ->check(CLI::IsMember({"table", "json"})));
  of_workload(app.add_option("--svg", line.workload.svg,
                             "Draw what each tenant held over time into this file"));
  of_workload(app.add_flag("--check", line.workload.checked,
                           "Look at every invariant after every event (fair, greedy)"));

  app.add_option("--examples", line.examples, "Run a file of examples; print those that differ");
  app.add_option("--seed", line.world.seed, "Of the random numbers")->capture_default_str();
  const char* const kRandom = "A random world of tenants and clients of all manners (default)";
  app.add_option("--events", line.world.events, "How many to run")
      ->capture_default_str()
      ->group(kRandom);
  app.add_option("--clients", line.world.clients, "How many at a time")
      ->capture_default_str()
      ->check(CLI::Range(1, 100'000))
      ->group(kRandom);
  app.add_flag("--honest", line.world.only_honest, "No client misbehaves, nothing is reconfigured")
      ->group(kRandom);
  app.add_option("--seeds", line.seeds, "So many short worlds of --events each, from --seed on")
      ->group(kRandom);
  app.add_flag("--steady", line.steady,
               "Honest clients with constant demand, judged by fair shares")
      ->group(kRandom);
  app.footer("Exit codes: 0 ok, 1 something is wrong with what was run, 2 usage or a wrong file.");
}

int run(CommandLine& line) {
  if (!line.examples.empty()) return run_example_file(line.examples);
  if (!line.workload.file.empty()) {
    line.workload.seed = line.world.seed;
    return membroker::sim::run_workload(line.workload);
  }
  if (line.workload.policy == "greedy") {
    line.world.policy = membroker::arbiter::PolicyKind::kGreedy;
  } else if (line.workload.policy != "fair") {
    std::fprintf(stderr, "membroker-sim: --policy %s needs --workload FILE\n",
                 line.workload.policy.c_str());
    return 2;
  }
  if (line.steady) return membroker::sim::run_steady_world(line.world.seed, line.world.clients);
  if (line.seeds > 0) {
    return membroker::sim::run_sweep(line.world.seed, line.seeds, line.world.events);
  }
  return membroker::sim::run_random_world(line.world);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Runs the arbiter in virtual time", "membroker-sim");
  CommandLine line;
  add_options(app, line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return run(line);
}
