#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <future>
#include <thread>

#include "membroker/allocator.h"
#include "membroker/buffer.h"
#include "membroker/spill.h"
#include "tests/integration/client/client_fixture.h"
#include "tests/kit/in_child.h"

// fork() in every state of a client.

namespace membroker::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

class ForkedClientTest : public ClientTest {
 protected:
  /// What a child finds: 0, or bits of what is not as it should be.
  int cut_off(Client& client, MemoryReservation& reservation) const {
    const auto forked = [](const auto& result) {
      return !result && result.error().code() == ErrorCode::kForked;
    };
    const std::int64_t size = reservation.size();
    int wrong = 0;
    if (!forked(reservation.try_grow(1)) || !forked(reservation.grow(1))) wrong |= 1;
    if (!forked(reservation.acquire(1, 60 * kMiB, 10s))) wrong |= 2;
    if (!forked(client.wait_connected(10s)) || !forked(client.spill_workspace(10s))) wrong |= 4;
    if (!forked(client.close()) || !forked(client.close())) wrong |= 8;
    if (client.stats().state != ConnectionState::kForked) wrong |= 16;
    if (!forked(Client::open(options("b")))) wrong |= 32;
    auto late = MemoryConsumer("late").register_with(client.pool());
    if (!forked(late.try_grow(kMiB))) wrong |= 64;
    if (!forked(client.allocator()->allocate(1))) wrong |= 64;
    if (reservation.free() != 0 || reservation.size() != size) wrong |= 128;
    return wrong;
  }
  int child_is_cut_off(Client& client, MemoryReservation& reservation) const {
    return in_child([&] { return cut_off(client, reservation); });
  }
};

TEST_F(ForkedClientTest, WhileItConnects) {
  ASSERT_TRUE(daemon_.start());
  daemon_.signal(SIGSTOP);  // accepts, and does not answer
  Client client = open();
  auto reservation = MemoryConsumer("sort").register_with(client.pool());
  auto connecting = std::async(std::launch::async, [&] { return client.wait_connected(60s); });
  ASSERT_TRUE(comes_true([&] { return client.stats().state != ConnectionState::kIdle; }));
  EXPECT_EQ(child_is_cut_off(client, reservation), 0);
  daemon_.signal(SIGCONT);
  EXPECT_TRUE(connecting.get());
  EXPECT_TRUE(reservation.acquire(20 * kMiB, 20 * kMiB, 10s));
}

TEST_F(ForkedClientTest, WhileTheDaemonIsAway) {
  Client client = open();
  auto reservation = MemoryConsumer("sort").register_with(client.pool());
  EXPECT_FALSE(client.wait_connected(10ms));
  ASSERT_TRUE(becomes(client, ConnectionState::kAway));
  EXPECT_EQ(child_is_cut_off(client, reservation), 0);
  ASSERT_TRUE(daemon_.start());
  EXPECT_TRUE(reservation.acquire(20 * kMiB, 20 * kMiB, 10s));
}

TEST_F(ForkedClientTest, WhileAnotherThreadAcquires) {
  ASSERT_TRUE(daemon_.start());
  Client first = open("b");
  auto held = reserved(first, "unspillable", 50 * kMiB);
  Client client = open();
  auto mine = reserved(client, "mine", kMiB);
  auto wanted = MemoryConsumer("wanted").register_with(client.pool());
  const auto asked = ram(client).requests_asked;
  auto waiting =
      std::async(std::launch::async, [&] { return wanted.acquire(30 * kMiB, 30 * kMiB, 20s); });
  ASSERT_TRUE(comes_true([&] { return ram(client).requests_asked > asked; }));
  EXPECT_EQ(child_is_cut_off(client, mine), 0);
  held.free();
  EXPECT_TRUE(waiting.get());
  EXPECT_EQ(client.stats().reconnects, 0U);
}

TEST_F(ForkedClientTest, WhileManyThreadsReserve) {
  ASSERT_TRUE(daemon_.start());
  Client client = open();
  auto mine = reserved(client, "mine", kMiB);
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      auto busy = MemoryConsumer("busy").register_with(client.pool());
      while (!stop) {
        if (!busy.try_grow(64 << 10) || busy.size() > 8 * kMiB) busy.free();
      }
    });
  }
  for (int i = 0; i < 10; ++i) EXPECT_EQ(child_is_cut_off(client, mine), 0);
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(mine.acquire(kMiB, kMiB, 10s));
}

TEST_F(ForkedClientTest, InsideASpillCallBack) {
  ASSERT_TRUE(daemon_.start());
  Client client = open();
  auto other = MemoryConsumer("other").register_with(client.pool());
  MemoryReservation hog;
  std::atomic<int> child{-1};
  hog = MemoryConsumer("hog")
            .with_spill([&](const SpillRequest& request) -> std::int64_t {
              child = child_is_cut_off(client, other);
              const std::int64_t bytes = std::min(request.bytes, hog.size());
              return hog.shrink(bytes) ? bytes : 0;
            })
            .register_with(client.pool());
  ASSERT_TRUE(hog.acquire(50 * kMiB, 50 * kMiB, 10s));
  Client second = open("b");
  auto wanted = MemoryConsumer("wanted").register_with(second.pool());
  EXPECT_TRUE(wanted.acquire(24 * kMiB, 24 * kMiB, 20s));
  EXPECT_EQ(child, 0);
}

TEST_F(ForkedClientTest, Twice) {
  ASSERT_TRUE(daemon_.start());
  Client client = open();
  auto reservation = reserved(client, "sort", 20 * kMiB);
  EXPECT_EQ(in_child([&] {
              if (const int wrong = cut_off(client, reservation); wrong != 0) return wrong;
              return child_is_cut_off(client, reservation);
            }),
            0);
  EXPECT_TRUE(reservation.acquire(10 * kMiB, 10 * kMiB, 10s));
}

TEST_F(ForkedClientTest, AnExecInTheChildOpensAClientOfItsOwn) {
  ASSERT_TRUE(daemon_.start());
  Client client = open("b");
  auto reservation = reserved(client, "sort", 20 * kMiB);
  const std::string socket = daemon_.broker_socket();
  EXPECT_EQ(in_child([&] {
              ::execl(CLIENT_PROGRAM, CLIENT_PROGRAM, "reserve", socket.c_str(), nullptr);
              return 127;
            }),
            0);
  EXPECT_TRUE(daemon_.logs("client=reserve"));
  EXPECT_EQ(client.stats().state, ConnectionState::kAttached);
  EXPECT_EQ(reservation.size(), 20 * kMiB);
}

TEST_F(ForkedClientTest, BuffersStayReadableAndEverythingMayEndInTheChild) {
  ASSERT_TRUE(daemon_.start());
  auto client = std::make_unique<Client>(open());
  auto pool = client->pool();
  auto reservation = MemoryConsumer("sort").register_with(pool);
  ASSERT_TRUE(reservation.acquire(20 * kMiB, 20 * kMiB, 10s));
  auto made = allocate_buffer(kMiB, client->allocator());
  ASSERT_TRUE(made) << made.error().message();
  made->data()[kMiB - 1] = 42;
  EXPECT_EQ(in_child([&] {
              const bool readable = made->data()[kMiB - 1] == 42;
              client.reset();
              { const MutableBuffer gone = *std::move(made); }
              reservation = MemoryReservation();
              pool.reset();
              return readable ? 0 : 1;
            }),
            0);
  EXPECT_EQ(ram(*client).reserved_bytes, 21 * kMiB);
  EXPECT_TRUE(reservation.try_grow(kMiB));
}

// ---- child_budget_bytes ----

class ChildBudgetTest : public ForkedClientTest {
 protected:
  Client open_with(std::int64_t budget) const {
    ClientOptions with = options();
    with.child_budget_bytes = budget;
    return *Client::open(with);
  }
};

TEST_F(ChildBudgetTest, ServesTheChildAndIsItsAlone) {
  ASSERT_TRUE(daemon_.start());
  Client client = open_with(16 * kMiB);
  const auto of_parent = client.pool();
  auto reservation = MemoryConsumer("sort").register_with(of_parent);
  ASSERT_TRUE(reservation.acquire(20 * kMiB, 20 * kMiB, 10s));
  EXPECT_EQ(client.pool(), of_parent);
  const auto serves = [&] {
    int wrong = 0;
    auto mine = MemoryConsumer("mine").register_with(client.pool());
    if (!mine.try_grow(16 * kMiB)) wrong |= 1;
    if (mine.try_grow(1)) wrong |= 2;
    mine.free();
    if (client.pool() == of_parent || client.pool() != client.pool()) wrong |= 4;
    const auto before = reservation.size();
    if (reservation.try_grow(1) || reservation.size() != before) wrong |= 8;
    if (!client.allocator()->allocate(kMiB)) wrong |= 16;
    const ClientStats stats = client.stats();
    if (stats.state != ConnectionState::kForked || stats.resources.size() != 1) return wrong | 32;
    if (stats.resources[0].reserved_bytes < kMiB) wrong |= 64;
    return wrong;
  };
  EXPECT_EQ(in_child(serves), 0);
  // A child's child has as much again, whatever its parent used.
  EXPECT_EQ(in_child([&] {
              auto kept = MemoryConsumer("kept").register_with(client.pool());
              if (!kept.try_grow(10 * kMiB)) return 200;
              return in_child(serves);
            }),
            0);
  EXPECT_EQ(client.pool(), of_parent);
  EXPECT_TRUE(reservation.acquire(10 * kMiB, 10 * kMiB, 10s));
}

TEST_F(ChildBudgetTest, TooSmallForAWorkspaceIsSaidAtOnce) {
  ASSERT_TRUE(daemon_.start());
  Client client = open_with(kMiB / 2);
  ASSERT_TRUE(client.wait_connected(10s));
  EXPECT_EQ(in_child([&] {
              const auto none = client.spill_workspace(60s);
              return !none && none.error().code() == ErrorCode::kInvalid ? 0 : 1;
            }),
            0);
}

TEST_F(ChildBudgetTest, IsEnoughToSpill) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer allows no thread in a child of a process with threads";
#endif
  ASSERT_TRUE(daemon_.start());
  Client client = open_with(16 * kMiB);
  ASSERT_TRUE(client.wait_connected(10s));
  ASSERT_TRUE(client.spill_workspace(10s));  // the parent's; of no use in the child
  const std::string folder = daemon_.path("spill");
  EXPECT_EQ(in_child([&] {
              auto workspace = client.spill_workspace(10s);
              if (!workspace || *client.spill_workspace(10s) != *workspace) return 1;
              const auto directories = SpillDirectories::open({folder});
              if (!directories) return 2;
              auto channel = spill_channel({.directories = *directories,
                                            .read_ahead = kSpillReadAheadBytesMin,
                                            .workspace = *workspace});
              if (!channel) return 3;
              const Buffer batch = Buffer::from_string(std::string(kMiB, 'x'));
              if (!channel->writer.push_batch({&batch, 1})) return 4;
              if (!channel->writer.finish()) return 5;
              const auto read = channel->reader.next();
              return read && read->has_value() && (*read)->size() == kMiB ? 0 : 6;
            }),
            0);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace membroker::testing
