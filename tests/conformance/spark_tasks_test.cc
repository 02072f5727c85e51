// Spark's memory manager: scenarios J (one task) and K (between tasks) of the reference, with its
// numbers. An acquire of Spark's is acquire(0, n): between nothing and n.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <thread>

#include "membroker/memory_pool.h"

namespace membroker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr AcquireOptions kSpillable{0, true};

/// A consumer whose spill frees everything it holds, as in Spark's suite.
class SpillingConsumer {
 public:
  SpillingConsumer(const std::shared_ptr<MemoryPool>& pool, const std::string& name)
      : reservation_(MemoryConsumer(name)
                         .with_spill([this](const SpillRequest& request) {
                           ++spills_;
                           last_ = request.trigger;
                           return reservation_.free();
                         })
                         .register_with(pool)) {}

  /// Needs all of it.
  std::int64_t acquire(std::int64_t n) {
    return reservation_.acquire(n, n, seconds(10), kSpillable).value_or(-1);
  }
  std::int64_t acquire_what_there_is(std::int64_t n) {
    return reservation_.acquire(0, n, seconds(10), kSpillable).value_or(-1);
  }
  std::int64_t used() const { return reservation_.size(); }
  void free(std::int64_t n) { EXPECT_TRUE(reservation_.shrink(n)); }
  int spills() const { return spills_; }
  SpillTrigger last_trigger() const { return last_; }

 private:
  std::atomic<int> spills_{0};
  std::atomic<SpillTrigger> last_{SpillTrigger::kExplicit};
  MemoryReservation reservation_;
};

/// J runs inside one task, here over two kinds of pool.
class OneTask : public ::testing::TestWithParam<bool> {
 protected:
  std::shared_ptr<MemoryPool> make(std::int64_t size) {
    if (GetParam()) return MemoryPool::greedy(size);
    return MemoryPool::task_fair(size)->task(0);
  }
};

void others_first_then_oneself(SpillingConsumer& c1, SpillingConsumer& c2) {
  EXPECT_EQ(c1.acquire(100), 100);
  EXPECT_EQ(c2.acquire(100), 100);
  EXPECT_EQ(c1.used(), 0);
  EXPECT_EQ(c2.used(), 100);
  EXPECT_EQ(c1.acquire(100), 100);
  EXPECT_EQ(c2.used(), 0);

  EXPECT_EQ(c1.acquire(50), 50);  // it spills itself
  EXPECT_EQ(c1.used(), 50);
  EXPECT_EQ(c1.last_trigger(), SpillTrigger::kSelf);
  EXPECT_EQ(c2.acquire(50), 50);
  EXPECT_EQ(c1.used(), 50);
  EXPECT_EQ(c1.acquire(100), 100);  // c2 frees 50, which is not enough: then itself
  EXPECT_EQ(c2.used(), 0);
  EXPECT_EQ(c1.used(), 100);

  c1.free(20);
  EXPECT_EQ(c2.acquire(10), 10);
  EXPECT_EQ(c1.used(), 80);
  EXPECT_EQ(c2.acquire(100), 100);
  EXPECT_EQ(c1.used(), 0);
  EXPECT_EQ(c2.used(), 100);
}

TEST_P(OneTask, OthersSpillFirstThenOneself) {
  const auto pool = make(100);
  {
    SpillingConsumer c1(pool, "c1");
    SpillingConsumer c2(pool, "c2");
    others_first_then_oneself(c1, c2);
    EXPECT_EQ(pool->holders().size(), 1u);
  }
  EXPECT_TRUE(pool->holders().empty());
  EXPECT_EQ(pool->reserved(), 0);
}

TEST_P(OneTask, TheSmallestThatCoversTheNeed) {
  const auto pool = make(100);
  SpillingConsumer c1(pool, "c1");
  SpillingConsumer c2(pool, "c2");
  SpillingConsumer c3(pool, "c3");
  EXPECT_EQ(c1.acquire(20), 20);
  EXPECT_EQ(c2.acquire(80), 80);
  EXPECT_EQ(c3.acquire(80), 80);
  EXPECT_EQ(c1.used(), 20);
  EXPECT_EQ(c2.used(), 0);
  EXPECT_EQ(c2.acquire(80), 80);
  EXPECT_EQ(c1.used(), 20);
  EXPECT_EQ(c3.used(), 0);
  EXPECT_EQ(c3.acquire(10), 10);
  EXPECT_EQ(c1.used(), 0);
  EXPECT_EQ(c2.used(), 80);
  EXPECT_EQ(c3.used(), 10);
}

INSTANTIATE_TEST_SUITE_P(Pools, OneTask, ::testing::Bool(), [](const auto& which) {
  return std::string(which.param ? "greedy" : "task_fair");
});

TEST(Modes, AreApart) {
  const auto on_heap = MemoryPool::greedy(100);
  const auto off_heap = MemoryPool::greedy(20);
  SpillingConsumer c1(on_heap, "c1");
  SpillingConsumer c2(off_heap, "c2");
  EXPECT_EQ(c1.acquire(80), 80);
  EXPECT_EQ(c2.acquire_what_there_is(80), 20);
  EXPECT_EQ(c1.used(), 80);
  EXPECT_EQ(c2.acquire(10), 10);
  EXPECT_EQ(c2.used(), 10);
  EXPECT_EQ(c1.spills(), 0);
}

TEST(Pages, LeaksAreSeenAndDoubleFreesAreErrors) {
  const auto pool = MemoryPool::greedy(1 << 20);
  auto reservation = MemoryConsumer("pages").with_page_size(4096).register_with(pool);
  MemoryConsumer consumer = reservation.consumer();
  const auto page = consumer.allocate_page(100);
  ASSERT_TRUE(page);
  EXPECT_EQ(page->bytes, 4096);
  EXPECT_EQ(pool->reserved(), 4096);
  ASSERT_EQ(pool->holders().size(), 1u);  // what would have leaked, and whose it is
  EXPECT_EQ(pool->holders().front().consumer, "pages");
  EXPECT_EQ(pool->holders().front().held_bytes, 4096);

  auto stranger = MemoryConsumer("stranger").register_with(pool);
  EXPECT_EQ(stranger.consumer().free_page(*page).error().code(), ErrorCode::kInvalid);
  EXPECT_TRUE(consumer.free_page(*page));
  EXPECT_EQ(consumer.free_page(*page).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(pool->reserved(), 0);
}

TEST(Pages, APageMayBeSmallerThanThePageSize) {
  const auto pool = MemoryPool::greedy(6000);
  auto reservation = MemoryConsumer("pages").with_page_size(4096).register_with(pool);
  MemoryConsumer consumer = reservation.consumer();
  const auto whole = consumer.allocate_page(1);
  const auto partial = consumer.allocate_array(100);
  ASSERT_TRUE(whole);
  ASSERT_TRUE(partial);
  EXPECT_EQ(whole->bytes, 4096);
  EXPECT_EQ(partial->bytes, 1904);
  EXPECT_TRUE(consumer.free_page(*whole));
  EXPECT_TRUE(consumer.free_page(*partial));
}

// ---- K: between tasks ----

class BetweenTasks : public ::testing::Test {
 protected:
  struct Task {
    Task(TaskFairPool& pool, std::uint64_t id)
        : reservation(MemoryConsumer("task").register_with(pool.task(id))) {}
    std::int64_t acquire(std::int64_t n) {
      return reservation.acquire(0, n, seconds(10)).value_or(-1);
    }
    /// Without waiting, which would last 10 s.
    std::int64_t acquire_at_once(std::int64_t n) {
      const auto begin = std::chrono::steady_clock::now();
      const std::int64_t granted = acquire(n);
      EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(5));
      return granted;
    }
    void release(std::int64_t n) { EXPECT_TRUE(reservation.shrink(n)); }
    MemoryReservation reservation;
  };

  const std::shared_ptr<TaskFairPool> pool_ = MemoryPool::task_fair(1000);
};

TEST_F(BetweenTasks, OneTaskMayHaveAll) {
  Task task(*pool_, 0);
  EXPECT_EQ(task.acquire(100), 100);
  EXPECT_EQ(task.acquire(400), 400);
  EXPECT_EQ(task.acquire(400), 400);
  EXPECT_EQ(task.acquire(200), 100);
  EXPECT_EQ(task.acquire(100), 0);
  EXPECT_EQ(task.acquire(100), 0);
  task.release(500);
  EXPECT_EQ(task.acquire(300), 300);
  EXPECT_EQ(task.acquire(300), 200);
  EXPECT_EQ(task.reservation.free(), 1000);
  EXPECT_EQ(task.acquire(1000), 1000);
  EXPECT_EQ(task.acquire(100), 0);
}

TEST_F(BetweenTasks, TwoTasksHaveHalfEach) {
  Task t1(*pool_, 1);
  Task t2(*pool_, 2);
  EXPECT_EQ(t1.acquire(500), 500);
  EXPECT_EQ(t2.acquire(500), 500);
  EXPECT_EQ(t1.acquire_at_once(500), 0);  // at 1/N: no wait
  EXPECT_EQ(t2.acquire_at_once(500), 0);
}

TEST_F(BetweenTasks, NobodyPassesOneNth) {
  Task t1(*pool_, 1);
  Task t2(*pool_, 2);
  EXPECT_EQ(t1.acquire(250), 250);
  EXPECT_EQ(t2.acquire(250), 250);
  EXPECT_EQ(t1.acquire(500), 250);
  EXPECT_EQ(t2.acquire(500), 250);
}

TEST_F(BetweenTasks, WaitsForHalfOfItsShare) {
  Task t1(*pool_, 1);
  Task t2(*pool_, 2);
  EXPECT_EQ(t1.acquire(1000), 1000);
  auto waiting = std::async(std::launch::async, [&] { return t2.acquire(250); });
  EXPECT_EQ(waiting.wait_for(milliseconds(300)), std::future_status::timeout);
  t1.release(250);
  EXPECT_EQ(waiting.get(), 250);
  EXPECT_EQ(t2.acquire_at_once(100), 0);
}

TEST_F(BetweenTasks, CleaningUpWakesTheWaiter) {
  Task t1(*pool_, 1);
  Task t2(*pool_, 2);
  EXPECT_EQ(t1.acquire(1000), 1000);
  auto waiting = std::async(std::launch::async, [&] { return t2.acquire(500); });
  EXPECT_EQ(waiting.wait_for(milliseconds(100)), std::future_status::timeout);
  t1.reservation.free();
  EXPECT_EQ(waiting.get(), 500);
  EXPECT_EQ(t2.acquire(500), 500);
  EXPECT_EQ(t2.acquire_at_once(500), 0);
}

TEST_F(BetweenTasks, NeverNegative) {
  Task t1(*pool_, 1);
  EXPECT_EQ(t1.acquire(700), 700);
  Task t2(*pool_, 2);
  EXPECT_EQ(t2.acquire(300), 300);
  EXPECT_EQ(t1.acquire_at_once(300), 0);
}

TEST_F(BetweenTasks, OffHeapIsAPoolOfItsOwn) {
  Task task(*pool_, 1);
  EXPECT_EQ(task.acquire(1000), 1000);
  EXPECT_EQ(task.acquire(300), 0);
  task.release(500);
  task.release(500);
  EXPECT_EQ(pool_->reserved(), 0);
}

// Differs: the wait is bounded. Spark waits until somebody releases (delta-rs #4614 hung so).
TEST_F(BetweenTasks, TheWaitEndsAtTheDeadline) {
  Task t1(*pool_, 1);
  Task t2(*pool_, 2);
  EXPECT_EQ(t1.acquire(1000), 1000);
  const auto none = t2.reservation.acquire(0, 250, milliseconds(50));
  ASSERT_TRUE(none);
  EXPECT_EQ(*none, 0);
  const auto refused = t2.reservation.acquire(100, 250, milliseconds(50));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kResourcesExhausted);
  EXPECT_EQ(refused.error().message().rfind("Unable to acquire 100 bytes of memory, got 0", 0), 0u)
      << refused.error().message();
}

// Differs: an idle task does not lower the others' share.
TEST_F(BetweenTasks, IdleTasksDoNotCount) {
  std::vector<std::unique_ptr<Task>> idle;
  for (std::uint64_t id = 10; id < 20; ++id) idle.push_back(std::make_unique<Task>(*pool_, id));
  Task task(*pool_, 1);
  EXPECT_EQ(task.acquire(1000), 1000);
}

}  // namespace
}  // namespace membroker
