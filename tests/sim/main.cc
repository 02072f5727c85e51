#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <string>

#include "tests/sim/example_script.h"

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
  CLI11_PARSE(app, argc, argv);
  if (!examples.empty()) return run_example_file(examples);
  std::fputs(app.help().c_str(), stderr);
  return 2;
}
