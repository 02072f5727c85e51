// Reservations in a forked child of the process that has the lease.
#include <gtest/gtest.h>

#include "client/lease/fork_guard.h"
#include "membroker/memory_pool.h"
#include "membroker/testing.h"
#include "shared/bytes.h"
#include "tests/kit/in_child.h"

namespace membroker {
namespace {

using std::chrono::seconds;
using testing::in_child;

// A reservation that has credit: small growth needs no pool.
MemoryReservation with_credit(const std::shared_ptr<MemoryPool>& pool) {
  auto reservation = MemoryConsumer("r").register_with(pool);
  EXPECT_TRUE(reservation.acquire(32 * kMiB, 32 * kMiB, seconds(10)));
  EXPECT_TRUE(reservation.shrink(16 * kMiB));
  EXPECT_TRUE(reservation.try_grow(kKiB));
  return reservation;
}

TEST(ForkTest, InheritedCreditIsOfNoUse) {
  lease::arm_fork_guard();
  testing::ScriptedDaemon daemon({.capacity_bytes = kGiB});
  auto reservation = with_credit(daemon.pool());
  const Bytes size = reservation.size();
  const auto requests = daemon.requests().size();
  const int wrong = in_child([&] {
    const auto forked = [](const auto& result) {
      return !result && result.error().code() == ErrorCode::kForked;
    };
    int bits = 0;
    if (!forked(reservation.try_grow(1))) bits |= 1;
    if (!forked(reservation.grow(1))) bits |= 2;
    if (!forked(reservation.acquire(1, 1, seconds(10)))) bits |= 4;
    if (!reservation.shrink(1) || reservation.size() != size) bits |= 8;  // inert
    if (reservation.free() != 0 || reservation.size() != size) bits |= 16;
    return bits;
  });
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(reservation.size(), size);
  EXPECT_TRUE(reservation.try_grow(1));
  EXPECT_TRUE(reservation.shrink(1));
  EXPECT_EQ(daemon.requests().size(), requests);
}

TEST(ForkTest, APoolOfTheProcesssOwnServesTheChild) {
  lease::arm_fork_guard();
  auto reservation = with_credit(MemoryPool::greedy(kGiB));
  const int wrong = in_child([&] {
    const Bytes size = reservation.size();
    if (!reservation.try_grow(kKiB) || reservation.size() != size + kKiB) return 1;
    return reservation.shrink(kKiB) ? 0 : 2;
  });
  EXPECT_EQ(wrong, 0);
}

TEST(ForkTest, ALeaseMadeInTheChildServesIt) {
  lease::arm_fork_guard();
  const int wrong = in_child([&] {
    testing::ScriptedDaemon daemon({.capacity_bytes = kGiB});
    auto reservation = with_credit(daemon.pool());
    return reservation.try_grow(1) && reservation.size() == 16 * kMiB + kKiB + 1 ? 0 : 1;
  });
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace membroker
