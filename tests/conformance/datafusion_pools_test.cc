// DataFusion's memory pools: scenarios A to D of the reference, with its numbers. Where we differ
// on purpose the test says why.
#include <gtest/gtest.h>

#include <set>
#include <thread>
#include <vector>

#include "membroker/memory_pool.h"

namespace membroker {
namespace {

MemoryReservation open(const std::shared_ptr<MemoryPool>& pool, const std::string& name,
                       bool can_spill = false) {
  return MemoryConsumer(name).with_can_spill(can_spill).register_with(pool);
}

TEST(Reservations, ConsumersHaveDistinctIds) {
  std::set<std::uint64_t> ids;
  for (int i = 0; i < 100; ++i) ids.insert(MemoryConsumer("same").id());
  EXPECT_EQ(ids.size(), 100u);
}

TEST(Reservations, OvercommitAndRecovery) {
  const auto pool = MemoryPool::greedy(50);
  auto first = open(pool, "first");
  EXPECT_TRUE(first.grow(100));
  EXPECT_EQ(pool->reserved(), 100);
  EXPECT_EQ(first.free(), 100);
  EXPECT_EQ(first.free(), 0);
  EXPECT_EQ(pool->reserved(), 0);
  EXPECT_FALSE(first.try_grow(100));
  EXPECT_EQ(pool->reserved(), 0);
  EXPECT_TRUE(first.try_grow(30));
  auto second = open(pool, "second");
  EXPECT_FALSE(second.try_grow(25));
  EXPECT_EQ(pool->reserved(), 30);
  { const MemoryReservation dropped = std::move(first); }
  EXPECT_EQ(pool->reserved(), 0);
  EXPECT_TRUE(second.try_grow(25));
  EXPECT_EQ(pool->reserved(), 25);
}

TEST(Reservations, Split) {
  const auto pool = MemoryPool::greedy(50);
  auto first = open(pool, "r1");
  ASSERT_TRUE(first.try_grow(20));
  auto second = first.split(5);
  ASSERT_TRUE(second);
  EXPECT_EQ(first.size(), 15);
  EXPECT_EQ(second->size(), 5);
  EXPECT_EQ(pool->reserved(), 20);
  EXPECT_EQ(first.consumer().used(), 20);
  EXPECT_EQ(first.consumer().peak(), 20);
  { const MemoryReservation dropped = std::move(first); }
  EXPECT_EQ(pool->reserved(), 5);
  EXPECT_EQ(second->size(), 5);
}

TEST(Reservations, NewEmptyAndTake) {
  const auto pool = MemoryPool::greedy(50);
  auto first = open(pool, "r1");
  ASSERT_TRUE(first.try_grow(20));
  auto empty = first.new_empty();
  ASSERT_TRUE(empty.try_grow(5));
  EXPECT_EQ(first.size(), 20);
  EXPECT_EQ(empty.size(), 5);
  EXPECT_EQ(pool->reserved(), 25);
  empty.free();

  auto taken = first.take();
  ASSERT_TRUE(taken.try_grow(5));
  EXPECT_EQ(first.size(), 0);
  EXPECT_EQ(taken.size(), 25);
  EXPECT_EQ(pool->reserved(), 25);
  ASSERT_TRUE(first.try_grow(3));
  EXPECT_EQ(first.size(), 3);
  EXPECT_EQ(pool->reserved(), 28);
}

TEST(Reservations, DisplayOfPools) {
  EXPECT_EQ(MemoryPool::unbounded()->describe(), "unbounded(used: 0.0 B)");
  const auto greedy = MemoryPool::greedy(100);
  auto half = open(greedy, "half");
  ASSERT_TRUE(half.try_grow(50));
  EXPECT_EQ(greedy->describe(), "greedy(used: 50.0 B, pool_size: 100.0 B)");
  EXPECT_EQ(MemoryPool::greedy(2000)->describe(), "greedy(used: 0.0 B, pool_size: 2000.0 B)");
  EXPECT_EQ(MemoryPool::greedy(2048)->describe(), "greedy(used: 0.0 B, pool_size: 2.0 KB)");
  // Differs: ours also says what is used.
  EXPECT_EQ(MemoryPool::fair_spill(4096)->describe(), "fair(used: 0.0 B, pool_size: 4.0 KB)");
  EXPECT_EQ(MemoryPool::greedy(128)->tracked(5)->describe(),
            "track_consumers(inner_pool: greedy(used: 0.0 B, pool_size: 128.0 B), "
            "num_of_top_consumers: 5)");
  EXPECT_EQ(MemoryPool::fair_spill(256)->tracked(5)->describe(),
            "track_consumers(inner_pool: fair(used: 0.0 B, pool_size: 256.0 B), "
            "num_of_top_consumers: 5)");
}

// ---- B: the fair pool ----

TEST(FairPool, OvercommitIsRefusedUntilRepaid) {
  const auto pool = MemoryPool::fair_spill(100);
  auto unspillable = open(pool, "r1");
  auto spillable = open(pool, "r2", true);
  ASSERT_TRUE(unspillable.grow(2000));
  ASSERT_TRUE(spillable.grow(2000));
  EXPECT_EQ(pool->reserved(), 4000);
  for (int i = 0; i < 2; ++i) {
    const auto refused = spillable.try_grow(1);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message().find("cannot reserve 1.0 B for r2, which holds 2000.0 B; "
                                             "0.0 B available in fair(used: 3.9 KB, pool_size: "
                                             "100.0 B)"),
              std::string::npos)
        << refused.error().message();
  }
  ASSERT_TRUE(unspillable.shrink(1990));
  ASSERT_TRUE(spillable.shrink(2000));
  EXPECT_EQ(pool->reserved(), 10);
  ASSERT_TRUE(unspillable.try_grow(10));
  EXPECT_EQ(pool->reserved(), 20);
  ASSERT_TRUE(spillable.try_grow(80));
  EXPECT_EQ(pool->reserved(), 100);
  ASSERT_TRUE(spillable.shrink(70));
  EXPECT_EQ(unspillable.size(), 20);
  EXPECT_EQ(spillable.size(), 10);
  EXPECT_EQ(pool->reserved(), 30);
}

TEST(FairPool, SharesAreEqualAmongTheSpillable) {
  const auto pool = MemoryPool::fair_spill(100);
  auto unspillable = open(pool, "r1");
  auto second = open(pool, "r2", true);
  auto third = open(pool, "r3", true);
  ASSERT_TRUE(unspillable.try_grow(20));
  ASSERT_TRUE(second.try_grow(10));
  EXPECT_FALSE(third.try_grow(70));
  ASSERT_TRUE(third.try_grow(40));
  EXPECT_FALSE(third.try_grow(1));
  EXPECT_TRUE(second.try_grow(30));
  EXPECT_EQ(pool->limit_for(second.consumer()), MemoryLimit::finite(40));
}

// Differs: an idle consumer does not count. In DataFusion 128 idle ones leave the one at work
// nothing (sedona-db #918).
TEST(FairPool, IdleConsumersDoNotCount) {
  const auto pool = MemoryPool::fair_spill(100);
  std::vector<MemoryReservation> idle;
  for (int i = 0; i < 128; ++i) idle.push_back(open(pool, "idle", true));
  auto busy = open(pool, "busy", true);
  EXPECT_TRUE(busy.try_grow(100));
}

TEST(FairPool, UnspillableGetsOnlyWhatIsFree) {
  const auto pool = MemoryPool::fair_spill(100);
  auto first = open(pool, "r1");
  ASSERT_TRUE(first.try_grow(20));
  auto spillable = open(pool, "r3", true);
  ASSERT_TRUE(spillable.try_grow(80));
  first.free();
  EXPECT_EQ(pool->reserved(), 80);
  auto unspillable = open(pool, "s4");
  const auto refused = unspillable.try_grow(30);
  ASSERT_FALSE(refused);
  ASSERT_NE(refused.error().denial(), nullptr);
  EXPECT_EQ(refused.error().denial()->available_bytes, 20);
  EXPECT_NE(refused.error().message().find("20.0 B available"), std::string::npos)
      << refused.error().message();
}

// Differs (scenario 12): DataFusion lets a late arriver take the total to 150. Ours never passes
// the size.
TEST(FairPool, LateArriverStaysWithinTheSize) {
  const auto pool = MemoryPool::fair_spill(100);
  auto first = open(pool, "A", true);
  ASSERT_TRUE(first.try_grow(100));
  auto second = open(pool, "B", true);
  EXPECT_FALSE(second.try_grow(50));
  EXPECT_EQ(pool->reserved(), 100);
  ASSERT_TRUE(first.shrink(60));
  EXPECT_TRUE(second.try_grow(50));
  EXPECT_FALSE(second.try_grow(1));
}

// Differs: the share is the consumer's, over all its reservations (DataFusion #25172: siblings
// escape it).
TEST(FairPool, SiblingsShareOneShare) {
  const auto pool = MemoryPool::fair_spill(200);
  auto other = open(pool, "other", true);
  ASSERT_TRUE(other.try_grow(10));
  auto first = open(pool, "mine", true);
  auto sibling = first.new_empty();
  ASSERT_TRUE(first.try_grow(60));
  ASSERT_TRUE(sibling.try_grow(40));
  EXPECT_FALSE(sibling.try_grow(10));
  EXPECT_FALSE(first.try_grow(10));
}

// ---- C: tracking ----

TEST(Tracking, RefusalNamesTheLargest) {
  const auto pool = MemoryPool::greedy(100)->tracked(3);
  auto first = open(pool, "r1");
  ASSERT_TRUE(first.try_grow(50));
  ASSERT_TRUE(first.try_grow(20));
  ASSERT_TRUE(first.shrink(20));
  auto second = open(pool, "r2");
  ASSERT_TRUE(second.try_grow(15));
  auto third = open(pool, "r3");
  ASSERT_TRUE(third.try_resize(25));
  ASSERT_TRUE(third.try_resize(20));
  auto fourth = open(pool, "r4");
  ASSERT_TRUE(fourth.try_grow(10));
  auto fifth = open(pool, "r5");
  const auto refused = fifth.try_grow(150);
  ASSERT_FALSE(refused);
  const std::string& text = refused.error().message();
  const auto line = [](const MemoryReservation& of, const std::string& rest) {
    return of.consumer().name() + "#" + std::to_string(of.consumer().id()) +
           "(can spill: false) reserved " + rest;
  };
  EXPECT_NE(text.find(line(first, "50.0 B, peak 70.0 B\n")), std::string::npos) << text;
  EXPECT_NE(text.find(line(third, "20.0 B, peak 25.0 B\n")), std::string::npos) << text;
  EXPECT_NE(text.find(line(second, "15.0 B, peak 15.0 B")), std::string::npos) << text;
  EXPECT_EQ(text.find("r4#"), std::string::npos) << text;
  EXPECT_NE(text.find("5.0 B available in greedy(used: 95.0 B, pool_size: 100.0 B)"),
            std::string::npos)
      << text;
  EXPECT_EQ(refused.error().denial()->available_bytes, 5);
}

TEST(Tracking, SameNameIsThreeEntries) {
  const auto pool = MemoryPool::greedy(100)->tracked(3);
  auto first = open(pool, "foo");
  auto second = open(pool, "foo");
  auto third = open(pool, "foo", true);
  ASSERT_TRUE(first.try_grow(10));
  ASSERT_TRUE(second.try_grow(20));
  const auto consumers = pool->metrics().consumers;
  ASSERT_EQ(consumers.size(), 3u);
  EXPECT_EQ(consumers[0].reserved_bytes, 20);
  EXPECT_EQ(consumers[1].reserved_bytes, 10);
  EXPECT_EQ(consumers[2].reserved_bytes, 0);
  const auto refused = first.try_grow(150);
  const std::string& text = refused.error().message();
  EXPECT_NE(text.find("for foo, which holds 10.0 B; 70.0 B available"), std::string::npos) << text;
  for (const MemoryReservation* one : {&first, &second, &third}) {
    const std::string entry = "foo#" + std::to_string(one->consumer().id()) + "(";
    EXPECT_NE(text.find(entry), std::string::npos) << text;
  }
}

TEST(Tracking, UnregisteredConsumersVanish) {
  for (const auto& inner : {MemoryPool::greedy(100), MemoryPool::fair_spill(100)}) {
    const auto pool = inner->tracked(3);
    auto first = open(pool, "r0");
    auto second = open(pool, "r1");
    ASSERT_TRUE(first.try_grow(10));
    ASSERT_TRUE(second.try_grow(20));
    EXPECT_EQ(pool->metrics().consumers.size(), 2u);
    { const MemoryReservation dropped = std::move(second); }
    ASSERT_EQ(pool->metrics().consumers.size(), 1u);
    const auto refused = first.try_grow(150);
    EXPECT_EQ(refused.error().denial()->available_bytes, 90);
    EXPECT_EQ(pool->report_top(5).find("r1#"), std::string::npos);
  }
}

TEST(Tracking, ConcurrentUseOfOneConsumer) {
  const auto pool = MemoryPool::greedy(1 << 20)->tracked(3);
  auto shared = open(pool, "shared");
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 10'000; ++n) {
        EXPECT_TRUE(shared.grow(3));
        EXPECT_TRUE(shared.shrink(3));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(shared.size(), 0);
  EXPECT_EQ(pool->reserved(), 0);
  EXPECT_GE(shared.consumer().peak(), 3);
  EXPECT_LE(shared.consumer().peak(), 48);
}

TEST(Tracking, ChurnBesideUse) {
  const auto pool = MemoryPool::greedy(1 << 20)->tracked(3);
  auto stable = open(pool, "stable");
  std::thread churn([&] {
    for (int i = 0; i < 1'000; ++i) open(pool, "churn-" + std::to_string(i));
  });
  for (int i = 0; i < 1'000; ++i) {
    EXPECT_TRUE(stable.grow(5));
    EXPECT_TRUE(stable.shrink(5));
  }
  churn.join();
  const auto consumers = pool->metrics().consumers;
  ASSERT_EQ(consumers.size(), 1u);
  EXPECT_EQ(consumers[0].name, "stable");
  EXPECT_EQ(consumers[0].reserved_bytes, 0);
}

// ---- D: nested pools, peaks ----

TEST(NestedPools, RetainedWorkspace) {
  const auto parent = MemoryPool::greedy(100);
  const auto child = parent->nested("merge");
  auto workspace = open(child, "workspace");
  ASSERT_TRUE(workspace.try_grow(60));
  child->retain(60);
  workspace.free();
  EXPECT_EQ(parent->reserved(), 60);
  auto contender = open(parent, "contender");
  ASSERT_TRUE(contender.try_grow(40));
  EXPECT_EQ(parent->reserved(), 100);
  auto first = open(child, "first");
  auto second = open(child, "second");
  EXPECT_TRUE(first.try_grow(20));
  EXPECT_TRUE(second.try_grow(40));
  EXPECT_FALSE(first.try_grow(1));
  first.free();
  second.free();
  EXPECT_EQ(parent->reserved(), 100);
  EXPECT_TRUE(workspace.try_grow(60));
  EXPECT_EQ(parent->reserved(), 100);
  workspace.free();
  child->release_unused();
  EXPECT_EQ(parent->reserved(), 40);
  contender.free();
  EXPECT_EQ(parent->reserved(), 0);
}

TEST(NestedPools, ExcessIsReturned) {
  const auto parent = MemoryPool::greedy(100);
  const auto child = parent->nested("merge", 40);
  auto reservation = open(child, "r");
  ASSERT_TRUE(reservation.try_grow(40));
  ASSERT_TRUE(reservation.try_grow(50));
  EXPECT_EQ(parent->reserved(), 90);
  ASSERT_TRUE(reservation.shrink(60));
  EXPECT_EQ(parent->reserved(), 40);
  {
    const NestedPool::Loan loan = child->borrow(10);
    EXPECT_EQ(loan.bytes(), 10);
    EXPECT_EQ(child->borrow(10).bytes(), 0);
    child->release_unused();
    EXPECT_EQ(parent->reserved(), 40);
  }
  EXPECT_EQ(parent->reserved(), 30);
  reservation.free();
  EXPECT_EQ(parent->reserved(), 0);
}

TEST(NestedPools, Overflow) {
  const auto parent = MemoryPool::greedy(8);
  const auto child = parent->nested("merge");
  auto reservation = open(child, "r");
  EXPECT_TRUE(reservation.try_grow(0));
  EXPECT_EQ(parent->reserved(), 0);
  EXPECT_TRUE(reservation.try_grow(8));
  EXPECT_FALSE(reservation.try_grow(1));
  EXPECT_FALSE(reservation.try_grow(INT64_MAX));
  EXPECT_EQ(reservation.size(), 8);
  reservation.free();
  ASSERT_TRUE(reservation.grow(16));
  EXPECT_EQ(parent->reserved(), 16);
  auto direct = open(parent, "direct");
  EXPECT_FALSE(direct.try_grow(INT64_MAX));
}

TEST(Peaks, ResetKeepsWhatIsHeld) {
  const auto pool = MemoryPool::greedy(1024);
  auto reservation = open(pool, "r");
  ASSERT_TRUE(reservation.try_grow(300));
  ASSERT_TRUE(reservation.try_grow(400));
  MemoryConsumer consumer = reservation.consumer();
  EXPECT_EQ(consumer.peak(), 700);
  ASSERT_TRUE(reservation.shrink(300));
  ASSERT_TRUE(reservation.try_grow(100));
  EXPECT_EQ(consumer.peak(), 700);
  ASSERT_TRUE(reservation.shrink(200));
  consumer.reset_peak();
  EXPECT_EQ(consumer.peak(), 300);
  ASSERT_TRUE(reservation.try_grow(200));
  EXPECT_EQ(consumer.peak(), 500);
}

TEST(Peaks, ARefusedGrowthIsNotCounted) {
  const auto pool = MemoryPool::greedy(1024);
  auto reservation = open(pool, "r");
  ASSERT_TRUE(reservation.try_grow(600));
  EXPECT_FALSE(reservation.try_grow(600));
  EXPECT_EQ(reservation.consumer().peak(), 600);
}

}  // namespace
}  // namespace membroker
