#include "client/lease/shard_book.h"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

namespace membroker::lease {
namespace {

struct Account {
  detail::SharedUse shared;
  ShardAccount account;
};

TEST(ShardBookTest, CreditIsUsedWithoutTheBook) {
  ShardBook book;
  Account account;
  LeaseShard shard(&account.shared, account.account);
  book.add(shard);
  EXPECT_FALSE(shard.take(10));
  EXPECT_EQ(book.grow(shard, 10, 20), 30);
  shard.set_credit_limit(40);
  EXPECT_EQ(shard.size(), 10);
  EXPECT_TRUE(shard.take(20));
  EXPECT_FALSE(shard.take(1));
  EXPECT_EQ(shard.size(), 30);
  EXPECT_EQ(shard.peak(), 30);
  EXPECT_TRUE(shard.give(30));
  EXPECT_FALSE(shard.give(1));
  EXPECT_EQ(account.account.charged, 30);
  EXPECT_EQ(book.used(), 0);
  EXPECT_EQ(book.sweep(), 30);
  EXPECT_EQ(account.account.charged, 0);
  book.remove(shard);
}

TEST(ShardBookTest, ShrinkKeepsAtMostTheCreditAllowed) {
  ShardBook book;
  Account account;
  LeaseShard shard(&account.shared, account.account);
  book.add(shard);
  book.grow(shard, 100, 0);
  EXPECT_EQ(book.shrink(shard, 101, 10), -1);
  EXPECT_EQ(book.shrink(shard, 60, 10), 50);
  EXPECT_EQ(shard.size(), 40);
  EXPECT_EQ(account.account.charged, 50);
  EXPECT_EQ(book.shrink(shard, 40, 0), 50);
  book.remove(shard);
}

TEST(ShardBookTest, WhileSlowNothingEscapes) {
  ShardBook book;
  Account account;
  LeaseShard shard(&account.shared, account.account);
  book.add(shard);
  book.grow(shard, 10, 10);
  shard.set_credit_limit(100);
  book.set_slow(true);
  EXPECT_FALSE(book.swept());
  EXPECT_EQ(book.sweep(), 10);
  EXPECT_TRUE(book.swept());
  EXPECT_FALSE(shard.give(5));
  EXPECT_FALSE(shard.take(0));
  book.set_slow(false);
  EXPECT_FALSE(shard.give(5));  // it leaves slow mode at its next call to the book
  EXPECT_EQ(book.shrink(shard, 5, 5), 0);
  EXPECT_TRUE(shard.take(5));
}

TEST(ShardBookTest, IdleCreditIsCollectedAndUsedCreditIsNot) {
  ShardBook book;
  Account account;
  LeaseShard idle(&account.shared, account.account);
  LeaseShard used(&account.shared, account.account);
  book.add(idle);
  book.add(used);
  book.grow(idle, 0, 10);
  book.grow(used, 0, 10);
  EXPECT_EQ(book.collect_idle(), 0);
  EXPECT_TRUE(used.take(3));
  EXPECT_EQ(book.collect_idle(), 10);
  EXPECT_EQ(book.collect_idle(), 7);
}

TEST(ShardBookTest, SumsFollowTheAccounts) {
  ShardBook book;
  Account spills;
  spills.account.can_spill = true;
  TaskAccount task;
  spills.account.task = &task;
  Account fixed;
  LeaseShard a(&spills.shared, spills.account);
  LeaseShard b(&fixed.shared, fixed.account);
  book.add(a);
  book.add(b);
  book.grow(a, 10, 5);
  book.grow(b, 7, 0);
  EXPECT_EQ(book.sums().spillable, 15);
  EXPECT_EQ(book.sums().unspillable, 7);
  EXPECT_EQ(book.sums().spillable_active, 1u);
  EXPECT_EQ(task.charged, 15);
  EXPECT_EQ(book.sums().tasks_active, 1u);
  book.count_waiting(spills.account, 1);
  book.shrink(a, 10, 0);
  EXPECT_EQ(book.sums().spillable_active, 1u);
  book.count_waiting(spills.account, -1);
  EXPECT_EQ(book.sums().spillable_active, 0u);
  EXPECT_EQ(book.sums().tasks_active, 0u);
}

// Threads use a shard while its book sweeps and refills it: no byte appears or is lost, and what
// is used never passes what is charged.
TEST(ShardBookTest, SweepsBesideUse) {
  ShardBook book;
  Account account;
  LeaseShard shard(&account.shared, account.account);
  std::mutex mutex;
  book.add(shard);
  book.set_shared(shard);
  std::atomic<bool> stop{false};
  std::vector<std::thread> users;
  std::atomic<Bytes> held{0};
  for (int i = 0; i < 2; ++i) {
    users.emplace_back([&, i] {
      Bytes mine = 0;
      std::uint32_t random = 12345u + static_cast<std::uint32_t>(i);
      while (!stop.load(std::memory_order_relaxed)) {
        random = random * 1664525u + 1013904223u;
        const auto n = static_cast<Bytes>((random >> 16) % 64);
        if ((random & 1u) != 0) {
          if (shard.take(n)) mine += n;
        } else if (n <= mine) {
          if (!shard.give(n)) {
            const std::lock_guard lock(mutex);
            EXPECT_GE(book.shrink(shard, n, 256), 0);
          }
          mine -= n;
        }
      }
      held += mine;
    });
  }
  for (int round = 0; round < 20'000; ++round) {
    const std::lock_guard lock(mutex);
    if (round % 3 == 0) {
      book.sweep();
    } else {
      book.grow(shard, 0, 256);
      shard.set_credit_limit(512);
    }
    if (round % 7 == 0) book.set_slow(!book.slow());
    ASSERT_LE(shard.size(), account.account.charged);
    ASSERT_GE(shard.size(), 0);
  }
  stop = true;
  for (std::thread& user : users) user.join();
  EXPECT_EQ(shard.size(), held.load());
  EXPECT_EQ(account.shared.used.load(), held.load());
  book.sweep();
  EXPECT_EQ(account.account.charged, held.load());
}

}  // namespace
}  // namespace membroker::lease
