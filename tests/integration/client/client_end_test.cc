#include <algorithm>
#include <csignal>
#include <filesystem>
#include <future>
#include <numeric>
#include <thread>

#include "membroker/allocator.h"
#include "membroker/buffer.h"
#include "membroker/spill.h"
#include "tests/integration/client/client_fixture.h"

// How clients end: closed while in use, in any order with what was made of them, or not at all.

namespace membroker::testing {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

class ClientEndTest : public ClientTest {
 protected:
  /// The program ends by itself, and soon; the daemon sees it.
  void ends(const char* mode, int code = 0) {
    ChildProcess program({CLIENT_PROGRAM, mode, daemon_.broker_socket()}, daemon_.path("out"));
    EXPECT_EQ(program.wait(), code) << mode;
  }
};

// ---- the process ends without close() ----

TEST_F(ClientEndTest, OfTheProcessWhileThereIsNoDaemon) { ends("end-connecting"); }

TEST_F(ClientEndTest, OfTheProcessWhileItConnects) {
  ASSERT_TRUE(daemon_.start());
  daemon_.signal(SIGSTOP);
  ends("end-connecting");
  daemon_.signal(SIGCONT);
}

TEST_F(ClientEndTest, OfTheProcessWhileItWaitsForBytes) {
  ASSERT_TRUE(daemon_.start());
  Client other = open("b");
  auto held = reserved(other, "unspillable", 50 * kMiB);
  ends("end-waiting");
  EXPECT_TRUE(daemon_.logs("session_gone"));
  EXPECT_TRUE(held.acquire(14 * kMiB - ram(other).slack_bytes, 14 * kMiB, 10s));
}

TEST_F(ClientEndTest, OfTheProcessWhileItSpills) {
  ASSERT_TRUE(daemon_.start());
  Client other = open("b");
  auto wanted = MemoryConsumer("wanted").register_with(other.pool());
  auto ending = std::async(std::launch::async, [&] { ends("end-spilling"); });
  ASSERT_TRUE(daemon_.logs("event=granted")) << daemon_.log();  // before anybody else asks
  EXPECT_TRUE(wanted.acquire(24 * kMiB, 24 * kMiB, 20s)) << "it is had once the process has ended";
  ending.get();
  EXPECT_TRUE(daemon_.logs("why=process_ended"));
}

// ---- close() ----

TEST_F(ClientEndTest, CloseTwiceAndThenSomeMore) {
  ASSERT_TRUE(daemon_.start());
  Client client = open();
  ASSERT_TRUE(client.wait_connected(10s));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(client.close()->ended);
  Client unused = open();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(unused.close()->ended);
  EXPECT_EQ(count(daemon_.log(), "why=goodbye"), 1U);
}

TEST_F(ClientEndTest, CloseEndsTheAcquiresOfOtherThreads) {
  ASSERT_TRUE(daemon_.start());
  Client other = open("b");
  auto held = reserved(other, "unspillable", 50 * kMiB);
  Client client = open();
  auto blocking = MemoryConsumer("blocking").register_with(client.pool());
  auto async = MemoryConsumer("async").register_with(client.pool());
  auto waiting =
      std::async(std::launch::async, [&] { return blocking.acquire(30 * kMiB, 30 * kMiB, 60s); });
  std::promise<ErrorCode> told;
  auto ticket = async.acquire_async(30 * kMiB, 30 * kMiB, 60s, [&](Result<std::int64_t> result) {
    told.set_value(result ? ErrorCode::kInvalid : result.error().code());
  });
  ASSERT_TRUE(comes_true([&] { return ram(client).requests_asked >= 2; }));
  const auto before = Clock::now();
  std::vector<std::future<bool>> closing;  // also several at once
  for (int i = 0; i < 3; ++i) {
    closing.push_back(std::async(std::launch::async, [&] { return client.close().has_value(); }));
  }
  const auto refused = waiting.get();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kClosed);
  EXPECT_EQ(told.get_future().get(), ErrorCode::kClosed);
  for (auto& closed : closing) EXPECT_TRUE(closed.get());
  EXPECT_LT(Clock::now() - before, 10s);
  EXPECT_TRUE(daemon_.logs("why=goodbye"));
}

TEST_F(ClientEndTest, CloseWhileTheDaemonIsStoppedWaitsABoundedTime) {
  ASSERT_TRUE(daemon_.start());
  Client client = open();
  auto reservation = reserved(client, "sort", 20 * kMiB);
  reservation.free();
  daemon_.signal(SIGSTOP);
  const auto before = Clock::now();
  EXPECT_FALSE(client.close()->ended);
  EXPECT_LT(Clock::now() - before, Client::kCloseWait + 3s);
  daemon_.signal(SIGCONT);
  EXPECT_TRUE(comes_true([&] { return client.close()->ended; }));
}

// ---- destruction in any order ----

/// What a client is and what can be made of it; each may be destroyed at any time.
struct Parts {
  std::unique_ptr<Client> client;
  std::shared_ptr<MemoryPool> pool;
  std::unique_ptr<MemoryConsumer> consumer;
  MemoryReservation reservation;
  std::unique_ptr<MutableBuffer> buffer;
  std::unique_ptr<SpillChannelEnds> channel;

  static constexpr int kCount = 6;
  void destroy(int part) {
    switch (part) {
      case 0: client.reset(); break;
      case 1: pool.reset(); break;
      case 2: consumer.reset(); break;
      case 3: reservation = MemoryReservation(); break;
      case 4: buffer.reset(); break;
      case 5: channel.reset(); break;
    }
  }
};

/// With something held everywhere; nothing if a part could not be made.
std::unique_ptr<Parts> parts_of(Client client,
                                const std::shared_ptr<SpillDirectories>& directories) {
  auto parts = std::make_unique<Parts>();
  parts->client = std::make_unique<Client>(std::move(client));
  parts->pool = parts->client->pool();
  parts->consumer = std::make_unique<MemoryConsumer>("sort");
  parts->reservation = parts->consumer->register_with(parts->pool);
  if (!parts->reservation.acquire(4 * kMiB, 4 * kMiB, 10s)) return nullptr;
  auto workspace = parts->client->spill_workspace(10s);
  if (!workspace) return nullptr;
  const auto allocator = parts->client->allocator();
  auto buffer = allocate_buffer(kMiB / 4, allocator);
  if (!buffer) return nullptr;
  parts->buffer = std::make_unique<MutableBuffer>(*std::move(buffer));
  auto channel = spill_channel({.directories = directories,
                                .read_ahead = kSpillReadAheadBytesMin,
                                .workspace = *workspace,
                                .allocator = allocator});
  if (!channel) return nullptr;
  parts->channel = std::make_unique<SpillChannelEnds>(*std::move(channel));
  const Buffer batch = Buffer::from_string(std::string(8 << 10, 'x'));
  if (!parts->channel->writer.push_batch({&batch, 1})) return nullptr;
  return parts;
}

std::string words(const std::vector<int>& order) {
  static constexpr const char* kNames[] = {"client",      "pool",   "consumer",
                                           "reservation", "buffer", "channel"};
  std::string text;
  for (const int part : order) text += std::string(kNames[part]) + " ";
  return text;
}

// Files in a folder that this process has open and that have no name there.
int unnamed_files_in(const std::string& folder) {
  int found = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const std::string target = std::filesystem::read_symlink(entry, gone).string();
    if (target.starts_with(folder) && target.ends_with("(deleted)")) ++found;
  }
  return found;
}

TEST_F(ClientEndTest, PartsOfAnEmbeddedClientEndInAnyOrder) {
  const auto directories = SpillDirectories::open({daemon_.path("spill")});
  ASSERT_TRUE(directories) << directories.error().message();
  std::vector<int> order(Parts::kCount);
  std::iota(order.begin(), order.end(), 0);
  do {
    auto parts = parts_of(*Client::embedded(8 * kMiB), *directories);
    ASSERT_NE(parts, nullptr) << words(order);
    for (const int part : order) parts->destroy(part);
  } while (std::next_permutation(order.begin(), order.end()));
  // Writes under way keep their file until they have ended; they do end.
  EXPECT_TRUE(comes_true([&] { return unnamed_files_in(daemon_.path("spill")) == 0; }));
  std::filesystem::remove_all(daemon_.path("spill"));
}

TEST_F(ClientEndTest, PartsOfASessionEndInAnyOrderAndItEndsWithTheLast) {
  ASSERT_TRUE(daemon_.start());
  const auto directories = SpillDirectories::open({daemon_.path("spill")});
  ASSERT_TRUE(directories) << directories.error().message();
  std::vector<int> order(Parts::kCount);
  std::iota(order.begin(), order.end(), 0);
  std::size_t sessions = 0;
  int number = 0;
  do {
    if (number++ % 31 != 0) continue;  // 24 of the 720, with each part first and last
    auto parts = parts_of(open(), *directories);
    ASSERT_NE(parts, nullptr) << words(order);
    for (const int part : order) parts->destroy(part);
    ++sessions;
    ASSERT_TRUE(comes_true([&] { return count(daemon_.log(), "why=goodbye") == sessions; }))
        << words(order);
  } while (std::next_permutation(order.begin(), order.end()));
  std::filesystem::remove_all(daemon_.path("spill"));
}

}  // namespace
}  // namespace membroker::testing
