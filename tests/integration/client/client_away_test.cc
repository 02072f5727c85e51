#include <future>
#include <thread>

#include "membroker/spill.h"
#include "tests/integration/client/client_fixture.h"

// What becomes of growth while a real daemon is away, in each mode of ClientOptions::when_away. The
// mode `wait` is the default: client_faults_test.cc.

namespace membroker::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

class WhenAwayTest : public ClientTest {
 protected:
  Client open_with(WhenAway when_away, const std::string& tenant = "a") const {
    ClientOptions with = options(tenant);
    with.when_away = when_away;
    return *Client::open(with);
  }
  static bool quick(std::chrono::steady_clock::time_point since) {
    return std::chrono::steady_clock::now() - since < 5s;  // of a wait of 30 s
  }
  // The lease is told a moment after the state can be seen.
  static Status refused(MemoryReservation& reservation, std::int64_t bytes) {
    Status status;
    EXPECT_TRUE(comes_true([&] {
      status = reservation.try_grow(bytes);
      return !status || !reservation.shrink(bytes);
    }));
    return status;
  }
  static ErrorCode code(const Status& status) {
    return status ? ErrorCode::kInvalid : status.error().code();  // nothing here is invalid
  }
};

TEST_F(WhenAwayTest, FailRefusesAllGrowthAndKeepsWhatIsHeld) {
  ASSERT_TRUE(daemon_.start());
  Client client = open_with(WhenAway::fail());
  auto reservation = reserved(client, "sort", 20 * kMiB);
  ASSERT_TRUE(reservation.shrink(5 * kMiB));
  daemon_.kill9();
  ASSERT_TRUE(becomes(client, ConnectionState::kAway));
  ASSERT_GE(ram(client).slack_bytes, 5 * kMiB);
  const Status why = refused(reservation, 1);
  ASSERT_EQ(code(why), ErrorCode::kUnavailable);
  EXPECT_THAT(why.error().message(), HasSubstr("membrokerd"));
  const auto before = std::chrono::steady_clock::now();
  const auto acquired = reservation.acquire(1, kMiB, 30s);
  ASSERT_FALSE(acquired);
  EXPECT_EQ(acquired.error().code(), ErrorCode::kUnavailable);
  EXPECT_TRUE(quick(before));
  EXPECT_EQ(reservation.size(), 15 * kMiB);
  EXPECT_TRUE(reservation.shrink(kMiB));
  ASSERT_TRUE(daemon_.start());
  ASSERT_TRUE(client.wait_connected(10s));
  EXPECT_TRUE(reservation.acquire(30 * kMiB, 30 * kMiB, 10s));
}

TEST_F(WhenAwayTest, KeepGoesOnWithinTheLeaseAndEndsWaitsUnderWay) {
  ASSERT_TRUE(daemon_.start());
  Client first = open("b");
  auto held = reserved(first, "unspillable", 40 * kMiB);
  Client client = open_with(WhenAway::keep());
  auto reservation = reserved(client, "sort", 10 * kMiB);
  auto wanted = MemoryConsumer("wanted").register_with(client.pool());
  auto waiting =
      std::async(std::launch::async, [&] { return wanted.acquire(30 * kMiB, 30 * kMiB, 30s); });
  ASSERT_TRUE(comes_true([&] { return ram(client).requests_asked >= 2; }));
  const auto before = std::chrono::steady_clock::now();
  daemon_.kill9();
  const auto ended = waiting.get();
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code(), ErrorCode::kUnavailable);
  EXPECT_TRUE(quick(before));
  ASSERT_TRUE(reservation.shrink(5 * kMiB));
  EXPECT_TRUE(reservation.try_grow(5 * kMiB));
  EXPECT_EQ(code(reservation.try_grow(60 * kMiB)), ErrorCode::kUnavailable);
  ASSERT_TRUE(daemon_.start());
  ASSERT_TRUE(client.wait_connected(10s));
  ASSERT_TRUE(first.wait_connected(10s));
  held.free();
  EXPECT_TRUE(reservation.acquire(20 * kMiB, 20 * kMiB, 10s));
  // Nobody asks any more for what was refused.
  EXPECT_LE(ram(client).held_bytes, 64 * kMiB);
  reservation.free();
  EXPECT_TRUE(client.close()->ended);
}

TEST_F(WhenAwayTest, KeepIsNoHindranceToTheFirstConnection) {
  Client client = open_with(WhenAway::keep());
  auto reservation = MemoryConsumer("sort").register_with(client.pool());
  EXPECT_FALSE(reservation.acquire(kMiB, kMiB, 30s));  // there is no daemon
  ASSERT_TRUE(daemon_.start());
  ASSERT_TRUE(client.wait_connected(10s));
  EXPECT_TRUE(reservation.acquire(kMiB, kMiB, 10s));
}

TEST_F(WhenAwayTest, StandaloneServesWithoutADaemonWhichThenLearnsOfAllOfIt) {
  Client client = open_with(WhenAway::standalone(48 * kMiB));
  const auto workspace = client.spill_workspace(10s);
  ASSERT_TRUE(workspace) << workspace.error().message();
  auto reservation = MemoryConsumer("sort").register_with(client.pool());
  const auto acquired = reservation.acquire(40 * kMiB, 40 * kMiB, 10s);
  ASSERT_TRUE(acquired) << acquired.error().message();
  EXPECT_EQ(ram(client).reserved_bytes, 44 * kMiB);
  EXPECT_EQ(code(reservation.try_grow(5 * kMiB)), ErrorCode::kUnavailable);
  EXPECT_TRUE(reservation.try_grow(4 * kMiB));

  ASSERT_TRUE(daemon_.start());
  ASSERT_TRUE(client.wait_connected(10s));
  EXPECT_EQ(client.stats().session_id == 0, false);
  EXPECT_GE(ram(client).held_bytes, 48 * kMiB);
  // Another gets what this one does not hold, and not a byte more.
  Client second = open("b");
  auto rest = MemoryConsumer("rest").register_with(second.pool());
  EXPECT_FALSE(rest.acquire(20 * kMiB, 20 * kMiB, 300ms));
  EXPECT_LE(ram(client).held_bytes + ram(second).held_bytes, 64 * kMiB);
  reservation.free();
  EXPECT_TRUE(rest.acquire(20 * kMiB, 20 * kMiB, 10s));
}

TEST_F(WhenAwayTest, WhatStandaloneTookBeyondTheCapacityIsDebtAndRepaidFirst) {
  ASSERT_TRUE(daemon_.start());
  Client client = open_with(WhenAway::standalone(100 * kMiB));
  auto reservation = reserved(client, "sort", 20 * kMiB);
  daemon_.kill9();
  ASSERT_TRUE(becomes(client, ConnectionState::kAway));
  ASSERT_TRUE(reservation.acquire(70 * kMiB, 70 * kMiB, 10s));
  EXPECT_EQ(reservation.size(), 90 * kMiB);
  ASSERT_TRUE(daemon_.start());
  ASSERT_TRUE(client.wait_connected(10s));
  EXPECT_TRUE(comes_true([&] { return ram(client).debt_bytes > 0; }));
  EXPECT_GE(ram(client).held_bytes, 90 * kMiB);
  EXPECT_TRUE(daemon_.logs("event=debt_over_cap tenant=a")) << daemon_.log();
  EXPECT_FALSE(reservation.try_grow(10 * kMiB)) << "the budget was for the absence";
  ASSERT_TRUE(reservation.shrink(60 * kMiB));
  EXPECT_TRUE(comes_true([&] { return ram(client).debt_bytes == 0; }));
  EXPECT_LE(ram(client).held_bytes, 64 * kMiB);
  reservation.free();
  EXPECT_TRUE(client.close()->ended);
}

TEST_F(WhenAwayTest, StandaloneHasItsOwnConsumersSpill) {
  Client client = open_with(WhenAway::standalone(32 * kMiB));
  Spillable old(client.pool(), "old");
  ASSERT_TRUE(old->acquire(24 * kMiB, 24 * kMiB, 10s));
  auto wanted = MemoryConsumer("wanted").register_with(client.pool());
  const auto got = wanted.acquire(16 * kMiB, 16 * kMiB, 10s);
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_GE(old.spills(), 1);
  EXPECT_LE(ram(client).held_bytes, 32 * kMiB);
}

TEST_F(WhenAwayTest, StandaloneThroughManyLives) {
  ASSERT_TRUE(daemon_.start());
  Client client = open_with(WhenAway::standalone(40 * kMiB));
  std::atomic<bool> stop{false};
  std::atomic<int> served{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      Spillable consumer(client.pool(), "worker");
      while (!stop) {
        if (consumer->acquire(kMiB, 4 * kMiB, 100ms)) {
          ++served;
        } else {
          consumer->free();
        }
        if (consumer->size() > 24 * kMiB) consumer->free();
      }
    });
  }
  for (int life = 0; life < 4; ++life) {
    daemon_.kill9();
    EXPECT_TRUE(becomes(client, ConnectionState::kAway));
    const int before = served;
    EXPECT_TRUE(comes_true([&] { return served > before + 20; }));
    ASSERT_TRUE(daemon_.start());
    EXPECT_TRUE(client.wait_connected(10s));
    EXPECT_LE(ram(client).held_bytes - ram(client).debt_bytes, 64 * kMiB);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(client.close()->ended);
}

TEST_F(WhenAwayTest, OptionsAreChecked) {
  const auto wrong = [](WhenAway when_away, std::int64_t child) {
    const auto client =
        Client::open({.tenant = "a", .when_away = when_away, .child_budget_bytes = child});
    return client ? std::string("no error") : client.error().message();
  };
  EXPECT_THAT(wrong(WhenAway::standalone(0), 0), HasSubstr("when_away"));
  EXPECT_THAT(wrong(WhenAway::standalone(-1), 0), HasSubstr("when_away"));
  EXPECT_THAT(wrong({.mode = WhenAway::Mode::kKeep, .bytes = 1}, 0), HasSubstr("when_away"));
  EXPECT_THAT(wrong({}, -1), HasSubstr("child_budget_bytes"));
  EXPECT_EQ(wrong(WhenAway::standalone(1), 1), "no error");
}

}  // namespace
}  // namespace membroker::testing
