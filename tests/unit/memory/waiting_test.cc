// Requests that wait: which thread serves them, when they are sent again, and how they are
// cancelled.
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <thread>

#include "client/memory/consumer_state.h"
#include "client/memory/lease_pool.h"
#include "membroker/memory_pool.h"
#include "membroker/testing.h"
#include "shared/bytes.h"
#include "tests/kit/comes_true.h"

namespace membroker {
namespace {

using detail::PoolAccess;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::comes_true;
using testing::ScriptedDaemon;

MemoryReservation open(const std::shared_ptr<MemoryPool>& pool, const std::string& name) {
  return MemoryConsumer(name).register_with(pool);
}

/// What acquire_async says in the end.
class Answer {
 public:
  AcquireCallback call_back() {
    return [promise = promise_](Result<std::int64_t> got) { promise->set_value(std::move(got)); };
  }
  bool is_there(seconds within) { return future_.wait_for(within) == std::future_status::ready; }
  Result<std::int64_t> get() { return future_.get(); }

 private:
  std::shared_ptr<std::promise<Result<std::int64_t>>> promise_ =  // shared with the call-back
      std::make_shared<std::promise<Result<std::int64_t>>>();
  std::future<Result<std::int64_t>> future_ = promise_->get_future();
};

// Nothing but the time wakes anybody here: no bytes are held, and the daemon says no more.
TEST(WaitingTest, WhatTheDaemonPutOffIsAskedForAgainWhereNothingIsHeld) {
  for (const bool nested : {false, true}) {
    ScriptedDaemon daemon({.capacity_bytes = 4 * kMiB});
    const auto pool = nested ? daemon.pool()->nested("child") : daemon.pool();
    auto reservation = open(pool, "r");
    daemon.deny_request(1, DenialHint::kWait);
    Answer answer;
    auto ticket = reservation.acquire_async(kMiB, kMiB, Deadline::never(), answer.call_back());
    EXPECT_TRUE(answer.is_there(seconds(20))) << (nested ? "nested" : "");
    ticket.cancel();
    EXPECT_EQ(answer.get(), kMiB);
    EXPECT_EQ(daemon.requests().size(), 2U);
  }
}

TEST(WaitingTest, ACallThatBlocksInANestedPoolAsksAgainToo) {
  ScriptedDaemon daemon({.capacity_bytes = 4 * kMiB});
  auto reservation = open(daemon.pool()->nested("child"), "r");
  daemon.deny_request(1, DenialHint::kWait);
  EXPECT_EQ(reservation.acquire(kMiB, kMiB, seconds(20)), kMiB);
}

TEST(WaitingTest, ACallBackMayAcquireWhateverThePool) {
  const auto parent = MemoryPool::greedy(100);
  const auto child = parent->nested("child");
  const auto grandchild = child->nested("grandchild");
  for (const auto& pool :
       {parent, std::shared_ptr<MemoryPool>(child), std::shared_ptr<MemoryPool>(grandchild)}) {
    auto first = open(pool, "first");
    auto second = open(pool, "second");
    Answer answer;
    first.acquire_async(10, 10, seconds(10), [&, done = answer.call_back()](auto got) {
      EXPECT_EQ(got, 10);
      done(second.acquire(40, 40, seconds(5)));
    });
    EXPECT_EQ(answer.get(), 40) << pool->describe();
  }
  EXPECT_EQ(parent->reserved(), 0);
}

TEST(WaitingTest, ANestedAcquireNeedsNoLibraryThreadForBytesThatAreThere) {
  const auto parent = MemoryPool::greedy(100);
  auto blocked = open(parent, "blocked");
  std::promise<void> entered;
  std::promise<void> leave;
  Answer answer;
  blocked.acquire_async(1, 1, seconds(10), [&, done = answer.call_back()](auto got) {
    entered.set_value();
    leave.get_future().wait_for(seconds(20));
    done(std::move(got));
  });
  ASSERT_EQ(entered.get_future().wait_for(seconds(10)),
            std::future_status::ready);  // the pool's thread serves nobody
  auto reservation = open(parent->nested("child")->nested("grandchild"), "r");
  EXPECT_EQ(reservation.acquire(40, 40, seconds(5)), 40);
  leave.set_value();
  EXPECT_EQ(answer.get(), 1);
}

TEST(WaitingTest, WhatIsCancelledBeforeItIsSentEndsWhenItIs) {
  const auto parent = MemoryPool::greedy(100);
  auto holder = open(parent, "holder");
  ASSERT_TRUE(holder.try_grow(100));
  const auto child = parent->nested("child");
  for (const auto& pool : {parent, std::shared_ptr<MemoryPool>(child),
                           std::shared_ptr<MemoryPool>(child->nested("grandchild"))}) {
    auto reservation = open(pool, "r");
    Answer answer;
    const auto request = PoolAccess::prepare(reservation, 10, 10, answer.call_back(), {});
    PoolAccess::cancel_soon(*request);
    PoolAccess::launch(request, Deadline::never(), false);
    const bool ended = answer.is_there(seconds(10));
    EXPECT_TRUE(ended) << pool->describe();
    if (!ended) AcquireTicket(request).cancel();
    EXPECT_EQ(answer.get().error().code(), ErrorCode::kCancelled);
  }
}

// The floor comes late, and goes to one who waited for it: the workspace is then acquired, in what
// is left of the time.
TEST(WaitingTest, TheWorkspaceIsWaitedForOnce) {
  ScriptedDaemon daemon({.capacity_bytes = 32 * kMiB,
                         .floor_bytes = 8 * kMiB,
                         .workspace_bytes = 8 * kMiB,
                         .attached = false});
  auto taker = open(daemon.pool(), "taker");
  Answer taken;
  taker.acquire_async(8 * kMiB, 8 * kMiB, Deadline::never(), taken.call_back());
  ASSERT_TRUE(comes_true([&] { return !daemon.requests().empty(); }));
  auto& pool = static_cast<LeasePool&>(*daemon.pool());
  std::promise<void> begun;
  auto workspace = std::async(std::launch::async, [&] {
    begun.set_value();
    return pool.reserve_workspace(seconds(20));
  });
  ASSERT_EQ(begun.get_future().wait_for(seconds(10)), std::future_status::ready);
  EXPECT_EQ(workspace.wait_for(milliseconds(50)), std::future_status::timeout);
  daemon.hold_requests(true);
  daemon.attach();
  EXPECT_EQ(taken.get(), 8 * kMiB);
  ASSERT_TRUE(comes_true([&] { return !daemon.held_requests().empty(); }));
  EXPECT_LE(daemon.held_requests().back().wait_ms, 20'000 - 10);
  daemon.answer_held();
  const auto reserved = workspace.get();
  ASSERT_TRUE(reserved);
  EXPECT_EQ(reserved->size(), 8 * kMiB);
}

}  // namespace
}  // namespace membroker
