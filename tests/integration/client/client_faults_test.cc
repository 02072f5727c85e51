#include <csignal>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/integration/client/client_fixture.h"
#include "tests/kit/in_child.h"

namespace membroker::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

TEST_F(ClientTest, AMissingSocketIsNamed) {
  Client client = open();
  const Status status = client.wait_connected(50ms);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::kTimeout);
  EXPECT_THAT(status.error().message(), HasSubstr(daemon_.broker_socket()));
  auto reservation = MemoryConsumer("sort").register_with(client.pool());
  const Status grown = reservation.try_grow(kMiB);
  ASSERT_FALSE(grown);
  EXPECT_THAT(grown.error().message(), HasSubstr("membrokerd"));
  ASSERT_TRUE(daemon_.start());  // it comes later: nothing is to be done
  ASSERT_TRUE(client.wait_connected(10s));
  EXPECT_TRUE(reservation.acquire(kMiB, kMiB, 10s));
}

TEST_F(ClientTest, AnUnknownTenantIsARefusalNotARetry) {
  ASSERT_TRUE(daemon_.start());
  Client client = open("acme");
  const Status status = client.wait_connected(10s);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(status.error().message(), HasSubstr("acme"));
  EXPECT_EQ(client.stats().state, ConnectionState::kRefused);
  auto reservation = MemoryConsumer("sort").register_with(client.pool());
  const auto before = std::chrono::steady_clock::now();
  const auto acquired = reservation.acquire(kMiB, kMiB, 10s);
  ASSERT_FALSE(acquired);
  EXPECT_EQ(acquired.error().code(), ErrorCode::kNotFound) << acquired.error().message();
  EXPECT_LT(std::chrono::steady_clock::now() - before, 5s);
  EXPECT_LE(count(daemon_.log(), "there is no tenant acme"), 2U);
}

TEST_F(ClientTest, TheWrongUserIsRefused) {
  ASSERT_TRUE(daemon_.start());
  Client client = open("nobody");
  const Status status = client.wait_connected(10s);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::kPermissionDenied);
  EXPECT_THAT(status.error().message(), HasSubstr("nobody"));
}

TEST_F(ClientTest, AnUnknownResourceIsRefused) {
  ASSERT_TRUE(daemon_.start());
  ClientOptions odd = options();
  odd.resources = {{"ram"}, {"tape"}};
  Client client = *Client::open(odd);
  const Status status = client.wait_connected(10s);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(status.error().message(), HasSubstr("tape"));
}

TEST_F(ClientTest, ADaemonKilledAndRestartedFindsTheSessionAgain) {
  ASSERT_TRUE(daemon_.start());
  Client client = open();
  auto reservation = reserved(client, "sort", 20 * kMiB);
  const ClientStats before = client.stats();
  for (int life = 1; life <= 3; ++life) {
    daemon_.kill9();
    ASSERT_TRUE(becomes(client, ConnectionState::kAway));
    EXPECT_EQ(reservation.size(), 20 * kMiB);
    ASSERT_TRUE(daemon_.start());
    ASSERT_TRUE(client.wait_connected(10s));
    const ClientStats after = client.stats();
    EXPECT_EQ(after.session_id, before.session_id);
    EXPECT_GT(after.epoch, before.epoch);
    EXPECT_EQ(after.reconnects, static_cast<std::uint64_t>(life));
    EXPECT_GE(ram(client).held_bytes, 20 * kMiB);
  }
  ASSERT_TRUE(reservation.acquire(10 * kMiB, 10 * kMiB, 10s));
  reservation.free();
  EXPECT_TRUE(client.close()->ended);
}

TEST_F(ClientTest, WhileTheDaemonIsAwayTheLeaseServes) {
  ASSERT_TRUE(daemon_.start());
  Client client = open();
  auto reservation = reserved(client, "sort", 20 * kMiB);
  daemon_.kill9();
  ASSERT_TRUE(becomes(client, ConnectionState::kAway));
  ASSERT_TRUE(reservation.shrink(10 * kMiB));
  EXPECT_TRUE(reservation.try_grow(ram(client).slack_bytes));
  const auto before = std::chrono::steady_clock::now();
  const Status status = reservation.try_grow(60 * kMiB);
  ASSERT_FALSE(status);
  EXPECT_LT(std::chrono::steady_clock::now() - before, 1s);
  EXPECT_THAT(status.error().message(), HasSubstr("membrokerd"));
}

TEST_F(ClientTest, AWaitingRequestSurvivesTheDaemon) {
  ASSERT_TRUE(daemon_.start());
  Client first = open("a");
  auto held = reserved(first, "unspillable", 50 * kMiB);
  Client second = open("b");
  auto wanted = MemoryConsumer("wanted").register_with(second.pool());
  std::thread waiter([&] {
    const auto granted = wanted.acquire(30 * kMiB, 30 * kMiB, 20s);
    EXPECT_TRUE(granted) << granted.error().message();
  });
  ASSERT_TRUE(comes_true([&] { return ram(second).requests_asked >= 1; }));
  daemon_.kill9();
  ASSERT_TRUE(daemon_.start());
  ASSERT_TRUE(first.wait_connected(10s));
  held.free();
  waiter.join();
  EXPECT_EQ(wanted.size(), 30 * kMiB);
}

TEST_F(ClientTest, AStoppedDaemonIsMissedAndFoundAgain) {
  ASSERT_TRUE(daemon_.start());
  Client client = open();
  auto reservation = reserved(client, "sort", 20 * kMiB);
  daemon_.signal(SIGSTOP);
  ASSERT_TRUE(becomes(client, ConnectionState::kAway));
  EXPECT_THAT(client.stats().last_error, HasSubstr("silent"));
  daemon_.signal(SIGCONT);
  ASSERT_TRUE(client.wait_connected(10s));
  EXPECT_GE(client.stats().reconnects, 1U);
  EXPECT_TRUE(reservation.acquire(10 * kMiB, 10 * kMiB, 10s));
}

TEST_F(ClientTest, AStoppedDaemonHoldsUpNobodysEnd) {
  ASSERT_TRUE(daemon_.start());
  auto before = std::chrono::steady_clock::now();
  {
    Client client = open();
    auto reservation = reserved(client, "sort", 20 * kMiB);
    daemon_.signal(SIGSTOP);
    before = std::chrono::steady_clock::now();
    reservation.free();
    EXPECT_LT(std::chrono::steady_clock::now() - before, 1s);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - before, 3s);
  daemon_.signal(SIGCONT);
}

TEST_F(ClientTest, ForkCutsTheChildOffAndNotTheParent) {
  ASSERT_TRUE(daemon_.start());
  Client client = open();
  auto reservation = reserved(client, "sort", 20 * kMiB);
  const int child = in_child([&] {
    const auto forked = [](const auto& result) {
      return !result && result.error().code() == ErrorCode::kForked;
    };
    int wrong = 0;
    if (!forked(reservation.try_grow(60 * kMiB))) wrong |= 1;
    if (!forked(reservation.acquire(kMiB, 60 * kMiB, 10s))) wrong |= 2;
    if (!forked(client.wait_connected(10s))) wrong |= 4;
    if (!forked(client.close())) wrong |= 8;
    if (client.stats().state != ConnectionState::kForked) wrong |= 16;
    if (!forked(Client::open(options("b")))) wrong |= 32;
    reservation.free();
    { const Client gone = std::move(client); }
    return wrong;
  });
  EXPECT_EQ(child, 0);
  EXPECT_EQ(reservation.size(), 20 * kMiB);
  EXPECT_TRUE(reservation.acquire(10 * kMiB, 10 * kMiB, 10s));
  EXPECT_EQ(client.stats().reconnects, 0U);
}

TEST_F(ClientTest, AForkedChildMayExitNormally) {
  ASSERT_TRUE(daemon_.start());
  Client client = open();
  ASSERT_TRUE(client.wait_connected(10s));
  EXPECT_EQ(in_child([]() -> int { std::quick_exit(0); }), 0);
}

TEST_F(ClientTest, AClientOpenedBeforeTheForkServesTheChild) {
  ASSERT_TRUE(daemon_.start());
  // A program of its own: this one may have used gRPC before.
  ChildProcess program({CLIENT_PROGRAM, "fork-first", daemon_.broker_socket()},
                       daemon_.path("out"));
  EXPECT_EQ(program.wait(), 0);
  EXPECT_GE(count(daemon_.log(), "session_opened"), 2U);
}

TEST_F(ClientTest, AProcessMayExitWithoutClosing) {
  ASSERT_TRUE(daemon_.start());
  ChildProcess program({CLIENT_PROGRAM, "leak", daemon_.broker_socket()}, daemon_.path("out"));
  EXPECT_EQ(program.wait(), 0);
  EXPECT_TRUE(daemon_.logs("session_gone"));
}

TEST_F(ClientTest, AKilledClientsBytesComeBack) {
  ASSERT_TRUE(daemon_.start());
  ChildProcess program({CLIENT_PROGRAM, "hold", daemon_.broker_socket()}, daemon_.path("out"));
  Client client = open("b");
  auto wanted = MemoryConsumer("wanted").register_with(client.pool());
  ASSERT_TRUE(daemon_.logs("session_opened"));
  program.signal(SIGKILL);
  EXPECT_EQ(program.wait(), 128 + SIGKILL);
  EXPECT_TRUE(daemon_.logs("why=process_ended"));
  EXPECT_TRUE(wanted.acquire(60 * kMiB, 60 * kMiB, 10s));
}

TEST_F(ClientTest, WhatHappensIsLogged) {
  std::mutex mutex;
  std::vector<std::pair<LogLevel, std::string>> lines;
  ClientOptions loud = options();
  loud.log = [&](LogLevel level, std::string_view line) {
    const std::lock_guard lock(mutex);
    lines.emplace_back(level, line);
    throw 1;  // the sink's own trouble stays there
  };
  ASSERT_TRUE(daemon_.start());
  Client client = *Client::open(loud);
  ASSERT_TRUE(client.wait_connected(10s));
  daemon_.kill9();
  ASSERT_TRUE(becomes(client, ConnectionState::kAway));
  const std::lock_guard lock(mutex);
  ASSERT_GE(lines.size(), 2U);
  EXPECT_THAT(lines[0].second, HasSubstr("attached session="));
  EXPECT_EQ(lines[0].first, LogLevel::kInfo);
  EXPECT_THAT(lines[1].second, HasSubstr("away error="));
  EXPECT_EQ(lines[1].first, LogLevel::kWarn);
}

TEST_F(ClientTest, ManyThreadsThroughManyDaemonLives) {
  ASSERT_TRUE(daemon_.start());
  Client first = open("a");
  Client second = open("b");
  Spillable one(first.pool(), "one");
  Spillable two(second.pool(), "two");
  std::atomic<bool> stop{false};
  const auto work = [&](Spillable& consumer) {
    while (!stop) {
      if (const auto got = consumer->acquire(kMiB, 8 * kMiB, 200ms); !got) consumer->free();
      if (consumer->size() > 40 * kMiB) consumer->free();
    }
  };
  std::vector<std::thread> threads;
  threads.emplace_back([&] { work(one); });
  threads.emplace_back([&] { work(two); });
  for (int life = 0; life < 3; ++life) {
    EXPECT_TRUE(comes_true([&] {
      return ram(first).requests_granted > 0 && ram(second).requests_granted > 0 &&
             first.stats().state == ConnectionState::kAttached &&
             second.stats().state == ConnectionState::kAttached;
    }));
    daemon_.kill9();
    ASSERT_TRUE(daemon_.start());
  }
  EXPECT_TRUE(first.wait_connected(10s));
  EXPECT_TRUE(second.wait_connected(10s));
  stop = true;
  for (std::thread& thread : threads) thread.join();
  one->free();
  two->free();
  EXPECT_TRUE(first.close()->ended);
  EXPECT_TRUE(second.close()->ended);
}

}  // namespace
}  // namespace membroker::testing
