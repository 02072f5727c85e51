#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "membroker/allocator.h"
#include "membroker/buffer.h"
#include "membroker/spill.h"
#include "tests/integration/cli/program.h"
#include "tests/integration/client/client_fixture.h"

// A client with nothing but defaults on a host where everything is lent to others.

namespace membroker::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

constexpr std::int64_t kCapacity = 256 * kMiB;
constexpr const char* kConfig =
    "[times]\nshutdown_grace = \"1s\"\n"
    "[resources.ram]\ncapacity = \"256MiB\"\n"
    "[[tenant]]\npath = \"a\"\n[[tenant]]\npath = \"etl\"\n";

class DefaultClientTest : public ClientTest {
 protected:
  DefaultClientTest() { daemon_.configure(kConfig); }
  ~DefaultClientTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(spill_, ignored);
  }

  ClientOptions defaults() const { return {.tenant = "etl", .socket = daemon_.broker_socket()}; }
  Client hog() const { return *Client::open({.tenant = "a", .socket = daemon_.broker_socket()}); }

  // Through files and back, in memory of the client's.
  void spill_and_read_back(Client& client, const std::shared_ptr<SpillWorkspace>& workspace) {
    const auto directories = SpillDirectories::open({spill_});
    ASSERT_TRUE(directories) << directories.error().message();
    auto channel = spill_channel({.directories = *directories,
                                  .read_ahead = kSpillReadAheadBytesMin,
                                  .workspace = workspace});
    ASSERT_TRUE(channel) << channel.error().message();
    const std::string text(kMiB, 'x');
    const Buffer batch = Buffer::from_string(text);
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(channel->writer.push_batch({&batch, 1}));
    ASSERT_TRUE(channel->writer.finish());
    for (int i = 0; i < 4; ++i) {
      const auto read = channel->reader.next();
      ASSERT_TRUE(read) << read.error().message();
      ASSERT_TRUE(read->has_value());
      EXPECT_EQ((*read)->size(), kMiB);
    }
    EXPECT_GE(ram(client).spilled_bytes, 4 * kMiB);
  }

  // A figure of tenant "etl" in what `membrokerctl leases -o json` prints; -1: it is not there.
  std::int64_t shown(const std::string& figure) const {
    const Outcome outcome =
        run_program({MEMBROKERCTL, "--socket", daemon_.admin_socket(), "leases", "-o", "json"});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    const auto tenant = outcome.out.find("\"etl\"");
    if (tenant == std::string::npos) return -1;
    const auto begin = outcome.out.rfind('{', tenant);
    const std::string row = outcome.out.substr(begin, outcome.out.find('}', tenant) - begin);
    const auto name = row.find('"' + figure + '"');
    if (name == std::string::npos) return -1;
    const auto digits = row.find_first_of("0123456789", name);
    return digits == std::string::npos ? -1 : std::stoll(row.substr(digits));
  }

  const std::string spill_ = "/var/tmp/membroker-default-client-" + std::to_string(::getpid());
};

TEST_F(DefaultClientTest, OpensReservesAndSpillsWhileOthersHeldEverything) {
  ASSERT_TRUE(daemon_.start());
  Client other = hog();
  Spillable all(other.pool(), "all");
  ASSERT_TRUE(all->acquire(kCapacity, kCapacity, 20s));

  Client client = *Client::open(defaults());
  ASSERT_TRUE(client.wait_connected(20s));
  EXPECT_EQ(ram(client).floor_bytes, 0);
  auto mine = MemoryConsumer("mine").register_with(client.pool());
  const auto got = mine.acquire(4 * kMiB, 4 * kMiB, 20s);
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(ram(client).reserved_bytes, 12 * kMiB);  // the workspace was there first
  const auto workspace = client.spill_workspace(20s);
  ASSERT_TRUE(workspace) << workspace.error().message();
  EXPECT_EQ((*workspace)->bytes(), 8 * kMiB);
  EXPECT_EQ(*client.spill_workspace(), *workspace);
  EXPECT_EQ(ram(client).reserved_bytes, 12 * kMiB);
  EXPECT_EQ(ram(client).reclaimable_bytes, 0);
  spill_and_read_back(client, *workspace);
  EXPECT_EQ(ram(other).revocations_late, 0U);
  EXPECT_LE(ram(other).held_bytes + ram(client).held_bytes, kCapacity);

  const ResourceStats stats = ram(client);
  EXPECT_EQ(stats.allocated_bytes, 8 * kMiB);
  EXPECT_TRUE(comes_true([&] { return shown("spilled_bytes") == stats.spilled_bytes; }));
  EXPECT_TRUE(comes_true([&] { return shown("allocated_bytes") == stats.allocated_bytes; }));
}

TEST_F(DefaultClientTest, TheWorkspaceIsChargedOnceOverTwoLivesOfTheDaemon) {
  ASSERT_TRUE(daemon_.start());
  Client other = hog();
  Spillable all(other.pool(), "all");
  ASSERT_TRUE(all->acquire(kCapacity, kCapacity, 20s));
  Client client = *Client::open(defaults());
  ASSERT_TRUE(client.spill_workspace(20s));
  const std::uint64_t attach = client.stats().attach;
  const std::int64_t held = ram(client).held_bytes;
  daemon_.kill9();
  ASSERT_TRUE(becomes(client, ConnectionState::kAway));
  ASSERT_TRUE(daemon_.start());
  ASSERT_TRUE(client.wait_connected(20s));
  ASSERT_TRUE(other.wait_connected(20s));
  EXPECT_GT(client.stats().attach, attach);
  EXPECT_EQ(ram(client).reserved_bytes, 8 * kMiB);
  EXPECT_LE(ram(client).held_bytes, held);
  EXPECT_TRUE(comes_true([&] { return shown("held_bytes") == ram(client).held_bytes; }));
  EXPECT_TRUE(client.close()->ended);
}

TEST_F(DefaultClientTest, ThatFindsNobodyToGiveWayFailsInTimeAndSaysWhy) {
  ASSERT_TRUE(daemon_.start());
  Client other = hog();
  auto all = MemoryConsumer("unspillable").register_with(other.pool());
  ASSERT_TRUE(all.acquire(kCapacity, kCapacity, 20s));
  Client client = *Client::open(defaults());
  ASSERT_TRUE(client.wait_connected(20s));
  const auto before = std::chrono::steady_clock::now();
  const auto workspace = client.spill_workspace(100ms);
  ASSERT_FALSE(workspace);
  EXPECT_EQ(workspace.error().code(), ErrorCode::kTimeout);
  EXPECT_THAT(workspace.error().message(), HasSubstr("workspace"));
  auto mine = MemoryConsumer("mine").register_with(client.pool());
  EXPECT_FALSE(mine.acquire(kMiB, kMiB, 100ms));
  EXPECT_LT(std::chrono::steady_clock::now() - before, 5s);
  all.free();  // and now it comes
  EXPECT_TRUE(client.spill_workspace(20s));
  EXPECT_TRUE(mine.acquire(kMiB, kMiB, 20s));
}

TEST_F(DefaultClientTest, TheFirstExampleRunsWhileOthersHeldEverything) {
  ASSERT_TRUE(daemon_.start());
  Client other = hog();
  Spillable all(other.pool(), "all");
  ASSERT_TRUE(all->acquire(kCapacity, kCapacity, 20s));
  ::setenv("MEMBROKER_SOCKET", daemon_.broker_socket().c_str(), 1);
  const Outcome outcome = run_program({HELLO});
  ::unsetenv("MEMBROKER_SOCKET");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("cached "));
  EXPECT_THAT(outcome.out, ::testing::Not(HasSubstr("cached 0 bytes"))) << outcome.err;
}

TEST(EmbeddedClientTest, HasAWorkspaceWithinItsCapacity) {
  Client client = *Client::embedded(32 * kMiB);
  auto workspace = client.spill_workspace(1s);
  ASSERT_TRUE(workspace) << workspace.error().message();
  EXPECT_EQ((*workspace)->bytes(), 4 * kMiB);
  EXPECT_EQ(client.stats().resources.front().reserved_bytes, 4 * kMiB);
  auto report = client.close();
  ASSERT_EQ(report->holders.size(), 1U);  // we, as a channel would be
  EXPECT_EQ(report->holders.front().consumer, "spill workspace");
  workspace->reset();
  EXPECT_TRUE(client.close()->ended);
}

TEST(EmbeddedClientTest, GivesItsWorkspaceBackAtTheEnd) {
  Client client = *Client::embedded(32 * kMiB);
  ASSERT_TRUE(client.spill_workspace(1s));
  const auto report = client.close();
  EXPECT_TRUE(report->ended);
  EXPECT_EQ(client.spill_workspace(1s).error().code(), ErrorCode::kClosed);
}

}  // namespace
}  // namespace membroker::testing
