#pragma once

#include <iosfwd>
#include <string>
#include <vector>

/// \file
/// Runs examples of the arbiter written one to a line: `given | event -> effects | ...` (see
/// examples.txt). A line that does not start with a number is skipped.

namespace membroker::sim {

/// A step of an example that had other effects than its line says.
struct Difference {
  std::string example;  // "7. guarantee-back"
  std::string step;     // "@10 ans b1 256 done"
  std::string expected;
  std::string came;
};

struct ExampleResult {
  int examples = 0;
  std::vector<Difference> differences;
};

/// Runs every example of the text. A line that cannot be read is a difference, too.
ExampleResult run_examples(std::istream& text);

}  // namespace membroker::sim
