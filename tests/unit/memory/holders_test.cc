// Who still holds what: the report of leaks, for every kind of pool.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "membroker/memory_pool.h"
#include "membroker/testing.h"
#include "shared/bytes.h"
#include "tests/kit/comes_true.h"

namespace membroker {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// "within/consumer bytes" of each holder.
std::vector<std::string> lines(const MemoryPool& pool) {
  std::vector<std::string> lines;
  for (const PoolHolder& holder : pool.holders()) {
    const std::string within = holder.within.empty() ? "" : holder.within + "/";
    lines.push_back(within + holder.consumer + " " + std::to_string(holder.held_bytes));
  }
  return lines;
}

std::int64_t sum(const MemoryPool& pool) {
  const auto holders = pool.holders();
  return std::accumulate(holders.begin(), holders.end(), std::int64_t{0},
                         [](auto sum, const auto& holder) { return sum + holder.held_bytes; });
}

MemoryReservation holding(const std::shared_ptr<MemoryPool>& pool, const std::string& name,
                          std::int64_t bytes) {
  auto reservation = MemoryConsumer(name).register_with(pool);
  EXPECT_TRUE(reservation.acquire(bytes, bytes, seconds(10)));
  return reservation;
}

class HoldersTest : public ::testing::TestWithParam<std::shared_ptr<MemoryPool> (*)()> {};

INSTANTIATE_TEST_SUITE_P(
    OfEveryPool, HoldersTest,
    ::testing::Values([] { return MemoryPool::unbounded(); },
                      [] { return MemoryPool::greedy(10'000); },
                      [] { return MemoryPool::fair_spill(10'000); },
                      [] { return std::shared_ptr<MemoryPool>(MemoryPool::task_fair(10'000)); },
                      [] { return MemoryPool::task_fair(10'000)->task(7); },
                      [] { return MemoryPool::greedy(10'000)->tracked(3); },
                      [] { return MemoryPool::task_fair(10'000)->task(7)->tracked(3); },
                      [] {
                        return std::shared_ptr<MemoryPool>(
                            MemoryPool::greedy(10'000)->nested("outer", 500));
                      }));

TEST_P(HoldersTest, AreNamedWithTheirBytesLargestFirst) {
  const auto pool = GetParam()();
  EXPECT_THAT(pool->holders(), IsEmpty());
  auto join = holding(pool, "join", 300);
  auto more = join.new_empty();  // a consumer is named once, with all it has
  ASSERT_TRUE(more.try_grow(50));
  auto sort = MemoryConsumer("sort").with_can_spill(true).register_with(pool);
  ASSERT_TRUE(sort.try_grow(700));
  auto idle = MemoryConsumer("idle").register_with(pool);
  EXPECT_THAT(lines(*pool), ElementsAre("sort 700", "join 350"));
  EXPECT_EQ(pool->holders()[0].consumer_id, sort.consumer().id());
  EXPECT_TRUE(pool->holders()[0].can_spill);
  EXPECT_FALSE(pool->holders()[1].can_spill);
  EXPECT_EQ(sum(*pool), pool->reserved());
  sort.free();
  EXPECT_THAT(lines(*pool), ElementsAre("join 350"));
  join.free();
  more.free();
  EXPECT_THAT(pool->holders(), IsEmpty());
}

TEST_P(HoldersTest, OfNestedPoolsAreNamedWithThePathToThem) {
  const auto pool = GetParam()();
  const auto query = pool->nested("query");
  const auto operators = query->nested("probe", 400);
  auto scan = holding(query, "scan", 20);
  auto hash = holding(operators, "hash table", 600);
  auto plain = holding(pool, "plain", 10);
  EXPECT_THAT(lines(*pool), ElementsAre("query/probe/hash table 600", "query/scan 20", "plain 10"));
  EXPECT_EQ(pool->holders()[0].consumer_id, hash.consumer().id());
  EXPECT_THAT(lines(*query), ElementsAre("probe/hash table 600", "scan 20"));
  EXPECT_THAT(lines(*operators), ElementsAre("hash table 600"));
  EXPECT_EQ(sum(*pool), pool->reserved());
  // What it retains is its own, named where it is registered.
  ASSERT_TRUE(hash.shrink(550));
  EXPECT_THAT(lines(*pool), ElementsAre("query/probe 350", "query/probe/hash table 50",
                                        "query/scan 20", "plain 10"));
  EXPECT_EQ(sum(*pool), pool->reserved());
  hash.free();
  const auto loan = operators->borrow(100);
  operators->release_unused();
  EXPECT_THAT(lines(*pool), ElementsAre("query/probe 100", "query/scan 20", "plain 10"));
  EXPECT_THAT(lines(*operators), ElementsAre("probe 100"));
  EXPECT_EQ(operators->holders()[0].consumer_id, 0U);
}

TEST_P(HoldersTest, OfPagesAreNamed) {
  const auto pool = GetParam()();
  Page page;
  {
    auto reservation = MemoryConsumer("pages").with_page_size(4096).register_with(pool);
    MemoryConsumer consumer = reservation.consumer();
    page = consumer.allocate_page(100).value_or(Page{});
    ASSERT_EQ(page.bytes, 4096);
    EXPECT_THAT(lines(*pool), ElementsAre("pages 4096"));
    EXPECT_TRUE(consumer.free_page(page));
  }
  EXPECT_THAT(pool->holders(), IsEmpty());
}

TEST_P(HoldersTest, AreReadWhileOthersUseThePool) {
  const auto pool = GetParam()();
  const auto nested = pool->nested("nested");
  std::atomic<bool> done{false};
  std::vector<std::thread> users;
  for (const auto& used : {pool, std::shared_ptr<MemoryPool>(nested)}) {
    users.emplace_back([&done, used] {
      while (!done.load()) {
        auto reservation = MemoryConsumer("user").register_with(used);
        const bool grown = reservation.try_grow(100).has_value();
        EXPECT_TRUE(!grown || reservation.shrink(40));
      }
    });
  }
  int seen = 0;
  EXPECT_TRUE(testing::comes_true([&] {
    for (const PoolHolder& holder : pool->holders()) {
      EXPECT_GT(holder.held_bytes, 0);
      ++seen;
    }
    return seen > 20;
  }));
  done.store(true);
  for (std::thread& user : users) user.join();
  EXPECT_THAT(pool->holders(), IsEmpty());
}

TEST(HoldersOfTasksTest, AreNamedWithTheirTask) {
  const auto pool = MemoryPool::task_fair(1'000);
  const auto three = pool->task(3);
  auto direct = holding(pool, "cache", 10);
  auto sort = holding(three, "sort", 400);
  auto nested = holding(three->nested("join"), "build", 50);
  MemoryReservation other = holding(pool->task(12), "sort", 300);  // the pool has no other handle
  EXPECT_THAT(lines(*pool), ElementsAre("task 3/sort 400", "task 12/sort 300",
                                        "task 3/join/build 50", "cache 10"));
  EXPECT_THAT(lines(*three), ElementsAre("sort 400", "join/build 50"));
  EXPECT_EQ(sum(*three), three->reserved());
  EXPECT_EQ(sum(*pool), pool->reserved());
}

TEST(HoldersOfTrackedTest, AreThoseRegisteredThroughTheHandle) {
  const auto pool = MemoryPool::greedy(1'000);
  const auto tracked = pool->tracked(1);
  auto here = holding(tracked, "here", 10);
  auto too = holding(tracked, "too", 5);  // more than the refusals name
  auto elsewhere = holding(pool, "elsewhere", 100);
  EXPECT_THAT(lines(*tracked), ElementsAre("here 10", "too 5"));
  EXPECT_THAT(lines(*pool), ElementsAre("elsewhere 100", "here 10", "too 5"));
}

TEST(HoldersOfALeaseTest, AreNamedWithTheWorkspaceAmongThem) {
  testing::ScriptedDaemon daemon({.capacity_bytes = 64 * kMiB, .floor_bytes = 4 * kMiB});
  const auto pool = daemon.pool();
  auto sort = holding(pool, "sort", kMiB);
  auto build = holding(pool->nested("join"), "build", 2 * kMiB);
  EXPECT_THAT(lines(*pool), ElementsAre("join/build " + std::to_string(2 * kMiB),
                                        "sort " + std::to_string(kMiB)));
  EXPECT_EQ(sum(*pool), pool->reserved());
  ASSERT_TRUE(sort.grow(80 * kMiB));  // what is overdrawn is held too
  EXPECT_EQ(lines(*pool)[0], "sort " + std::to_string(81 * kMiB));
}

/// Passes everything on to another pool; with `names` its consumers too.
class WrappingPool final : public MemoryPool {
 public:
  WrappingPool(std::shared_ptr<MemoryPool> inner, bool names)
      : inner_(std::move(inner)), names_(names) {}
  std::string name() const override { return "wrapping"; }
  MemoryLimit limit() const override { return inner_->limit(); }
  std::int64_t reserved() const override { return inner_->reserved(); }
  Status try_grow(MemoryReservation& reservation, std::int64_t n) override {
    return inner_->try_grow(reservation, n);
  }
  void grow(MemoryReservation& reservation, std::int64_t n) override {
    inner_->grow(reservation, n);
  }
  void shrink(MemoryReservation& reservation, std::int64_t n) override {
    inner_->shrink(reservation, n);
  }
  void register_consumer(const MemoryConsumer& consumer) override {
    if (names_) inner_->register_consumer(consumer);
  }
  void unregister_consumer(const MemoryConsumer& consumer) override {
    if (names_) inner_->unregister_consumer(consumer);
  }

 private:
  const std::shared_ptr<MemoryPool> inner_;  // shared with the test
  const bool names_;
};

TEST(HoldersOfADerivedPoolTest, AreNamedByThePoolUnlessItNamesThem) {
  for (const auto& inner : {MemoryPool::greedy(1'000), MemoryPool::unbounded()}) {
    const auto silent = std::make_shared<WrappingPool>(inner, false);
    auto unknown = holding(silent, "unknown", 30);
    EXPECT_THAT(lines(*silent), ElementsAre("wrapping 30"));
    EXPECT_EQ(silent->holders()[0].consumer_id, 0U);
    EXPECT_THAT(lines(*inner), ElementsAre("wrapping pools 30"));
    const auto naming = std::make_shared<WrappingPool>(inner, true);
    auto known = holding(naming, "known", 50);
    EXPECT_THAT(lines(*inner), ElementsAre("known 50", "wrapping pools 30"));
    EXPECT_EQ(sum(*inner), inner->reserved()) << "nobody is counted twice";
    const auto tracked = std::make_shared<WrappingPool>(inner, false)->tracked();
    auto seen = holding(tracked, "seen", 5);
    EXPECT_THAT(lines(*tracked), ElementsAre("seen 5"));
  }
}

}  // namespace
}  // namespace membroker
