#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "tests/sim/example_script.h"

namespace membroker::sim {
namespace {

TEST(Examples, EveryExampleOfTheSpecificationHasItsEffects) {
  std::ifstream file(EXAMPLES_FILE);
  ASSERT_TRUE(file) << EXAMPLES_FILE;
  const ExampleResult result = run_examples(file);
  EXPECT_EQ(result.examples, 53);
  for (const Difference& difference : result.differences) {
    ADD_FAILURE() << difference.example << ": " << difference.step
                  << "\n  expected: " << difference.expected << "\n  came:     " << difference.came;
  }
}

TEST(Examples, AWrongLineIsADifference) {
  std::istringstream text(
      "1. wrong-bytes: - | acq 1 a1 8/8/0 -> granted 1 9 free\n"
      "2. right: - | acq 1 a1 8/8/0 -> granted 1 8 free\n"
      "not an example\n"
      "3. no-such-verb: - | frobnicate a1 -> granted 1 8 free\n"
      "4. effects-where-none-are-expected: - | acq 1 a1 8/8/0\n"
      "5. unreadable-given: x | tick\n"
      "6 no colon\n");
  const ExampleResult result = run_examples(text);
  EXPECT_EQ(result.examples, 6);
  ASSERT_EQ(result.differences.size(), 5u);
  EXPECT_EQ(result.differences[0].came, "granted 1 8 free");
  EXPECT_EQ(result.differences[1].came, "cannot be read");
}

}  // namespace
}  // namespace membroker::sim
