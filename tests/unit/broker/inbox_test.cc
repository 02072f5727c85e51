#include "server/broker/inbox.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace membroker::broker {
namespace {

TEST(Inbox, WakesOnceUntilItIsEmptied) {
  int wakes = 0;
  Inbox inbox([&] { ++wakes; });
  EXPECT_TRUE(inbox.post([](Broker&, Instant) {}));
  EXPECT_TRUE(inbox.post([](Broker&, Instant) {}));
  EXPECT_EQ(wakes, 1);
  EXPECT_EQ(inbox.take().size(), 2u);
  EXPECT_TRUE(inbox.take().empty());
  EXPECT_TRUE(inbox.post([](Broker&, Instant) {}));
  EXPECT_EQ(wakes, 2);
}

TEST(Inbox, TakesNothingOnceClosed) {
  int wakes = 0;
  Inbox inbox([&] { ++wakes; });
  inbox.close();
  EXPECT_FALSE(inbox.post([](Broker&, Instant) {}));
  EXPECT_EQ(wakes, 0);
}

TEST(Inbox, LosesNothingFromManyThreads) {
  constexpr int kThreads = 4;
  constexpr std::size_t kEach = 1'000;
  std::atomic<int> wakes = 0;
  Inbox inbox([&] {
    ++wakes;
    wakes.notify_all();
  });
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (std::size_t n = 0; n < kEach; ++n) inbox.post([](Broker&, Instant) {});
    });
  }
  std::size_t taken = 0;
  for (int seen = 0; taken < kThreads * kEach; ++seen) {
    wakes.wait(seen);
    taken += inbox.take().size();
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(taken, kThreads * kEach);
}

}  // namespace
}  // namespace membroker::broker
