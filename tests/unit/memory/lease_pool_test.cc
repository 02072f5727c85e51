// A pool over a lease, lent by a daemon that follows a script.
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

#include "client/memory/lease_pool.h"
#include "membroker/memory_pool.h"
#include "membroker/testing.h"
#include "shared/bytes.h"
#include "tests/kit/comes_true.h"

namespace membroker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::comes_true;
using testing::RevocationState;
using testing::ScriptedDaemon;

MemoryReservation open(ScriptedDaemon& daemon, const std::string& name, bool can_spill = false) {
  return MemoryConsumer(name).with_can_spill(can_spill).register_with(daemon.pool());
}

TEST(LeasePoolTest, GrowsByChunksThatDouble) {
  ScriptedDaemon daemon({.capacity_bytes = kGiB, .chunk_bytes = kMiB});
  auto reservation = open(daemon, "r");
  Bytes last_want = 0;
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(reservation.try_grow(kMiB));
  const auto requests = daemon.requests();
  EXPECT_LT(requests.size(), 20u);
  for (const auto& request : requests) {
    EXPECT_LE(request.want_bytes, 16 * kMiB);
    EXPECT_GE(request.want_bytes, last_want);
    last_want = request.want_bytes;
  }
  EXPECT_EQ(last_want, 16 * kMiB);
  EXPECT_EQ(reservation.size(), 100 * kMiB);
  EXPECT_GE(daemon.held(), 100 * kMiB);
}

TEST(LeasePoolTest, AsksForLittleWhileTight) {
  ScriptedDaemon daemon({.capacity_bytes = kGiB, .chunk_bytes = kMiB});
  daemon.set_tight(true);
  auto reservation = open(daemon, "r");
  ASSERT_TRUE(reservation.try_grow(1000));
  ASSERT_EQ(daemon.requests().size(), 1u);
  EXPECT_EQ(daemon.requests().front().want_bytes, 1000);
  EXPECT_EQ(daemon.requests().front().wait_ms, 5000);
}

TEST(LeasePoolTest, RefusalCarriesTheDaemonsWord) {
  ScriptedDaemon daemon({.capacity_bytes = kMiB});
  auto reservation = open(daemon, "sort", true);
  ASSERT_TRUE(reservation.try_grow(kMiB));
  const auto refused = reservation.try_grow(1);
  ASSERT_FALSE(refused);
  ASSERT_NE(refused.error().denial(), nullptr);
  EXPECT_EQ(refused.error().denial()->hint, DenialHint::kSpill);
  EXPECT_EQ(refused.error().denial()->reason, "scripted");
  EXPECT_EQ(refused.error().denial()->requested_bytes, 1);
  EXPECT_EQ(refused.error().denial()->pool, "ram");
  ASSERT_EQ(refused.error().denial()->holders.size(), 1u);
  EXPECT_EQ(refused.error().denial()->holders.front().name, "sort");
  EXPECT_NE(refused.error().message().find("the script says no"), std::string::npos);
  EXPECT_EQ(reservation.size(), kMiB);
}

TEST(LeasePoolTest, AStandingRequestOutlivesTryGrow) {
  ScriptedDaemon daemon({.capacity_bytes = kGiB});
  daemon.hold_requests(true);
  auto reservation = open(daemon, "r");
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(reservation.try_grow(kMiB));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(49));
  // Further misses are refused without another request, and at once.
  EXPECT_FALSE(reservation.try_grow(kMiB));
  EXPECT_EQ(daemon.requests().size(), 1u);
  EXPECT_EQ(daemon.answer_held(), 1);
  daemon.hold_requests(false);
  EXPECT_GE(daemon.held(), kMiB);
  EXPECT_TRUE(reservation.try_grow(kMiB));
  EXPECT_EQ(daemon.requests().front().min_bytes, kMiB);
}

TEST(LeasePoolTest, AcquireWaitsForTheGrant) {
  ScriptedDaemon daemon({.capacity_bytes = kGiB});
  daemon.hold_requests(true);
  auto reservation = open(daemon, "r");
  auto waiting = std::async(std::launch::async,
                            [&] { return reservation.acquire(kMiB, 4 * kMiB, seconds(10)); });
  ASSERT_TRUE(comes_true([&] { return daemon.held_requests().size() == 1; }));
  daemon.answer_held();
  const auto got = waiting.get();
  ASSERT_TRUE(got);
  EXPECT_EQ(*got, 4 * kMiB);
  EXPECT_EQ(reservation.size(), 4 * kMiB);
}

TEST(LeasePoolTest, AcquireMayBeAnsweredInPart) {
  ScriptedDaemon daemon({.capacity_bytes = 3 * kMiB});
  auto reservation = open(daemon, "r");
  EXPECT_EQ(reservation.acquire(kMiB, 8 * kMiB, seconds(10)), 3 * kMiB);
  EXPECT_EQ(reservation.acquire(0, kMiB, seconds(10)), 0);
  const auto refused = reservation.acquire(1, kMiB, milliseconds(1));
  EXPECT_EQ(refused.error().code(), ErrorCode::kResourcesExhausted);
}

TEST(LeasePoolTest, AcquireGivesUpAtItsDeadline) {
  ScriptedDaemon daemon({.capacity_bytes = kGiB});
  daemon.hold_requests(true);
  auto reservation = open(daemon, "r");
  const auto refused = reservation.acquire(kMiB, kMiB, milliseconds(20));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().denial()->reason, "deadline");
  EXPECT_EQ(daemon.cancelled(), 1);
  EXPECT_EQ(reservation.size(), 0);
}

TEST(LeasePoolTest, AHintToSpillSpillsTheOthers) {
  ScriptedDaemon daemon({.capacity_bytes = 4 * kMiB});
  MemoryReservation cache;
  cache = MemoryConsumer("cache")
              .with_spill([&](const SpillRequest& request) {
                EXPECT_EQ(request.trigger, SpillTrigger::kOther);
                EXPECT_EQ(request.bytes, kMiB);
                EXPECT_TRUE(cache.shrink(request.bytes));
                return request.bytes;
              })
              .register_with(daemon.pool());
  ASSERT_TRUE(cache.try_grow(4 * kMiB));
  auto asker = open(daemon, "asker");
  EXPECT_FALSE(asker.try_grow(kMiB));  // try_grow never waits for a spill
  EXPECT_EQ(cache.size(), 4 * kMiB);
  EXPECT_EQ(asker.acquire(kMiB, kMiB, seconds(10)), kMiB);
  EXPECT_EQ(cache.size(), 3 * kMiB);
  EXPECT_EQ(daemon.held(), 4 * kMiB);
}

TEST(LeasePoolTest, TooLargeBesideWhatIsHeldIsHadByLocalSpilling) {
  ScriptedDaemon daemon({.capacity_bytes = 4 * kMiB});
  MemoryReservation cache;
  cache = MemoryConsumer("cache")
              .with_spill([&](const SpillRequest& request) {
                EXPECT_EQ(request.bytes, kMiB);  // 2 MiB are wanted, 1 MiB is attainable
                EXPECT_TRUE(cache.shrink(request.bytes));
                return request.bytes;
              })
              .register_with(daemon.pool());
  ASSERT_EQ(cache.acquire(3 * kMiB, 3 * kMiB, seconds(10)), 3 * kMiB);
  auto asker = open(daemon, "asker");
  daemon.deny_request(1, DenialHint::kSmaller);
  EXPECT_EQ(asker.acquire(2 * kMiB, 2 * kMiB, seconds(10)), 2 * kMiB);
  EXPECT_EQ(cache.size(), 2 * kMiB);
  // Nobody's spilling could help: refused, and nobody was asked.
  daemon.deny_request(1, DenialHint::kSmaller);
  const auto refused = asker.acquire(9 * kMiB, 9 * kMiB, seconds(10));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().denial()->hint, DenialHint::kSmaller);
  EXPECT_EQ(cache.size(), 2 * kMiB);
}

TEST(LeasePoolTest, TheFloorIsTakenOffWhatIsAskedForBeforeItCame) {
  ScriptedDaemon daemon({.capacity_bytes = 8 * kMiB, .floor_bytes = 2 * kMiB, .attached = false});
  daemon.hold_requests(true);
  auto reservation = open(daemon, "r");
  auto waiting = std::async(std::launch::async,
                            [&] { return reservation.acquire(8 * kMiB, 8 * kMiB, seconds(10)); });
  ASSERT_TRUE(comes_true([&] { return daemon.requests().size() == 1; }));
  EXPECT_EQ(daemon.requests().back().min_bytes, 8 * kMiB);
  daemon.attach();
  ASSERT_EQ(daemon.held_requests().size(), 1u);
  EXPECT_EQ(daemon.held_requests().back().min_bytes, 6 * kMiB);
  EXPECT_EQ(daemon.held_requests().back().id, daemon.requests().front().id);
  daemon.answer_held();
  EXPECT_EQ(waiting.get(), 8 * kMiB);
}

TEST(LeasePoolTest, TheFloorIsTakenOffAStandingRequestToo) {
  ScriptedDaemon daemon({.capacity_bytes = 8 * kMiB, .floor_bytes = 2 * kMiB, .attached = false});
  auto reservation = open(daemon, "r");
  EXPECT_FALSE(reservation.try_grow(8 * kMiB));
  daemon.attach();
  EXPECT_EQ(daemon.requests().back().min_bytes, 6 * kMiB);
  EXPECT_TRUE(reservation.try_grow(8 * kMiB));
}

TEST(LeasePoolTest, WhatANeighbourFreesIsTakenOffWhatIsAskedFor) {
  ScriptedDaemon daemon({.capacity_bytes = 8 * kMiB});
  auto neighbour = open(daemon, "neighbour");
  ASSERT_EQ(neighbour.acquire(4 * kMiB, 4 * kMiB, seconds(10)), 4 * kMiB);
  daemon.hold_requests(true);
  auto reservation = open(daemon, "r");
  auto waiting = std::async(std::launch::async,
                            [&] { return reservation.acquire(8 * kMiB, 8 * kMiB, seconds(10)); });
  ASSERT_TRUE(comes_true([&] { return daemon.held_requests().size() == 1; }));
  EXPECT_EQ(daemon.held_requests().back().min_bytes, 8 * kMiB);
  ASSERT_TRUE(neighbour.shrink(1));  // for that little the place in the queue is kept
  ASSERT_TRUE(neighbour.shrink(3 * kMiB - 1));
  ASSERT_TRUE(comes_true([&] {
    const auto held = daemon.held_requests();
    return held.size() == 1 && held.back().min_bytes == 5 * kMiB;
  }));
  EXPECT_EQ(daemon.cancelled(), 1);
  EXPECT_EQ(daemon.requests().size(), 3u);  // the neighbour's, and two
  neighbour.free();
  ASSERT_TRUE(comes_true([&] {
    const auto held = daemon.held_requests();
    return held.size() == 1 && held.back().min_bytes == 4 * kMiB;
  }));
  daemon.answer_held();
  EXPECT_EQ(waiting.get(), 8 * kMiB);
}

class NeighbourTest : public ::testing::TestWithParam<Bytes> {};
INSTANTIATE_TEST_SUITE_P(LeasePoolTest, NeighbourTest, ::testing::Values(1, 4 * kMiB));

TEST_P(NeighbourTest, AWaiterItServedWaitsForNoMore) {
  ScriptedDaemon daemon({.capacity_bytes = 8 * kMiB});
  auto neighbour = open(daemon, "neighbour");
  ASSERT_EQ(neighbour.acquire(4 * kMiB, 4 * kMiB, seconds(10)), 4 * kMiB);
  daemon.hold_requests(true);
  auto reservation = open(daemon, "r");
  auto waiting = std::async(std::launch::async, [&] {
    return reservation.acquire(GetParam(), 8 * kMiB, std::chrono::minutes(10));
  });
  ASSERT_TRUE(comes_true([&] { return daemon.held_requests().size() == 1; }));
  neighbour.free();
  EXPECT_EQ(waiting.get(), 4 * kMiB);
}

// ---- revocations ----

TEST(LeasePoolTest, SlackIsReturnedAtOnce) {
  ScriptedDaemon daemon({.capacity_bytes = 16 * kMiB, .floor_bytes = kMiB, .chunk_bytes = kMiB});
  auto reservation = open(daemon, "r");
  ASSERT_TRUE(reservation.try_grow(8 * kMiB));
  ASSERT_TRUE(reservation.shrink(6 * kMiB));  // part of it stays as the shard's credit
  const Bytes held = daemon.held();
  daemon.revoke(held - 2 * kMiB, milliseconds(200), false);
  EXPECT_EQ(daemon.revocation(), RevocationState::kMet);
  EXPECT_EQ(daemon.held(), 2 * kMiB);
  EXPECT_EQ(reservation.size(), 2 * kMiB);
}

TEST(LeasePoolTest, SlackInUseIsAnHonestCannot) {
  ScriptedDaemon daemon({.capacity_bytes = 4 * kMiB});
  auto reservation = open(daemon, "r", true);
  ASSERT_TRUE(reservation.try_grow(4 * kMiB));
  daemon.revoke(kMiB, milliseconds(200), false);
  EXPECT_EQ(daemon.revocation(), RevocationState::kCannot);
  EXPECT_EQ(daemon.revocation_reason(), "the slack is in use by now");
}

TEST(LeasePoolTest, ARevocationSpillsAndReturnsWhatIsFreed) {
  ScriptedDaemon daemon({.capacity_bytes = 8 * kMiB});
  MemoryReservation table;
  std::atomic<std::thread::id> ran_on{};
  table = MemoryConsumer("table")
              .with_spill([&](const SpillRequest& request) {
                ran_on = std::this_thread::get_id();
                EXPECT_EQ(request.trigger, SpillTrigger::kRevocation);
                EXPECT_TRUE(table.shrink(request.bytes));
                return request.bytes;
              })
              .register_with(daemon.pool());
  ASSERT_TRUE(table.try_grow(8 * kMiB));
  daemon.revoke(5 * kMiB, seconds(2));
  EXPECT_TRUE(comes_true([&] { return daemon.revocation() == RevocationState::kMet; }));
  EXPECT_EQ(daemon.held(), 3 * kMiB);
  EXPECT_EQ(table.size(), 3 * kMiB);
  EXPECT_NE(ran_on.load(), std::this_thread::get_id());
}

TEST(LeasePoolTest, NobodyToSpillIsCannotWithTheReason) {
  ScriptedDaemon daemon({.capacity_bytes = 8 * kMiB});
  auto fixed = open(daemon, "fixed");
  ASSERT_TRUE(fixed.try_grow(4 * kMiB));
  auto broken = MemoryConsumer("broken")
                    .with_spill([](const SpillRequest&) -> std::int64_t {
                      throw std::runtime_error("disk on fire");
                    })
                    .register_with(daemon.pool());
  ASSERT_TRUE(broken.try_grow(4 * kMiB));
  daemon.revoke(kMiB, seconds(2));
  EXPECT_TRUE(comes_true([&] { return daemon.revocation() == RevocationState::kCannot; }));
  EXPECT_NE(daemon.revocation_reason().find("broken: disk on fire"), std::string::npos)
      << daemon.revocation_reason();
}

TEST(LeasePoolTest, CooperativeConsumersPollAFlag) {
  ScriptedDaemon daemon({.capacity_bytes = 8 * kMiB});
  auto worker = open(daemon, "worker", true);
  ASSERT_TRUE(worker.try_grow(8 * kMiB));
  EXPECT_EQ(worker.spill_requested(), 0);
  daemon.revoke(3 * kMiB, seconds(10));
  ASSERT_TRUE(comes_true([&] { return worker.spill_requested() == 3 * kMiB; }));
  ASSERT_TRUE(worker.shrink(kMiB));
  EXPECT_TRUE(comes_true([&] { return worker.spill_requested() == 2 * kMiB; }));
  ASSERT_TRUE(worker.shrink(2 * kMiB));
  EXPECT_TRUE(comes_true([&] { return daemon.revocation() == RevocationState::kMet; }));
  EXPECT_TRUE(comes_true([&] { return worker.spill_requested() == 0; }));
  EXPECT_EQ(daemon.held(), 5 * kMiB);
}

TEST(LeasePoolTest, AWithdrawnRevocationEndsTheAsking) {
  ScriptedDaemon daemon({.capacity_bytes = 8 * kMiB});
  auto worker = open(daemon, "worker", true);
  ASSERT_TRUE(worker.try_grow(8 * kMiB));
  daemon.revoke(3 * kMiB, seconds(10));
  ASSERT_TRUE(comes_true([&] { return worker.spill_requested() > 0; }));
  daemon.withdraw_revocation();
  EXPECT_TRUE(comes_true([&] { return worker.spill_requested() == 0; }));
  ASSERT_TRUE(worker.shrink(kMiB));
  EXPECT_EQ(daemon.held(), 8 * kMiB);
}

TEST(LeasePoolTest, NoSpillSectionBarsTheConsumer) {
  ScriptedDaemon daemon({.capacity_bytes = 8 * kMiB});
  MemoryReservation table;
  table = MemoryConsumer("table")
              .with_spill([&](const SpillRequest&) { return table.free(); })
              .register_with(daemon.pool());
  ASSERT_TRUE(table.try_grow(8 * kMiB));
  auto section = std::make_unique<NoSpillSection>(table);
  daemon.revoke(kMiB, seconds(10));
  EXPECT_FALSE(
      comes_true([&] { return daemon.revocation() == RevocationState::kMet; }, milliseconds(120)));
  section.reset();
  EXPECT_TRUE(comes_true([&] { return daemon.revocation() == RevocationState::kMet; }));
}

TEST(LeasePoolTest, GrowingInsideASpillIsAnErrorAndGrowIsOverdraft) {
  ScriptedDaemon daemon({.capacity_bytes = 8 * kMiB});
  MemoryReservation table;
  std::atomic<int> refused{0};
  table = MemoryConsumer("table")
              .with_spill([&](const SpillRequest& request) {
                if (table.try_grow(1).error().code() == ErrorCode::kGrowInSpill) ++refused;
                if (table.acquire(1, 1, seconds(1)).error().code() == ErrorCode::kGrowInSpill) {
                  ++refused;
                }
                auto buffer = table.new_empty();
                EXPECT_TRUE(buffer.grow(4096));
                EXPECT_TRUE(table.shrink(request.bytes));
                return request.bytes;
              })
              .register_with(daemon.pool());
  ASSERT_TRUE(table.try_grow(8 * kMiB));
  daemon.revoke(2 * kMiB, seconds(2));
  EXPECT_TRUE(comes_true([&] { return daemon.revocation() == RevocationState::kMet; }));
  EXPECT_EQ(refused.load(), 2);
  EXPECT_EQ(daemon.overdrawn_total(), 4096);
  // What was overdrawn was repaid with the first bytes returned, and is slack when freed.
  EXPECT_EQ(daemon.held(), 6 * kMiB + 4096);
  EXPECT_EQ(daemon.pool()->metrics().overdraft_bytes, 0);
}

// ---- overdraft, idleness, life ----

TEST(LeasePoolTest, OverdraftIsCountedAndRepaidFirst) {
  ScriptedDaemon daemon({.capacity_bytes = 4 * kMiB});
  auto reservation = open(daemon, "r");
  ASSERT_TRUE(reservation.try_grow(4 * kMiB));
  ASSERT_TRUE(reservation.grow(kMiB));
  EXPECT_EQ(daemon.overdrawn_total(), kMiB);
  EXPECT_EQ(daemon.held(), 5 * kMiB);
  EXPECT_EQ(daemon.pool()->metrics().overdraft_bytes, kMiB);
  ASSERT_TRUE(reservation.shrink(kMiB / 2));
  EXPECT_EQ(daemon.returned_total(), kMiB / 2);
  ASSERT_TRUE(reservation.shrink(3 * kMiB));
  EXPECT_EQ(daemon.held(), 4 * kMiB);
  EXPECT_EQ(daemon.pool()->metrics().overdraft_bytes, 0);
}

TEST(LeasePoolTest, IdleSlackIsReturnedAndTheFloorKept) {
  testing::FakeClock clock;
  ScriptedDaemon daemon({.capacity_bytes = 256 * kMiB,
                         .floor_bytes = 2 * kMiB,
                         .chunk_bytes = kMiB,
                         .clock = &clock});
  auto reservation = open(daemon, "r");
  ASSERT_TRUE(reservation.try_grow(160 * kMiB));
  reservation.free();
  const Bytes held = daemon.held();
  clock.advance(milliseconds(900));
  EXPECT_EQ(daemon.held(), held);
  ASSERT_TRUE(comes_true([&] {
    clock.advance(milliseconds(100));
    return daemon.held() <= 64 * kMiB;
  }));
  ASSERT_TRUE(comes_true([&] {
    clock.advance(milliseconds(500));
    return daemon.held() == 2 * kMiB;
  })) << daemon.held();
  EXPECT_TRUE(reservation.try_grow(2 * kMiB));
}

TEST(LeasePoolTest, AGrantLostWithTheStreamBecomesSlackAtTheNextAttach) {
  ScriptedDaemon daemon({.capacity_bytes = 8 * kMiB});
  daemon.hold_requests(true);
  auto reservation = open(daemon, "r");
  auto waiting =
      std::async(std::launch::async, [&] { return reservation.acquire(kMiB, kMiB, seconds(10)); });
  ASSERT_TRUE(comes_true([&] { return daemon.held_requests().size() == 1; }));
  daemon.lose_next_grant();
  daemon.answer_held();  // on this thread, so that the loss is over before the next line
  daemon.attach();
  EXPECT_EQ(waiting.get(), kMiB);
  EXPECT_EQ(daemon.requests().size(), 1u);  // served from what was found, not sent again
}

TEST(LeasePoolTest, OpenRequestsAreSentAgain) {
  ScriptedDaemon daemon({.capacity_bytes = 8 * kMiB});
  daemon.hold_requests(true);
  auto reservation = open(daemon, "r");
  auto waiting =
      std::async(std::launch::async, [&] { return reservation.acquire(kMiB, kMiB, seconds(10)); });
  ASSERT_TRUE(comes_true([&] { return daemon.requests().size() == 1; }));
  daemon.detach();
  daemon.hold_requests(false);
  daemon.attach();
  EXPECT_EQ(waiting.get(), kMiB);
  ASSERT_EQ(daemon.requests().size(), 2u);
  EXPECT_EQ(daemon.requests()[0].id, daemon.requests()[1].id);
  EXPECT_LE(daemon.requests()[1].wait_ms, 10'000);
}

TEST(LeasePoolTest, ConnectsAtTheFirstRequest) {
  ScriptedDaemon daemon({.capacity_bytes = 8 * kMiB, .attached = false});
  auto reservation = open(daemon, "r");
  EXPECT_TRUE(daemon.requests().empty());
  auto waiting =
      std::async(std::launch::async, [&] { return reservation.acquire(0, kMiB, seconds(10)); });
  ASSERT_TRUE(comes_true([&] { return daemon.requests().size() == 1; }));
  daemon.attach();
  EXPECT_EQ(waiting.get(), kMiB);
}

TEST(LeasePoolTest, AFinalErrorEndsTheWaits) {
  ScriptedDaemon daemon({.capacity_bytes = 8 * kMiB, .attached = false});
  auto reservation = open(daemon, "r");
  auto waiting =
      std::async(std::launch::async, [&] { return reservation.acquire(kMiB, kMiB, seconds(10)); });
  ASSERT_TRUE(comes_true([&] { return daemon.requests().size() == 1; }));
  daemon.detach(true);
  EXPECT_EQ(waiting.get().error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(reservation.try_grow(1).error().code(), ErrorCode::kUnavailable);
}

TEST(LeasePoolTest, WhatTheFloorCoversIsNotAskedForInVain) {
  ScriptedDaemon daemon({.capacity_bytes = 8 * kMiB, .floor_bytes = 2 * kMiB, .attached = false});
  auto reservation = open(daemon, "r");
  auto waiting = std::async(std::launch::async,
                            [&] { return reservation.acquire(8 * kMiB, 8 * kMiB, seconds(10)); });
  ASSERT_TRUE(comes_true([&] { return daemon.requests().size() == 1; }));
  daemon.attach();  // refuses the 8 MiB: with the floor that would be 10
  const auto got = waiting.get();
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(daemon.held(), 8 * kMiB);
}

TEST(LeasePoolTest, AClosedPoolOnlyShrinks) {
  ScriptedDaemon daemon({.capacity_bytes = 8 * kMiB, .floor_bytes = kMiB});
  auto reservation = open(daemon, "r");
  ASSERT_TRUE(reservation.try_grow(4 * kMiB));
  auto& pool = static_cast<LeasePool&>(*daemon.pool());
  pool.close();
  EXPECT_EQ(daemon.held(), 4 * kMiB);
  EXPECT_EQ(reservation.try_grow(1).error().code(), ErrorCode::kClosed);
  EXPECT_EQ(reservation.acquire(1, 1, seconds(1)).error().code(), ErrorCode::kClosed);
  ASSERT_TRUE(reservation.shrink(kMiB));
  EXPECT_EQ(daemon.held(), 3 * kMiB);
  reservation.free();
  EXPECT_EQ(daemon.held(), kMiB);
}

TEST(LeasePoolTest, ReservationsOutliveTheLender) {
  MemoryReservation reservation;
  {
    ScriptedDaemon daemon({.capacity_bytes = 8 * kMiB});
    reservation = open(daemon, "r");
    ASSERT_TRUE(reservation.try_grow(4 * kMiB));
  }
  EXPECT_EQ(reservation.size(), 4 * kMiB);
  EXPECT_EQ(reservation.try_grow(1).error().code(), ErrorCode::kClosed);
  EXPECT_TRUE(reservation.shrink(kMiB));
  EXPECT_EQ(reservation.free(), 3 * kMiB);
}

TEST(LeasePoolTest, AsynchronousAcquire) {
  ScriptedDaemon daemon({.capacity_bytes = 8 * kMiB});
  daemon.hold_requests(true);
  auto reservation = open(daemon, "r");
  std::promise<Result<std::int64_t>> granted;
  const AcquireTicket ticket = reservation.acquire_async(
      kMiB, kMiB, seconds(10),
      [&](Result<std::int64_t> got) { granted.set_value(std::move(got)); });
  ASSERT_TRUE(comes_true([&] { return daemon.held_requests().size() == 1; }));
  daemon.answer_held();
  EXPECT_EQ(granted.get_future().get(), kMiB);
  EXPECT_EQ(reservation.size(), kMiB);

  std::promise<Result<std::int64_t>> cancelled;
  AcquireTicket second = reservation.acquire_async(
      8 * kMiB, 8 * kMiB, seconds(10),
      [&](Result<std::int64_t> got) { cancelled.set_value(std::move(got)); });
  ASSERT_TRUE(comes_true([&] { return daemon.held_requests().size() == 1; }));
  second.cancel();
  EXPECT_EQ(cancelled.get_future().get().error().code(), ErrorCode::kCancelled);
  EXPECT_EQ(daemon.cancelled(), 1);
}

}  // namespace
}  // namespace membroker
