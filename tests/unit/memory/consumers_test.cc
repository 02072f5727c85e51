// Consumers as their pool, a watch and a lender see them, while they come, go and give on.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <future>
#include <latch>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "client/lease/fixed_source.h"
#include "client/memory/consumer_state.h"
#include "client/memory/lease_pool.h"
#include "membroker/memory_pool.h"
#include "membroker/pool_watch.h"
#include "shared/bytes.h"

namespace membroker {
namespace {

using detail::PoolAccess;
using std::chrono::seconds;

MemoryReservation open(const std::shared_ptr<MemoryPool>& pool, const std::string& name,
                       bool can_spill = false) {
  return MemoryConsumer(name).with_can_spill(can_spill).register_with(pool);
}

/// Of 100 bytes. What the test sets runs inside shrink(), when the bytes are free.
class HandsOnPool final : public MemoryPool {
 public:
  std::function<void()> in_shrink;

  std::string name() const override { return "hands_on"; }
  MemoryLimit limit() const override { return MemoryLimit::finite(100); }
  std::int64_t reserved() const override { return used_.load(); }
  Status try_grow(MemoryReservation&, std::int64_t n) override {
    if (used_.fetch_add(n) + n <= 100) return {};
    used_.fetch_sub(n);
    return fail(ErrorCode::kResourcesExhausted, "full");
  }
  void grow(MemoryReservation&, std::int64_t n) override { used_.fetch_add(n); }
  void shrink(MemoryReservation&, std::int64_t n) override {
    used_.fetch_sub(n);
    if (in_shrink) in_shrink();
  }

 private:
  std::atomic<std::int64_t> used_{0};
};

TEST(ConsumerEndTest, NoCallBackRunsWhenTheLastTwoReservationsEndedAtOnce) {
  const auto pool = std::make_shared<HandsOnPool>();
  std::latch both(2);
  pool->in_shrink = [&] { both.arrive_and_wait(); };
  int calls = 0;
  MemoryConsumer consumer("c");
  consumer.with_spill([&](const SpillRequest&) {
    ++calls;
    return std::int64_t{0};
  });
  auto first = consumer.register_with(pool);
  auto second = first.new_empty();
  ASSERT_TRUE(first.try_grow(10));
  ASSERT_TRUE(second.try_grow(10));
  std::thread other([&] { first = {}; });
  second = {};
  other.join();
  EXPECT_EQ(consumer.spill(), 0);
  EXPECT_EQ(calls, 0);
  EXPECT_EQ(consumer.register_with(pool).consumer().id(), consumer.id());  // no clone: it had ended
}

// Two of one consumer, which go up and down within their credit.
struct Siblings {
  explicit Siblings(const std::shared_ptr<MemoryPool>& pool)
      : first(open(pool, "c")), second(first.new_empty()) {}
  bool counts_together() const {
    return (detail::PoolAccess::state(first)->word() & detail::CreditShard::kShared) != 0;
  }
  MemoryReservation first;
  MemoryReservation second;
};

TEST(ConsumerPeakTest, IsExactOfSeveralReservationsInATrackedPool) {
  Siblings both(MemoryPool::greedy(1 << 20)->tracked());
  EXPECT_TRUE(both.counts_together());
  ASSERT_TRUE(both.first.try_grow(300));
  ASSERT_TRUE(both.second.try_grow(200));
  ASSERT_TRUE(both.first.shrink(300));
  ASSERT_TRUE(both.second.try_grow(250));
  EXPECT_EQ(both.first.consumer().used(), 450);
  EXPECT_EQ(both.first.consumer().peak(), 500);
}

TEST(ConsumerPeakTest, CostsNothingWhereNobodyKeepsTrackAndIsNeverTooLow) {
  Siblings both(MemoryPool::greedy(1 << 20));
  EXPECT_FALSE(both.counts_together());
  ASSERT_TRUE(both.first.try_grow(300));
  ASSERT_TRUE(both.second.try_grow(200));
  ASSERT_TRUE(both.first.shrink(300));
  ASSERT_TRUE(both.second.try_grow(250));
  MemoryConsumer consumer = both.first.consumer();
  EXPECT_EQ(consumer.used(), 450);
  EXPECT_GE(consumer.peak(), 500);
  EXPECT_LE(consumer.peak(), 500 + (1 << 19));
  consumer.reset_peak();
  EXPECT_EQ(consumer.peak(), 450);
  both.second = {};
  both.first = {};
  EXPECT_EQ(consumer.used(), 0);
  EXPECT_GE(consumer.peak(), 450);
}

TEST(ConsumerPeakTest, WhatAWaiterGathersAndDoesNotGetIsNoPeak) {
  const auto pool = MemoryPool::greedy(100);
  Siblings both(pool);
  auto other = open(pool, "other");
  ASSERT_TRUE(other.try_grow(60));
  EXPECT_FALSE(both.first.acquire(80, 80, std::chrono::milliseconds(10)));
  EXPECT_EQ(both.first.consumer().peak(), 0);
}

// Each of these kinds of pool counts a consumer's several reservations in another way.
TEST(ConsumerPeakTest, OfOneThatGoesFromPoolToPool) {
  MemoryConsumer consumer("c");
  const std::vector<std::shared_ptr<MemoryPool>> pools = {MemoryPool::greedy(1 << 20),
                                                          MemoryPool::unbounded(),
                                                          MemoryPool::task_fair(1 << 20)->task(1),
                                                          MemoryPool::greedy(1 << 20)->tracked(),
                                                          MemoryPool::greedy(1 << 20),
                                                          MemoryPool::greedy(1 << 20)->nested("n"),
                                                          MemoryPool::greedy(1 << 20)};
  for (const auto& pool : pools) {
    auto first = consumer.register_with(pool);
    ASSERT_EQ(first.consumer().id(), consumer.id());
    consumer.reset_peak();
    EXPECT_EQ(consumer.peak(), 0);
    ASSERT_TRUE(first.try_grow(20));
    EXPECT_EQ(consumer.used(), 20);
    auto second = first.split(5);
    ASSERT_TRUE(second && second->try_grow(1));
    EXPECT_EQ(consumer.used(), 21) << pool->name();
    EXPECT_GE(consumer.peak(), 21) << pool->name();
  }
  consumer.reset_peak();
  EXPECT_EQ(consumer.peak(), 0);
}

TEST(ConsumerEndTest, ANestedPoolIsSpillableWhileOneInsideIs) {
  const auto parent = MemoryPool::greedy(100);
  const auto child = parent->nested("child");
  const auto grandchild = child->nested("grandchild");
  const auto is_spillable = [&] {
    for (const ConsumerMetrics& consumer : parent->metrics().consumers) {
      if (consumer.name == "child") return consumer.can_spill;
    }
    ADD_FAILURE() << "no child";
    return false;
  };
  auto fixed = open(grandchild, "fixed");
  EXPECT_FALSE(is_spillable());
  auto deep = open(grandchild, "deep", true);
  EXPECT_TRUE(is_spillable());
  auto deep_too = open(grandchild, "deep too", true);
  auto near = open(child, "near", true);
  deep = {};
  EXPECT_TRUE(is_spillable());
  near = {};
  EXPECT_TRUE(is_spillable());
  fixed = {};
  EXPECT_TRUE(is_spillable());
  deep_too = {};
  EXPECT_FALSE(is_spillable());
  near = open(child, "near", true);
  EXPECT_TRUE(is_spillable());
}

TEST(WatchTest, BytesHandedOnAreNotSeenTwice) {
  const auto pool = std::make_shared<HandsOnPool>();
  const auto watch = PoolWatch::make();
  const auto watched = pool->tracked(5, watch);
  auto first = open(watched, "first");
  auto second = open(watched, "second");
  const auto hand_on = [&](MemoryReservation& to, const std::function<void()>& give) {
    pool->in_shrink = [&] {
      MemoryReservation& grows = to;
      pool->in_shrink = nullptr;  // ends what this lambda holds
      EXPECT_TRUE(grows.try_grow(100));
    };
    give();
  };
  ASSERT_TRUE(first.try_grow(100));
  hand_on(second, [&] { EXPECT_TRUE(first.shrink(100)); });
  hand_on(first, [&] { EXPECT_EQ(second.free(), 100); });
  hand_on(second, [&] { first = {}; });
  EXPECT_EQ(watch->report().reserved_bytes, 100);
  EXPECT_EQ(watch->report().max_bytes, 100);
  EXPECT_FALSE(second.shrink(200));  // nothing changes
  EXPECT_EQ(watch->report().reserved_bytes, 100);
  EXPECT_EQ(watch->report().peak_drift_bytes, 0);
}

TEST(WatchTest, CountsPagesInNestedPoolsAndTakesNoConsumersLock) {
  const auto parent = MemoryPool::greedy(kMiB);
  const auto watch = PoolWatch::make();
  const auto watched = parent->tracked(5, watch);
  auto reservation =
      MemoryConsumer("pages").with_page_size(4096).register_with(watched->nested("child"));
  MemoryConsumer consumer = reservation.consumer();
  const auto page = consumer.allocate_page(100);
  ASSERT_TRUE(page);
  {
    std::unique_lock busy(PoolAccess::state(consumer)->mutex);
    auto report = std::async(std::launch::async, [&] { return watch->report(); });
    EXPECT_EQ(report.wait_for(seconds(10)), std::future_status::ready);
    busy.unlock();
    EXPECT_EQ(report.get().allocated_bytes, 4096);
  }
  ASSERT_TRUE(consumer.free_page(*page));
  EXPECT_EQ(watch->report().allocated_bytes, 0);
}

TEST(FixedSourceTest, AnswersWithoutAConsumersLock) {
  const auto pool = LeasePool::make("ram", {.floor = 0});
  const auto source = std::make_shared<lease::FixedSource>(4 * kMiB, pool->listener());
  pool->connect(source);
  source->attach(0);
  auto other = open(pool, "other", true);
  auto asker = open(pool, "asker");
  std::unique_lock busy(PoolAccess::state(other)->consumer->mutex);
  auto asked =
      std::async(std::launch::async, [&] { return asker.acquire(kMiB, kMiB, seconds(20)); });
  EXPECT_EQ(asked.wait_for(seconds(10)), std::future_status::ready);
  busy.unlock();
  EXPECT_EQ(asked.get(), kMiB);
}

}  // namespace
}  // namespace membroker
