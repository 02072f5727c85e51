// Scenarios 24 and 25 of the reference, by a PoolWatch: exact peaks of pools, and drift.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "membroker/memory_pool.h"
#include "membroker/pool_watch.h"

namespace membroker {
namespace {

MemoryReservation open(const std::shared_ptr<MemoryPool>& pool, const std::string& name) {
  return MemoryConsumer(name).with_can_spill(true).register_with(pool);
}

TEST(Peaks, OfAPoolSinceResetAndSinceCreation) {
  const auto watch = PoolWatch::make();
  const auto pool = MemoryPool::greedy(1024)->tracked(5, watch);
  auto first = open(pool, "first");
  auto second = open(pool, "second");
  ASSERT_TRUE(first.try_grow(300));
  ASSERT_TRUE(second.try_grow(400));
  EXPECT_EQ(watch->report().peak_bytes, 700);
  ASSERT_TRUE(first.shrink(300));
  ASSERT_TRUE(first.try_grow(100));
  EXPECT_EQ(watch->report().peak_bytes, 700);
  ASSERT_TRUE(second.shrink(200));
  watch->reset_peaks();
  EXPECT_EQ(watch->report().peak_bytes, 300);
  ASSERT_TRUE(first.try_grow(200));
  EXPECT_EQ(watch->report().peak_bytes, 500);
  EXPECT_EQ(watch->report().max_bytes, 700);
  ASSERT_TRUE(first.try_grow(300));
  EXPECT_EQ(watch->report().max_bytes, 800);
  watch->reset_peaks();
  EXPECT_EQ(watch->report().max_bytes, 800);
}

TEST(Peaks, OfAPoolWithoutWhatWasRefused) {
  const auto watch = PoolWatch::make();
  const auto pool = MemoryPool::greedy(1024)->tracked(5, watch);
  auto reservation = open(pool, "r");
  ASSERT_TRUE(reservation.try_grow(600));
  EXPECT_FALSE(reservation.try_grow(600));
  EXPECT_EQ(watch->report().peak_bytes, 600);
}

TEST(Drift, ItsPeakNamesTheConsumerAtFault) {
  for (const auto& inner :
       {MemoryPool::greedy(1 << 20), MemoryPool::fair_spill(1 << 20), MemoryPool::unbounded(),
        std::static_pointer_cast<MemoryPool>(MemoryPool::greedy(1 << 20)->nested("nested"))}) {
    std::atomic<std::int64_t> allocated{1000};
    const auto watch = PoolWatch::make([&] { return allocated.load(); });
    const auto pool = inner->tracked(5, watch);
    auto a = open(pool, "a");
    auto b = open(pool, "b");
    ASSERT_TRUE(a.try_grow(800));
    allocated = 5000;
    ASSERT_TRUE(b.try_grow(200));
    allocated = 1500;
    ASSERT_TRUE(a.shrink(800));
    const WatchReport report = watch->report();
    EXPECT_EQ(report.peak_drift_bytes, 4000);
    EXPECT_EQ(report.peak_drift_consumer, "b");
    EXPECT_EQ(report.peak_drift_reserved_bytes, 1000);
    EXPECT_EQ(report.reserved_bytes, 200);
    EXPECT_EQ(report.allocated_bytes, 1500);
    EXPECT_EQ(report.drift_bytes, 1300);
    EXPECT_EQ(pool->reserved(), 200);
  }
}

TEST(Drift, OfSeveralPoolsTogether) {
  const auto watch = PoolWatch::make([] { return std::int64_t{1000}; });
  const auto one = MemoryPool::greedy(600)->nested("one")->tracked(5, watch);
  const auto two = MemoryPool::greedy(600)->tracked(5, watch);
  auto first = open(one, "first");
  auto second = open(two, "second");
  ASSERT_TRUE(first.try_grow(300));
  ASSERT_TRUE(second.try_grow(400));
  EXPECT_FALSE(second.try_grow(400));  // a growth that failed is not counted
  const WatchReport report = watch->report();
  EXPECT_EQ(report.reserved_bytes, 700);
  EXPECT_EQ(report.peak_drift_bytes, 700);
  EXPECT_EQ(report.peak_drift_consumer, "first");
  EXPECT_EQ(report.peak_drift_pool, "one");
  EXPECT_EQ(report.drift_bytes, 300);
}

TEST(Drift, SizesAreSigned) {
  const auto watch = PoolWatch::make([] { return std::int64_t{0}; });
  const auto pool = MemoryPool::greedy(1 << 20)->tracked(5, watch);
  auto reservation = open(pool, "r");
  EXPECT_EQ(watch->report().to_string(),
            "reserved 0.0 B, peak 0.0 B; allocated 0.0 B; drift 0.0 B");
  ASSERT_TRUE(reservation.try_grow(2048));
  EXPECT_EQ(watch->report().drift_bytes, -2048);
  EXPECT_EQ(watch->report().to_string(),
            "reserved 2.0 KB, peak 2.0 KB; allocated 0.0 B; drift -2.0 KB, -2.0 KB at its peak, by "
            "r of greedy with 2.0 KB reserved");
}

TEST(Drift, WithoutACallBackOfPagesAndAllocators) {
  const auto watch = PoolWatch::make();
  const auto pool = MemoryPool::greedy(1 << 20)->tracked(5, watch);
  auto reservation = MemoryConsumer("pages").with_page_size(4096).register_with(pool);
  MemoryConsumer consumer = reservation.consumer();
  const auto page = consumer.allocate_page(100);
  ASSERT_TRUE(page);
  ASSERT_TRUE(reservation.try_grow(1000));
  const WatchReport report = watch->report();
  EXPECT_EQ(report.reserved_bytes, 5096);
  EXPECT_EQ(report.allocated_bytes, 4096);
  EXPECT_EQ(report.drift_bytes, -1000);
  ASSERT_TRUE(consumer.free_page(*page));
  EXPECT_EQ(watch->report().drift_bytes, -1000);
}

TEST(Drift, EveryWayToGrowAndShrinkIsSeen) {
  const auto watch = PoolWatch::make([] { return std::int64_t{0}; });
  const auto pool = MemoryPool::greedy(1 << 20)->tracked(5, watch);
  const auto seen = [&] { return watch->report().reserved_bytes; };
  auto first = open(pool, "r");
  ASSERT_TRUE(first.grow(100));
  EXPECT_EQ(seen(), 100);
  EXPECT_EQ(first.acquire(1, 50, std::chrono::seconds(1)), 50);
  EXPECT_EQ(seen(), 150);
  std::promise<Result<std::int64_t>> done;
  first.acquire_async(1, 50, std::chrono::seconds(10), [&](auto got) { done.set_value(got); });
  EXPECT_EQ(done.get_future().get(), 50);
  EXPECT_EQ(seen(), 200);
  auto part = first.split(80);
  ASSERT_TRUE(part);
  EXPECT_EQ(seen(), 200);
  ASSERT_TRUE(part->try_resize(30));
  EXPECT_EQ(seen(), 150);
  *part = {};
  EXPECT_EQ(seen(), 120);
  EXPECT_EQ(first.free(), 120);
  EXPECT_EQ(seen(), 0);
  EXPECT_EQ(watch->report().max_bytes, 200);
}

TEST(Drift, ManyThreads) {
  const auto watch = PoolWatch::make();
  const auto pool = MemoryPool::greedy(1 << 20)->tracked(5, watch);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      auto mine = open(pool, "mine");
      for (int n = 0; n < 2'000; ++n) {
        EXPECT_TRUE(mine.try_grow(64));
        if (n % 2 == 0) {
          EXPECT_TRUE(mine.shrink(64));
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(watch->report().reserved_bytes, 0);
  EXPECT_LE(watch->report().max_bytes, 4 * 1001 * 64);
  EXPECT_GE(watch->report().max_bytes, 1000 * 64);
}

}  // namespace
}  // namespace membroker
