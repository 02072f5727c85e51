#include <array>
#include <latch>
#include <thread>
#include <vector>

#include "membroker/allocator.h"
#include "tests/integration/client/client_fixture.h"

namespace membroker::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

TEST_F(ClientTest, NothingIsConnectedUntilBytesAreAskedFor) {
  ASSERT_TRUE(daemon_.start());
  Client client = open();
  auto reservation = MemoryConsumer("sort").register_with(client.pool());
  EXPECT_EQ(client.stats().state, ConnectionState::kIdle);
  EXPECT_EQ(daemon_.log().find("session_opened"), std::string::npos);
  ASSERT_TRUE(reservation.acquire(20 * kMiB, 20 * kMiB, 10s));
  EXPECT_TRUE(becomes(client, ConnectionState::kAttached));
  EXPECT_NE(client.stats().session_id, 0U);
  EXPECT_GE(ram(client).held_bytes, 20 * kMiB);
  EXPECT_EQ(ram(client).reserved_bytes, 20 * kMiB);
  EXPECT_TRUE(daemon_.logs("client=test"));
}

TEST_F(ClientTest, CloseReturnsEverythingAndEndsTheSession) {
  ASSERT_TRUE(daemon_.start());
  Client client = open();
  { auto reservation = reserved(client, "sort", 20 * kMiB); }
  const auto report = client.close();
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->ended);
  EXPECT_TRUE(report->holders.empty());
  EXPECT_TRUE(daemon_.logs("why=goodbye"));
  EXPECT_EQ(client.stats().state, ConnectionState::kClosed);
  auto late = MemoryConsumer("late").register_with(client.pool());
  const Status status = late.try_grow(1);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::kClosed);
}

TEST_F(ClientTest, CloseNamesTheHoldersAndTheSessionStaysUntilTheyLetGo) {
  ASSERT_TRUE(daemon_.start());
  Client client = open();
  auto big = MemoryConsumer("join").register_with(client.pool());
  auto small = reserved(client, "sort", 5 * kMiB);
  ASSERT_TRUE(big.acquire(10 * kMiB, 10 * kMiB, 10s));
  auto report = client.close();
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->ended);
  ASSERT_EQ(report->holders.size(), 2U);
  EXPECT_EQ(report->holders[0].consumer, "join");
  EXPECT_EQ(report->holders[0].held_bytes, 10 * kMiB);
  EXPECT_EQ(report->holders[1].consumer, "sort");
  EXPECT_EQ(ram(client).reserved_bytes, 15 * kMiB);
  EXPECT_EQ(daemon_.log().find("why=goodbye"), std::string::npos);
  big.free();
  small.free();
  EXPECT_TRUE(daemon_.logs("why=goodbye"));
  report = client.close();
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->ended);
}

TEST_F(ClientTest, AReservationOutlivesItsClientAndEndsTheSession) {
  ASSERT_TRUE(daemon_.start());
  MemoryReservation reservation;
  {
    Client client = open();
    reservation = MemoryConsumer("sort").register_with(client.pool());
    ASSERT_TRUE(reservation.acquire(10 * kMiB, 10 * kMiB, 10s));
  }
  EXPECT_EQ(reservation.size(), 10 * kMiB);
  const Status status = reservation.try_grow(50 * kMiB);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::kClosed);
  EXPECT_EQ(daemon_.log().find("session_gone"), std::string::npos);
  reservation.free();
  EXPECT_TRUE(daemon_.logs("why=goodbye"));
}

TEST_F(ClientTest, OneClientIsRevokedForAnother) {
  ASSERT_TRUE(daemon_.start());
  Client first = open("a");
  Spillable hog(first.pool(), "hog");
  ASSERT_TRUE(hog->acquire(50 * kMiB, 50 * kMiB, 10s));
  Client second = open("b");
  auto wanted = MemoryConsumer("wanted").register_with(second.pool());
  const auto granted = wanted.acquire(24 * kMiB, 24 * kMiB, 10s);
  ASSERT_TRUE(granted) << granted.error().message();
  EXPECT_EQ(*granted, 24 * kMiB);
  EXPECT_GE(hog.spills(), 1);
  EXPECT_NE(hog.thread(), std::this_thread::get_id());
  EXPECT_LE(ram(first).held_bytes + ram(second).held_bytes, 64 * kMiB);
  EXPECT_TRUE(comes_true([&] { return ram(first).revocations_answered >= 1; }));
  EXPECT_GE(ram(first).revocations_asked, 1U);
  EXPECT_EQ(ram(first).revocations_late, 0U);
}

TEST_F(ClientTest, SlackIsGivenUpWithoutSpilling) {
  ASSERT_TRUE(daemon_.start());
  Client first = open("a");
  Spillable idle(first.pool(), "idle");
  ASSERT_TRUE(idle->acquire(50 * kMiB, 50 * kMiB, 10s));
  ASSERT_TRUE(idle->shrink(40 * kMiB));
  Client second = open("b");
  auto wanted = MemoryConsumer("wanted").register_with(second.pool());
  const auto granted = wanted.acquire(30 * kMiB, 30 * kMiB, 10s);
  ASSERT_TRUE(granted) << granted.error().message();
  EXPECT_EQ(idle.spills(), 0);
  EXPECT_EQ(idle->size(), 10 * kMiB);
}

TEST_F(ClientTest, RefusalsSayWhoHoldsWhat) {
  ASSERT_TRUE(daemon_.start());
  Client first = open("a");
  auto held = reserved(first, "unspillable", 50 * kMiB);
  Client second = open("b");
  auto wanted = MemoryConsumer("wanted").register_with(second.pool());
  const Status status = wanted.try_grow(40 * kMiB);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::kResourcesExhausted);
  ASSERT_NE(status.error().denial(), nullptr);
  EXPECT_THAT(status.error().message(), HasSubstr("wanted"));
  EXPECT_EQ(wanted.size(), 0);
}

TEST_F(ClientTest, OverdraftIsToldAndTakenBackFirst) {
  ASSERT_TRUE(daemon_.start());
  Client client = open();
  auto reservation = reserved(client, "sort", 60 * kMiB);
  ASSERT_TRUE(reservation.grow(10 * kMiB));
  EXPECT_GT(ram(client).overdrawn_total, 0);
  EXPECT_TRUE(comes_true([&] { return ram(client).debt_bytes > 0; }));
  ASSERT_TRUE(reservation.shrink(20 * kMiB));
  EXPECT_TRUE(comes_true([&] { return ram(client).debt_bytes == 0; }));
  EXPECT_LE(ram(client).held_bytes, 64 * kMiB);
}

TEST_F(ClientTest, TwoClientsInOneProcessAreTwoSessions) {
  ASSERT_TRUE(daemon_.start());
  Client first = open("a");
  Client second = open("a");
  ASSERT_TRUE(first.wait_connected(10s));
  ASSERT_TRUE(second.wait_connected(10s));
  EXPECT_NE(first.stats().session_id, second.stats().session_id);
  auto one = MemoryConsumer("one").register_with(first.pool());
  auto two = MemoryConsumer("two").register_with(second.pool());
  ASSERT_TRUE(one.acquire(20 * kMiB, 20 * kMiB, 10s));
  ASSERT_TRUE(two.acquire(20 * kMiB, 20 * kMiB, 10s));
  one.free();
  EXPECT_TRUE(first.close()->ended);
  EXPECT_EQ(two.size(), 20 * kMiB);
  ASSERT_TRUE(two.acquire(10 * kMiB, 10 * kMiB, 10s));
}

TEST_F(ClientTest, TheAllocatorChargesTheLease) {
  ASSERT_TRUE(daemon_.start());
  Client client = open();
  const auto allocator = client.allocator();
  EXPECT_EQ(allocator, client.allocator());
  {  // the lease has what is allocated below: a loaded machine may not answer within try_grow's
     // wait
    auto first = reserved(client, "first", 8 * kMiB);
  }
  const auto block = allocator->allocate(8 * kMiB);
  ASSERT_TRUE(block) << block.error().message();
  EXPECT_EQ(ram(client).allocated_bytes, 8 * kMiB);
  EXPECT_GE(ram(client).reserved_bytes, 8 * kMiB);
  allocator->free(*block, 8 * kMiB);
  EXPECT_EQ(ram(client).allocated_bytes, 0);
  EXPECT_FALSE(allocator->allocate(100 * kMiB));
}

TEST_F(ClientTest, AFloorThatDoesNotFitIsMadeSmaller) {
  daemon_.configure(
      "[resources.ram]\ncapacity = \"64MiB\"\n[[tenant]]\npath = \"a\"\nlimit = \"8MiB\"\n");
  ASSERT_TRUE(daemon_.start());
  ClientOptions large = options();
  large.resources = {{.floor_bytes = 8 * kMiB}};
  Client client = *Client::open(large);
  const Status status = client.wait_connected(10s);
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_TRUE(comes_true([&] { return ram(client).floor_bytes == 2 * kMiB; }));
}

TEST(ClientWithoutDaemonTest, EmbeddedHasAFixedCapacity) {
  EXPECT_FALSE(Client::embedded(0));
  Client client = *Client::embedded(32 * kMiB);
  EXPECT_EQ(client.stats().state, ConnectionState::kEmbedded);
  EXPECT_TRUE(client.wait_connected(0ms));
  auto reservation = MemoryConsumer("sort").register_with(client.pool());
  ASSERT_TRUE(reservation.try_grow(32 * kMiB));
  EXPECT_FALSE(reservation.try_grow(1));
  const auto report = client.close();
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->ended);
  EXPECT_EQ(report->holders.size(), 1U);
}

TEST(ClientWithoutDaemonTest, ThreadsThatAskAtOnceGetOneWorkspace) {
  Client client = *Client::embedded(64 * kMiB);
  std::latch ready(4);
  std::array<std::shared_ptr<SpillWorkspace>, 4> got;
  std::vector<std::thread> threads;
  for (auto& workspace : got) {
    threads.emplace_back([&] {
      ready.arrive_and_wait();
      workspace = *client.spill_workspace(10s);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& workspace : got) EXPECT_EQ(workspace, got[0]);
  EXPECT_LE(client.stats().resources[0].peak_reserved_bytes, 8 * kMiB);
}

TEST(ClientWithoutDaemonTest, OptionsAreChecked) {
  const auto wrong = [](ClientOptions options) {
    const auto client = Client::open(std::move(options));
    return client ? std::string("no error") : client.error().message();
  };
  ::unsetenv("MEMBROKER_TENANT");
  EXPECT_THAT(wrong({}), HasSubstr("MEMBROKER_TENANT"));
  EXPECT_THAT(wrong({.tenant = "a", .socket = std::string(108, 'x')}), HasSubstr("socket"));
  EXPECT_THAT(wrong({.tenant = "a", .client_name = std::string(129, 'x')}),
              HasSubstr("client_name"));
  EXPECT_THAT(wrong({.tenant = "a", .labels = {{"k", std::string(129, 'x')}}}),
              HasSubstr("labels"));
  EXPECT_THAT(wrong({.tenant = "a", .resources = {}}), HasSubstr("resources"));
  EXPECT_THAT(wrong({.tenant = "a", .resources = {{"ram"}, {"ram"}}}), HasSubstr("twice"));
  EXPECT_THAT(wrong({.tenant = "a", .resources = {{"ram", -1}}}), HasSubstr("negative"));
  ::setenv("MEMBROKER_TENANT", "a", 1);
  EXPECT_EQ(wrong({}), "no error");
  ::unsetenv("MEMBROKER_TENANT");
}

}  // namespace
}  // namespace membroker::testing
