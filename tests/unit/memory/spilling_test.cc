// Who spills for whom among the consumers of one process.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "client/memory/spill_choice.h"
#include "membroker/memory_pool.h"
#include "shared/bytes.h"

namespace membroker {
namespace {

using detail::choose_spill;
using detail::SpillCandidate;
using std::chrono::milliseconds;
using std::chrono::seconds;

std::uint64_t chosen(const std::vector<SpillCandidate>& candidates, std::int64_t bytes) {
  const SpillCandidate* candidate = choose_spill(candidates, bytes);
  return candidate == nullptr ? 0 : candidate->id;
}

TEST(SpillChoiceTest, SmallestThatCoversElseTheLargest) {
  const std::vector<SpillCandidate> candidates = {{1, 10}, {2, 40}, {3, 30}, {4, 20}};
  EXPECT_EQ(chosen(candidates, 25), 3u);
  EXPECT_EQ(chosen(candidates, 30), 3u);
  EXPECT_EQ(chosen(candidates, 31), 2u);
  EXPECT_EQ(chosen(candidates, 41), 2u);
  EXPECT_EQ(chosen(candidates, 1), 1u);
  EXPECT_EQ(chosen({}, 1), 0u);
  EXPECT_EQ(chosen({{1, 0}}, 1), 0u);
}

TEST(SpillChoiceTest, EqualSizesByRegistration) {
  EXPECT_EQ(chosen({{2, 10}, {1, 10}}, 5), 1u);
  EXPECT_EQ(chosen({{2, 10}, {1, 10}}, 50), 1u);
}

TEST(SpillChoiceTest, TheAskerLastAndPriorityFirst) {
  EXPECT_EQ(chosen({{1, 100, 0, true}, {2, 10, 0, false}}, 50), 2u);
  EXPECT_EQ(chosen({{1, 100, 9, true}, {2, 10, 0, false}}, 50), 2u);
  EXPECT_EQ(chosen({{1, 100, 0, true}}, 50), 1u);
  EXPECT_EQ(chosen({{1, 100, 0, false}, {2, 10, 1, false}}, 50), 2u);
}

/// Frees what is asked, and keeps a log of who spilled.
struct Spiller {
  Spiller(const std::shared_ptr<MemoryPool>& pool, const std::string& name,
          std::vector<std::string>& log, std::int32_t priority = 0) {
    auto spill = [this, name, &log](const SpillRequest& request) {
      log.push_back(name);
      const std::int64_t freed = std::min(request.bytes, reservation.size());
      EXPECT_TRUE(reservation.shrink(freed));
      return freed;
    };
    reservation =
        MemoryConsumer(name).with_spill_priority(priority).with_spill(spill).register_with(pool);
  }
  MemoryReservation reservation;
};

TEST(SpillingTest, ACacheGoesBeforeAHashTable) {
  const auto pool = MemoryPool::greedy(100);
  std::vector<std::string> log;
  Spiller table(pool, "table", log);
  Spiller cache(pool, "cache", log, 10);
  ASSERT_TRUE(table.reservation.try_grow(60));
  ASSERT_TRUE(cache.reservation.try_grow(40));
  auto asker = MemoryConsumer("asker").register_with(pool);
  EXPECT_EQ(asker.acquire(50, 50, seconds(10)), 50);
  EXPECT_EQ(log, (std::vector<std::string>{"cache", "table"}));
  EXPECT_EQ(cache.reservation.size(), 0);
  EXPECT_EQ(table.reservation.size(), 50);
  EXPECT_EQ(pool->metrics().spills, 2u);
  EXPECT_EQ(pool->metrics().spilled_bytes, 50);
}

TEST(SpillingTest, WhoFreesNothingIsSkippedAndAThrowIsKept) {
  const auto pool = MemoryPool::greedy(100);
  std::vector<std::string> log;
  std::atomic<int> calls{0};
  auto stuck = MemoryConsumer("stuck")
                   .with_spill([&](const SpillRequest&) -> std::int64_t {
                     ++calls;
                     return 0;
                   })
                   .register_with(pool);
  auto broken = MemoryConsumer("broken")
                    .with_spill([&](const SpillRequest&) -> std::int64_t {
                      ++calls;
                      throw std::runtime_error("no space on device");
                    })
                    .register_with(pool);
  Spiller good(pool, "good", log);
  ASSERT_TRUE(stuck.try_grow(30));
  ASSERT_TRUE(broken.try_grow(30));
  ASSERT_TRUE(good.reservation.try_grow(40));
  auto asker = MemoryConsumer("asker").register_with(pool);
  EXPECT_EQ(asker.acquire(20, 20, seconds(10)), 20);
  EXPECT_EQ(calls.load(), 2);
  EXPECT_EQ(good.reservation.size(), 20);
  asker.free();
  good.reservation.free();
  ASSERT_TRUE(good.reservation.try_grow(40));
  const auto refused = asker.acquire(50, 50, milliseconds(100));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("broken: no space on device"), std::string::npos)
      << refused.error().message();
}

TEST(SpillingTest, FreedBytesAreTheRequesters) {
  const auto pool = MemoryPool::greedy(kMiB);
  std::vector<std::string> log;
  Spiller victim(pool, "victim", log);
  ASSERT_TRUE(victim.reservation.try_grow(kMiB));
  std::atomic<bool> stop{false};
  std::atomic<std::int64_t> stolen{0};
  std::thread thief([&] {
    auto reservation = MemoryConsumer("thief").register_with(pool);
    while (!stop) {
      if (reservation.try_grow(64)) stolen += reservation.free();
    }
  });
  auto asker = MemoryConsumer("asker").register_with(pool);
  for (int i = 0; i < 50; ++i) {
    const auto got = asker.acquire(kMiB / 2, kMiB / 2, seconds(10));
    ASSERT_TRUE(got) << got.error().message();
    asker.free();
    while (!victim.reservation.try_grow(kMiB / 2)) std::this_thread::yield();
  }
  stop = true;
  thief.join();
  EXPECT_LE(log.size(), 100u);
}

TEST(SpillingTest, AnAskerThatDidNotAllowItIsNotSpilled) {
  const auto pool = MemoryPool::greedy(100);
  std::vector<std::string> log;
  Spiller only(pool, "only", log);
  ASSERT_TRUE(only.reservation.try_grow(80));
  EXPECT_FALSE(only.reservation.acquire(50, 50, milliseconds(30)));
  EXPECT_TRUE(log.empty());
  EXPECT_EQ(only.reservation.acquire(50, 50, seconds(10), {0, true}), 50);
  EXPECT_EQ(log.size(), 1u);
  EXPECT_EQ(only.reservation.size(), 100);
}

TEST(SpillingTest, TwoThatWaitForEachOtherGetAnAnswer) {
  const auto pool = MemoryPool::greedy(100);
  std::vector<std::string> log;
  Spiller a(pool, "a", log);
  Spiller b(pool, "b", log);
  ASSERT_TRUE(a.reservation.try_grow(50));
  ASSERT_TRUE(b.reservation.try_grow(50));
  auto other = std::async(std::launch::async,
                          [&] { return a.reservation.acquire(10, 10, milliseconds(200)); });
  const auto mine = b.reservation.acquire(10, 10, milliseconds(200));
  static_cast<void>(mine);
  static_cast<void>(other.get());
  EXPECT_LE(a.reservation.size() + b.reservation.size(), 100);
}

TEST(SpillingTest, ExplicitSpill) {
  const auto pool = MemoryPool::greedy(kMiB);
  SpillTrigger trigger = SpillTrigger::kOther;
  ErrorCode inside = ErrorCode::kInvalid;
  MemoryReservation table;
  table = MemoryConsumer("table")
              .with_spill([&](const SpillRequest& request) {
                trigger = request.trigger;
                const auto grown = table.try_grow(1);
                if (!grown) inside = grown.error().code();
                return table.free();
              })
              .register_with(pool);
  ASSERT_TRUE(table.try_grow(1000));
  EXPECT_EQ(table.consumer().spill(), 1000);
  EXPECT_EQ(trigger, SpillTrigger::kExplicit);
  EXPECT_EQ(inside, ErrorCode::kGrowInSpill);
  EXPECT_EQ(MemoryConsumer("none").spill().error().code(), ErrorCode::kUnsupported);
}

TEST(SpillingTest, AConsumerMayEndWhileOthersWantItsBytes) {
  for (int round = 0; round < 200; ++round) {
    const auto pool = MemoryPool::greedy(100);
    std::vector<std::string> log;
    auto victim = std::make_unique<Spiller>(pool, "victim", log);
    ASSERT_TRUE(victim->reservation.try_grow(100));
    auto asker = MemoryConsumer("asker").register_with(pool);
    auto waiting =
        std::async(std::launch::async, [&] { return asker.acquire(60, 60, seconds(10)); });
    victim.reset();  // waits for its call-back, if that runs
    EXPECT_EQ(waiting.get(), 60);
  }
}

}  // namespace
}  // namespace membroker
