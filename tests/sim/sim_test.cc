#include <gtest/gtest.h>

#include "tests/sim/world.h"

namespace membroker::sim {
namespace {

TEST(Simulation, HundredThousandEventsOfEveryKindKeepEveryInvariant) {
  World world({.seed = 1, .events = 100'000, .clients = 64});
  EXPECT_EQ(world.run(), "");
}

}  // namespace
}  // namespace membroker::sim
