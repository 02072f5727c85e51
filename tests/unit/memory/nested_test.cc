// Nested pools that spill: for a call inside, for the parent, and for the daemon.
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "client/memory/lease_pool.h"
#include "membroker/memory_pool.h"
#include "membroker/testing.h"
#include "shared/bytes.h"
#include "tests/kit/comes_true.h"

namespace membroker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::comes_true;
using testing::RevocationState;
using testing::ScriptedDaemon;

constexpr AcquireOptions kSpillable{0, true};

/// Frees what is asked, and says so in the log. The log is read when nobody spills.
struct Spiller {
  Spiller(const std::shared_ptr<MemoryPool>& pool, const std::string& name,
          std::vector<std::string>& log, std::int32_t priority = 0) {
    auto spill = [this, name, &log](const SpillRequest& request) {
      log.push_back(name + (request.trigger == SpillTrigger::kSelf ? " itself" : ""));
      const std::int64_t freed = std::min(request.bytes, reservation.size());
      EXPECT_TRUE(reservation.shrink(freed));
      return freed;
    };
    reservation =
        MemoryConsumer(name).with_spill_priority(priority).with_spill(spill).register_with(pool);
  }
  std::int64_t size() const { return reservation.size(); }
  MemoryReservation reservation;
};

TEST(NestedSpillTest, ACallInsideSpillsTheSmallestThatCovers) {
  const auto parent = MemoryPool::greedy(100);
  const auto child = parent->nested("merge");
  std::vector<std::string> log;
  Spiller large(child, "large", log);
  Spiller middle(child, "middle", log);
  Spiller small(child, "small", log);
  ASSERT_TRUE(large.reservation.try_grow(50));
  ASSERT_TRUE(middle.reservation.try_grow(30));
  ASSERT_TRUE(small.reservation.try_grow(20));
  auto asker = MemoryConsumer("asker").register_with(child);
  EXPECT_FALSE(asker.try_grow(25));
  EXPECT_EQ(asker.acquire(25, 25, seconds(10)), 25);
  EXPECT_EQ(log, std::vector<std::string>{"middle"});
  EXPECT_EQ(asker.acquire(60, 60, seconds(10)), 60);  // nobody covers it: the largest and again
  EXPECT_EQ(log, (std::vector<std::string>{"middle", "large", "small"}));
  EXPECT_EQ(parent->reserved(), 100);
  EXPECT_EQ(child->reserved(), 100);
  EXPECT_EQ(parent->metrics().spills, 3U);
  EXPECT_EQ(parent->metrics().spilled_bytes, 85);
}

TEST(NestedSpillTest, TheAskerSpillsLastAndNotUnlessItMay) {
  const auto parent = MemoryPool::greedy(100);
  const auto child = parent->nested("merge");
  std::vector<std::string> log;
  Spiller asker(child, "asker", log);
  Spiller outside(parent, "outside", log);
  ASSERT_TRUE(asker.reservation.try_grow(80));
  ASSERT_TRUE(outside.reservation.try_grow(20));
  EXPECT_EQ(asker.reservation.acquire(30, 30, milliseconds(50)).error().code(),
            ErrorCode::kResourcesExhausted);
  EXPECT_EQ(outside.size(), 0);
  ASSERT_TRUE(outside.reservation.try_grow(20));
  log.clear();
  EXPECT_EQ(asker.reservation.acquire(30, 30, seconds(10), kSpillable), 30);
  EXPECT_EQ(log, (std::vector<std::string>{"outside", "asker itself"}));
  EXPECT_EQ(asker.size(), 100);
}

TEST(NestedSpillTest, TheParentReachesTheConsumersInside) {
  const auto parent = MemoryPool::greedy(100);
  const auto child = parent->nested("merge");
  const auto grandchild = child->nested("deeper");
  std::vector<std::string> log;
  Spiller direct(parent, "direct", log);
  Spiller inside(child, "inside", log);
  Spiller deep(grandchild, "deep", log, 5);
  ASSERT_TRUE(direct.reservation.try_grow(50));
  ASSERT_TRUE(inside.reservation.try_grow(30));
  ASSERT_TRUE(deep.reservation.try_grow(20));
  auto asker = MemoryConsumer("asker").register_with(parent);
  EXPECT_EQ(asker.acquire(10, 10, seconds(10)), 10);
  EXPECT_EQ(asker.acquire(30, 30, seconds(10)), 30);
  // By priority, then the smallest that covers what is still missing, wherever it is.
  EXPECT_EQ(log, (std::vector<std::string>{"deep", "deep", "inside"}));
  EXPECT_EQ(grandchild->reserved(), 0);
  EXPECT_EQ(child->reserved(), 10);
  EXPECT_EQ(direct.size(), 50);
}

TEST(NestedSpillTest, RetainedBytesHelpThoseInsideOnly) {
  const auto parent = MemoryPool::greedy(100);
  const auto child = parent->nested("merge", 60);
  std::vector<std::string> log;
  Spiller inside(child, "inside", log);
  ASSERT_TRUE(inside.reservation.try_grow(60));
  auto filler = MemoryConsumer("filler").register_with(parent);
  ASSERT_TRUE(filler.try_grow(40));
  auto outside = MemoryConsumer("outside").register_with(parent);
  EXPECT_FALSE(outside.acquire(10, 10, milliseconds(50)));
  EXPECT_EQ(log, std::vector<std::string>{});
  auto sibling = MemoryConsumer("sibling").register_with(child);
  EXPECT_EQ(sibling.acquire(10, 10, seconds(10)), 10);
  EXPECT_EQ(log, std::vector<std::string>{"inside"});
  EXPECT_EQ(parent->reserved(), 100);
}

TEST(NestedSpillTest, AWaitInsideEndsWithBytesFreedInside) {
  const auto parent = MemoryPool::greedy(100);
  const auto child = parent->nested("merge", 100);
  auto holder = MemoryConsumer("holder").register_with(child);
  ASSERT_TRUE(holder.try_grow(100));
  auto waiter = MemoryConsumer("waiter").register_with(child);
  auto waiting =
      std::async(std::launch::async, [&] { return waiter.acquire(40, 40, seconds(20)); });
  EXPECT_EQ(waiting.wait_for(milliseconds(50)), std::future_status::timeout);
  ASSERT_TRUE(holder.shrink(10));
  EXPECT_FALSE(holder.try_grow(1));  // freed bytes are the waiter's
  ASSERT_TRUE(holder.shrink(50));
  EXPECT_EQ(waiting.get(), 40);
  EXPECT_EQ(parent->reserved(), 100);
  EXPECT_EQ(child->reserved(), 80);
}

TEST(NestedSpillTest, EveryWaitEndsAtItsDeadlineAndSaysWhoHolds) {
  const auto parent = MemoryPool::greedy(100);
  const auto child = parent->nested("merge")->nested("deeper");
  auto holder = MemoryConsumer("holder").register_with(child);
  ASSERT_TRUE(holder.try_grow(90));
  auto waiter = MemoryConsumer("waiter").register_with(child);
  const auto refused = waiter.acquire(40, 40, milliseconds(30));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message().rfind("Unable to acquire 40 bytes of memory, got 10", 0), 0U)
      << refused.error().message();
  ASSERT_NE(refused.error().denial(), nullptr);
  EXPECT_EQ(refused.error().denial()->pool, "deeper");
  EXPECT_EQ(refused.error().denial()->available_bytes, 10);
  EXPECT_EQ(refused.error().denial()->holders.front().name, "holder");
  EXPECT_EQ(waiter.acquire(0, 40, milliseconds(30)), 10);
  EXPECT_EQ(child->metrics().refusals, 1U);
}

TEST(NestedSpillTest, AsynchronousCallsWaitAndCanBeCancelled) {
  const auto parent = MemoryPool::greedy(100);
  const auto child = parent->nested("merge");
  auto holder = MemoryConsumer("holder").register_with(child);
  ASSERT_TRUE(holder.try_grow(100));
  auto waiter = MemoryConsumer("waiter").register_with(child);
  std::promise<Result<std::int64_t>> granted;
  waiter.acquire_async(60, 60, seconds(20), [&](auto result) { granted.set_value(result); });
  std::promise<Result<std::int64_t>> cancelled;
  auto ticket =
      holder.acquire_async(50, 50, seconds(20), [&](auto result) { cancelled.set_value(result); });
  ticket.cancel();
  EXPECT_EQ(cancelled.get_future().get().error().code(), ErrorCode::kCancelled);
  ASSERT_TRUE(holder.shrink(60));
  EXPECT_EQ(granted.get_future().get(), 60);
  EXPECT_TRUE(comes_true([&] { return waiter.size() == 60; }));

  std::promise<Result<std::int64_t>> orphaned;
  auto brief = MemoryConsumer("brief").register_with(child);
  brief.acquire_async(50, 50, seconds(20), [&](auto result) { orphaned.set_value(result); });
  { const MemoryReservation dropped = std::move(brief); }
  EXPECT_EQ(orphaned.get_future().get().error().code(), ErrorCode::kCancelled);
  EXPECT_EQ(parent->reserved(), 100);
}

TEST(NestedSpillTest, InsideASpillOnlyRetainedBytesAreLent) {
  const auto parent = MemoryPool::greedy(100);
  const auto child = parent->nested("merge", 40);
  auto workspace = MemoryConsumer("workspace").register_with(child);
  ASSERT_TRUE(workspace.try_grow(40));
  workspace.free();
  MemoryReservation victim;
  std::atomic<int> checked{0};
  victim =
      MemoryConsumer("victim")
          .with_spill([&](const SpillRequest&) {
            EXPECT_EQ(workspace.acquire(50, 50, seconds(1)).error().code(),
                      ErrorCode::kGrowInSpill);
            EXPECT_TRUE(workspace.try_grow(40));
            EXPECT_EQ(workspace.try_grow(1).error().code(), ErrorCode::kGrowInSpill);
            EXPECT_EQ(workspace.acquire(1, 1, seconds(1)).error().code(), ErrorCode::kGrowInSpill);
            EXPECT_TRUE(workspace.grow(5));  // overdraft
            EXPECT_TRUE(workspace.shrink(45));
            ++checked;
            return victim.free();
          })
          .register_with(parent);
  ASSERT_TRUE(victim.try_grow(60));
  auto asker = MemoryConsumer("asker").register_with(parent);
  EXPECT_EQ(asker.acquire(60, 60, seconds(10)), 60);
  EXPECT_EQ(checked.load(), 1);
  EXPECT_EQ(parent->metrics().overdrawn_total, 5);
  EXPECT_EQ(parent->metrics().overdraft_bytes, 0);
}

TEST(NestedSpillTest, WhoThrowsOrIsBarredIsPassedOver) {
  const auto parent = MemoryPool::greedy(100);
  const auto child = parent->nested("merge");
  std::vector<std::string> log;
  Spiller good(child, "good", log);
  Spiller barred(child, "barred", log);
  auto broken = MemoryConsumer("broken")
                    .with_spill([](const SpillRequest&) -> std::int64_t {
                      throw std::runtime_error("no space on device");
                    })
                    .register_with(child);
  ASSERT_TRUE(broken.try_grow(20));
  ASSERT_TRUE(barred.reservation.try_grow(30));
  ASSERT_TRUE(good.reservation.try_grow(50));
  const NoSpillSection section(barred.reservation);
  auto asker = MemoryConsumer("asker").register_with(parent);
  EXPECT_EQ(asker.acquire(20, 20, seconds(10)), 20);
  EXPECT_EQ(log, std::vector<std::string>{"good"});
  const auto refused = asker.acquire(60, 60, milliseconds(50));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("broken: no space on device"), std::string::npos)
      << refused.error().message();
}

TEST(NestedSpillTest, CooperativeConsumersInsideAreFlagged) {
  const auto parent = MemoryPool::greedy(100);
  const auto child = parent->nested("merge");
  auto polite = MemoryConsumer("polite").with_can_spill(true).register_with(child);
  ASSERT_TRUE(polite.try_grow(100));
  auto asker = MemoryConsumer("asker").register_with(child);
  auto waiting = std::async(std::launch::async, [&] { return asker.acquire(30, 30, seconds(20)); });
  ASSERT_TRUE(comes_true([&] { return polite.spill_requested() > 0; }));
  EXPECT_EQ(polite.spill_requested(), 30);
  ASSERT_TRUE(polite.shrink(30));
  EXPECT_EQ(waiting.get(), 30);
}

TEST(NestedSpillTest, ItCountsAsSpillableWhileAConsumerOfItsIs) {
  const auto parent = MemoryPool::fair_spill(100);
  const auto child = parent->nested("merge");
  auto rigid = MemoryConsumer("rigid").register_with(child);
  ASSERT_TRUE(rigid.try_grow(20));
  auto other = MemoryConsumer("other").with_can_spill(true).register_with(parent);
  EXPECT_EQ(parent->limit_for(other.consumer()), MemoryLimit::finite(80));
  ASSERT_TRUE(other.try_grow(10));
  {
    auto spillable = MemoryConsumer("spillable").with_can_spill(true).register_with(child);
    EXPECT_EQ(parent->limit_for(other.consumer()), MemoryLimit::finite(50));
    EXPECT_FALSE(spillable.try_grow(31));  // with what rigid has it would pass the share
    EXPECT_TRUE(spillable.try_grow(30));
  }
  EXPECT_EQ(parent->limit_for(other.consumer()), MemoryLimit::finite(80));
}

TEST(NestedSpillTest, ARevocationReachesThemAndWhatTheyCanFreeIsReported) {
  ScriptedDaemon daemon({.capacity_bytes = 8 * kMiB, .floor_bytes = 0});
  const auto child = daemon.pool()->nested("merge");
  std::vector<std::string> log;
  Spiller inside(child, "inside", log);
  auto rigid = MemoryConsumer("rigid").register_with(child);
  ASSERT_TRUE(inside.reservation.acquire(4 * kMiB, 4 * kMiB, seconds(10)));
  ASSERT_TRUE(rigid.acquire(2 * kMiB, 2 * kMiB, seconds(10)));
  auto& pool = static_cast<LeasePool&>(*daemon.pool());
  EXPECT_EQ(pool.stats().figures.reclaimable, 4 * kMiB);
  daemon.revoke(daemon.held() - 3 * kMiB, seconds(20));
  EXPECT_TRUE(comes_true([&] { return daemon.revocation() == RevocationState::kMet; }));
  EXPECT_EQ(rigid.size(), 2 * kMiB);
  EXPECT_LE(inside.size(), kMiB);
}

// Concurrent use of everything: what is under test is that nothing hangs, and that the sums are
// right at the end (and the absence of races, under ThreadSanitizer).
TEST(NestedSpillTest, ManyThreads) {
  const auto parent = MemoryPool::greedy(1000);
  const auto child = parent->nested("merge", 100);
  const auto deeper = child->nested("deeper");
  std::vector<std::thread> threads;
  for (int id = 0; id < 4; ++id) {
    threads.emplace_back([&, id] {
      const std::shared_ptr<MemoryPool> pools[] = {parent, child, deeper, child};
      MemoryReservation mine;
      mine = MemoryConsumer("c" + std::to_string(id))
                 .with_spill([&mine](const SpillRequest&) { return mine.free(); })
                 .register_with(pools[id]);
      for (std::int64_t i = 0; i < 300; ++i) {
        const std::int64_t n = 1 + (i * 37 + id * 101) % 400;
        static_cast<void>(mine.acquire(n / 2, n, seconds(10), kSpillable));
        EXPECT_LE(parent->reserved(), 1000);
        if (i % 3 == 0) static_cast<void>(mine.try_grow(n / 3));
        if (i % 5 == 0) mine.free();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(deeper->reserved(), 0);
  EXPECT_EQ(child->reserved(), 0);
  EXPECT_EQ(parent->reserved(), 100);
  child->release_unused();
  EXPECT_EQ(parent->reserved(), 0);
}

}  // namespace
}  // namespace membroker
