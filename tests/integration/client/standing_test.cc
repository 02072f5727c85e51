#include "tests/integration/client/client_fixture.h"

/// \file
/// A client that only calls try_grow, which never waits for others to spill. The request behind its
/// first refusal stays open at the daemon, so that it comes to its share all the same.

namespace membroker::testing {
namespace {

using namespace std::chrono_literals;

TEST_F(ClientTest, AClientThatNeverWaitsReachesItsShareWithinThreeSeconds) {
  ASSERT_TRUE(daemon_.start());
  Client first = open("a");
  Spillable hog(first.pool(), "hog");
  ASSERT_TRUE(hog->acquire(64 * kMiB, 64 * kMiB, 10s));

  Client second = open("b");
  ASSERT_TRUE(second.wait_connected(10s));
  auto growing = MemoryConsumer("growing").register_with(second.pool());
  int refusals = 0;
  // Half of the 64 MiB is its share, of which 4 MiB are its floor, kept for spilling.
  EXPECT_TRUE(comes_true(
      [&] {
        while (growing.try_grow(kMiB)) {
        }
        ++refusals;
        return growing.size() >= 26 * kMiB;
      },
      3s))
      << "it has " << growing.size() << " after " << refusals << " refusals";
  EXPECT_GE(hog.spills(), 1);
  EXPECT_LE(ram(first).held_bytes + ram(second).held_bytes, 64 * kMiB);
}

}  // namespace
}  // namespace membroker::testing
