// Reservations and consumers at their edges, pools that programs derive, and many threads.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "membroker/memory_pool.h"
#include "membroker/testing.h"
#include "shared/bytes.h"

namespace membroker {
namespace {

using std::chrono::milliseconds;

TEST(ReservationTest, ErrorsChangeNothing) {
  const auto pool = MemoryPool::greedy(100);
  auto reservation = MemoryConsumer("r").register_with(pool);
  ASSERT_TRUE(reservation.try_grow(10));
  EXPECT_EQ(reservation.try_grow(-1).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(reservation.grow(-1).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(reservation.shrink(-1).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(reservation.shrink(11).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(reservation.try_shrink(11).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(reservation.split(11).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(reservation.resize(-1).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(reservation.try_resize(101).error().code(), ErrorCode::kResourcesExhausted);
  EXPECT_EQ(reservation.acquire(-1, 5, Deadline::now()).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(reservation.acquire(5, 4, Deadline::now()).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(reservation.size(), 10);
  EXPECT_EQ(pool->reserved(), 10);
  EXPECT_EQ(reservation.try_shrink(4), 6);
  EXPECT_TRUE(reservation.resize(120));
  EXPECT_EQ(pool->metrics().overdraft_bytes, 20);
}

TEST(ReservationTest, OneOfNoPoolHoldsNothing) {
  MemoryReservation none;
  EXPECT_FALSE(none);
  EXPECT_EQ(none.size(), 0);
  EXPECT_EQ(none.free(), 0);
  EXPECT_TRUE(none.try_grow(0));
  EXPECT_EQ(none.try_grow(1).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(none.pool(), nullptr);
  EXPECT_EQ(none.spill_requested(), 0);
  none = MemoryConsumer("r").register_with(MemoryPool::greedy(10));
  ASSERT_TRUE(none.try_grow(5));
  MemoryReservation other = std::move(none);
  EXPECT_EQ(other.size(), 5);
  EXPECT_EQ(none.size(), 0);  // NOLINT(bugprone-use-after-move): what it promises
}

TEST(ReservationTest, ARegisteredConsumerIsNotRegisteredTwice) {
  const auto pool = MemoryPool::greedy(10);
  MemoryConsumer consumer("c");
  auto first = consumer.register_with(pool);
  auto second = consumer.register_with(pool);
  EXPECT_EQ(first.consumer(), consumer);
  EXPECT_NE(second.consumer().id(), consumer.id());
  EXPECT_EQ(second.consumer().name(), "c");
  EXPECT_EQ(pool->metrics().consumers.size(), 2u);
}

TEST(ReservationTest, PoolsLiveAsLongAsTheirReservations) {
  MemoryReservation reservation;
  {
    const auto pool = MemoryPool::fair_spill(100);
    reservation = MemoryConsumer("r").with_can_spill(true).register_with(pool);
  }
  EXPECT_TRUE(reservation.try_grow(100));
  EXPECT_FALSE(reservation.try_grow(1));
}

/// Counts, and passes on: a pool that a program derives around another.
class CountingPool final : public MemoryPool {
 public:
  explicit CountingPool(std::shared_ptr<MemoryPool> inner) : inner_(std::move(inner)) {}
  std::string name() const override { return "counting"; }
  MemoryLimit limit() const override { return inner_->limit(); }
  std::int64_t reserved() const override { return inner_->reserved(); }
  Status try_grow(MemoryReservation& reservation, std::int64_t n) override {
    ++calls;
    return inner_->try_grow(reservation, n);
  }
  void grow(MemoryReservation& reservation, std::int64_t n) override {
    inner_->grow(reservation, n);
  }
  void shrink(MemoryReservation& reservation, std::int64_t n) override {
    ++calls;
    inner_->shrink(reservation, n);
  }
  void register_consumer(const MemoryConsumer& consumer) override { names += consumer.name(); }
  void unregister_consumer(const MemoryConsumer&) override { names.clear(); }

  std::atomic<int> calls{0};
  std::string names;

 private:
  std::shared_ptr<MemoryPool> inner_;
};

TEST(DerivedPoolTest, MayWrapAnother) {
  const auto inner = MemoryPool::greedy(100);
  const auto pool = std::make_shared<CountingPool>(inner);
  {
    auto reservation = MemoryConsumer("r").register_with(pool);
    EXPECT_EQ(pool->names, "r");
    EXPECT_TRUE(reservation.try_grow(60));
    EXPECT_FALSE(reservation.try_grow(41));
    EXPECT_EQ(reservation.acquire(10, 50, milliseconds(1)), 10);
    EXPECT_EQ(reservation.size(), 70);
    EXPECT_EQ(inner->reserved(), 70);
    EXPECT_EQ(reservation.consumer().used(), 70);
    auto part = reservation.split(20);
    ASSERT_TRUE(part);
    EXPECT_EQ(part->size(), 20);
    EXPECT_EQ(reservation.consumer().used(), 70);
    EXPECT_TRUE(reservation.shrink(30));
    EXPECT_EQ(inner->reserved(), 40);
  }
  EXPECT_EQ(inner->reserved(), 0);
  EXPECT_EQ(pool->names, "");
  EXPECT_GT(pool->calls.load(), 4);
}

TEST(UnboundedPoolTest, GrantsAllThatFitsAnInteger) {
  const auto pool = MemoryPool::unbounded();
  auto reservation = MemoryConsumer("r").register_with(pool);
  EXPECT_TRUE(reservation.try_grow(INT64_MAX));
  EXPECT_FALSE(reservation.try_grow(1));
  EXPECT_EQ(reservation.free(), INT64_MAX);
  EXPECT_EQ(pool->limit(), MemoryLimit::infinite());
}

// ---- many threads ----

// A refusal means that the bytes were nowhere: with all the others idle, whatever credit they keep,
// one thread gets everything.
TEST(ManyThreadsTest, IdleCreditDoesNotRefuse) {
  for (const auto& pool : {MemoryPool::greedy(64 * kMiB), MemoryPool::fair_spill(64 * kMiB)}) {
    std::vector<MemoryReservation> idle;
    for (int i = 0; i < 20; ++i) {
      idle.push_back(MemoryConsumer("idle").with_can_spill(true).register_with(pool));
      ASSERT_TRUE(idle.back().try_grow(100'000));
      ASSERT_TRUE(idle.back().shrink(100'000));
    }
    auto all = MemoryConsumer("all").with_can_spill(true).register_with(pool);
    EXPECT_TRUE(all.try_grow(64 * kMiB));
    EXPECT_FALSE(idle.front().try_grow(1));
    all.free();
    EXPECT_TRUE(idle.front().try_grow(1));
  }
}

void churn(const std::shared_ptr<MemoryPool>& pool, std::uint32_t seed, int rounds,
           std::atomic<std::int64_t>& total, std::int64_t limit) {
  std::minstd_rand random(seed);
  auto first = MemoryConsumer("churn").with_can_spill(seed % 2 == 0).register_with(pool);
  std::vector<MemoryReservation> mine;
  mine.push_back(first.new_empty());
  mine.push_back(std::move(first));
  for (int i = 0; i < rounds; ++i) {
    MemoryReservation& one = mine[random() % 2];
    const auto n = static_cast<std::int64_t>(random() % 20'000);
    switch (random() % 4) {
      case 0:
      case 1:
        if (one.try_grow(n)) {
          EXPECT_LE(total.fetch_add(n) + n, limit);
        }
        break;
      case 2: {
        const std::int64_t part = std::min(n, one.size());
        total -= part;
        EXPECT_TRUE(one.shrink(part));
        break;
      }
      default:
        if (random() % 50 == 0) {
          total -= one.size();
          one.free();
        }
    }
  }
  for (MemoryReservation& one : mine) {
    total -= one.size();
    one.free();
  }
}

TEST(ManyThreadsTest, TheSumNeverPassesTheSize) {
  constexpr std::int64_t kSize = 300'000;  // tight: most calls go through the pool
  for (const std::int64_t size : {kSize, 64 * kMiB}) {
    const auto pool = MemoryPool::greedy(size);
    std::atomic<std::int64_t> total{0};
    std::vector<std::thread> threads;
    for (std::uint32_t i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] { churn(pool, i + 1, 20'000, total, size); });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(pool->reserved(), 0);
    EXPECT_EQ(total.load(), 0);
  }
}

TEST(ManyThreadsTest, RevocationsAndLostStreamsBesideUse) {
  constexpr std::int64_t kCapacity = 8 * kMiB;
  testing::ScriptedDaemon daemon({.capacity_bytes = kCapacity, .floor_bytes = kMiB});
  std::atomic<std::int64_t> total{0};
  std::atomic<int> running{3};
  std::vector<std::thread> threads;
  for (std::uint32_t i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      churn(daemon.pool(), i + 1, 5'000, total, kCapacity);
      --running;
    });
  }
  std::minstd_rand random(7);
  while (running > 0) {
    switch (random() % 4) {
      case 0: daemon.revoke(kMiB, milliseconds(20)); break;
      case 1: daemon.withdraw_revocation(); break;
      case 2:
        daemon.detach();
        daemon.attach();
        break;
      default: std::this_thread::yield();
    }
    EXPECT_LE(daemon.held(), kCapacity);
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(daemon.pool()->reserved(), 0);
  EXPECT_EQ(daemon.overdrawn_total(), 0);
  daemon.revoke(kCapacity, milliseconds(200));
  EXPECT_EQ(daemon.held(), kMiB);  // the floor
}

}  // namespace
}  // namespace membroker
