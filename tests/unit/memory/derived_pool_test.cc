// A pool that a program derives: with consumers, spilling, tracking and nesting.
#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <vector>

#include "membroker/memory_pool.h"
#include "membroker/pool_watch.h"

namespace membroker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Half of the size each; who is refused has the others spill, in the order they came.
class HalfEachPool final : public MemoryPool {
 public:
  explicit HalfEachPool(std::int64_t size) : size_(size) {}

  std::string name() const override { return "half_each"; }
  MemoryLimit limit() const override { return MemoryLimit::finite(size_); }
  MemoryLimit limit_for(const MemoryConsumer&) const override {
    return MemoryLimit::finite(size_ / 2);
  }
  std::int64_t reserved() const override {
    const std::lock_guard lock(mutex_);
    return used_;
  }
  Status try_grow(MemoryReservation& reservation, std::int64_t n) override {
    const std::lock_guard lock(mutex_);
    if (reservation.consumer().used() + n > size_ / 2 || used_ + n > size_) {
      return fail(ErrorCode::kResourcesExhausted, "half_each: no more for you");
    }
    used_ += n;
    return {};
  }
  void grow(MemoryReservation&, std::int64_t n) override {
    const std::lock_guard lock(mutex_);
    used_ += n;
  }
  void shrink(MemoryReservation&, std::int64_t n) override {
    const std::lock_guard lock(mutex_);
    used_ -= n;
  }
  Result<std::int64_t> acquire(MemoryReservation& reservation, std::int64_t min, std::int64_t want,
                               Deadline, const AcquireOptions&) override {
    if (try_grow(reservation, want)) return want;
    for (MemoryConsumer& other : consumers()) {
      if (other == reservation.consumer() || !other.can_spill()) continue;
      static_cast<void>(other.spill(want));
      if (try_grow(reservation, want)) return want;
    }
    if (auto grown = try_grow(reservation, min); !grown) return fail(grown.error());
    return min;
  }
  void register_consumer(const MemoryConsumer& consumer) override {
    const std::lock_guard lock(mutex_);
    consumers_.push_back(consumer);
  }
  void unregister_consumer(const MemoryConsumer& consumer) override {
    const std::lock_guard lock(mutex_);
    std::erase(consumers_, consumer);
  }
  std::vector<MemoryConsumer> consumers() const {
    const std::lock_guard lock(mutex_);
    return consumers_;
  }

 private:
  const std::int64_t size_;
  mutable std::mutex mutex_;
  std::int64_t used_ = 0;
  std::vector<MemoryConsumer> consumers_;
};

TEST(DerivedPoolTest, ItsPolicyRulesAndItMaySpill) {
  const auto pool = std::make_shared<HalfEachPool>(100);
  MemoryReservation cache;
  cache = MemoryConsumer("cache")
              .with_spill([&](const SpillRequest& request) {
                EXPECT_EQ(request.trigger, SpillTrigger::kExplicit);
                EXPECT_EQ(cache.try_grow(1).error().code(), ErrorCode::kGrowInSpill);
                EXPECT_EQ(cache.acquire(1, 1, seconds(1)).error().code(), ErrorCode::kGrowInSpill);
                return cache.free();
              })
              .register_with(pool);
  auto rigid = MemoryConsumer("rigid").register_with(pool);
  ASSERT_TRUE(cache.try_grow(50));
  EXPECT_FALSE(cache.try_grow(1));
  ASSERT_TRUE(rigid.try_grow(30));
  EXPECT_EQ(pool->limit_for(rigid.consumer()), MemoryLimit::finite(50));
  auto third = MemoryConsumer("third").register_with(pool);
  EXPECT_EQ(third.acquire(40, 40, seconds(1)), 40);
  EXPECT_EQ(cache.size(), 0);
  EXPECT_EQ(pool->reserved(), 70);
  EXPECT_EQ(pool->consumers().size(), 3U);
  third = {};
  EXPECT_EQ(pool->consumers().size(), 2U);
  EXPECT_EQ(pool->reserved(), 30);
}

TEST(DerivedPoolTest, TrackedItListsItsConsumers) {
  const auto pool = std::make_shared<HalfEachPool>(100)->tracked(2);
  auto first = MemoryConsumer("first").register_with(pool);
  auto second = MemoryConsumer("second").register_with(pool);
  ASSERT_TRUE(first.try_grow(50));
  ASSERT_TRUE(second.try_grow(20));
  const auto refused = first.try_grow(1);
  ASSERT_FALSE(refused);
  const std::string& text = refused.error().message();
  EXPECT_NE(text.find("half_each: no more for you"), std::string::npos) << text;
  EXPECT_NE(text.find("(can spill: false) reserved 50.0 B, peak 50.0 B"), std::string::npos)
      << text;
  EXPECT_EQ(pool->metrics().reserved_bytes, 70);
  EXPECT_EQ(first.consumer().peak(), 50);
}

TEST(DerivedPoolTest, ItMayHaveNestedPools) {
  const auto pool = std::make_shared<HalfEachPool>(100);
  const auto child = pool->nested("merge", 10);
  auto inside = MemoryConsumer("inside").register_with(child);
  ASSERT_TRUE(inside.try_grow(50));
  EXPECT_FALSE(inside.try_grow(1));
  EXPECT_EQ(inside.acquire(0, 20, milliseconds(10)), 0);
  EXPECT_EQ(pool->consumers().size(), 1U);
  inside.free();
  EXPECT_EQ(pool->reserved(), 10);
}

}  // namespace
}  // namespace membroker
