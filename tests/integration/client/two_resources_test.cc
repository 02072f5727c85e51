#include <google/protobuf/util/json_util.h>

#include <atomic>
#include <future>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "membroker/v1/admin.pb.h"
#include "tests/integration/cli/program.h"
#include "tests/integration/client/client_fixture.h"

// One session with leases of two resources, as Spark's tasks have on-heap and off-heap memory: what
// happens in one of them leaves the other alone.

namespace membroker::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

constexpr std::int64_t kRam = 64 * kMiB;
constexpr std::int64_t kOffheap = 32 * kMiB;
constexpr std::int64_t kFloor = 2 * kMiB;
constexpr const char* kConfig =
    "[times]\nshutdown_grace = \"1s\"\nheartbeat_interval = \"100ms\"\nsession_ttl = \"2s\"\n"
    "[resources.ram]\ncapacity = \"64MiB\"\nfloor_max = \"4MiB\"\n"
    "[resources.offheap]\ncapacity = \"32MiB\"\nfloor_max = \"4MiB\"\n"
    "[[tenant]]\npath = \"a\"\n[[tenant]]\npath = \"b\"\n";

class TwoResourcesTest : public ClientTest {
 protected:
  TwoResourcesTest() { daemon_.configure(kConfig); }

  Client open_both(const std::string& tenant) const {
    ClientOptions both = options(tenant);
    both.resources = {{"ram", kFloor}, {"offheap", kFloor}};
    return *Client::open(std::move(both));
  }
  static ResourceStats of(const Client& client, const std::string& resource) {
    for (const ResourceStats& stats : client.stats().resources) {
      if (stats.resource == resource) return stats;
    }
    return {};
  }

  /// What `membrokerctl <command> -o json` prints.
  template <class Answer>
  Answer ctl(const std::string& command) const {
    const Outcome outcome =
        run_program({MEMBROKERCTL, "--socket", daemon_.admin_socket(), command, "-o", "json"});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    Answer answer;
    EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(outcome.out, &answer).ok());
    return answer;
  }
  v1::admin::Lease lease(const Client& client, const std::string& resource) const {
    const auto leases = ctl<v1::admin::ListLeasesResponse>("leases");
    for (const v1::admin::Lease& lease : leases.leases()) {
      if (lease.session_id() == client.stats().session_id && lease.resource() == resource) {
        return lease;
      }
    }
    return {};
  }
  v1::admin::ResourceStatus status(const std::string& resource) const {
    const auto now = ctl<v1::admin::GetStatusResponse>("status");
    for (const v1::admin::ResourceStatus& status : now.resources()) {
      if (status.resource() == resource) return status;
    }
    return {};
  }
  /// The daemon's word on a resource is the client's: it has heard the last of it.
  bool agree(const Client& client, const std::string& resource) const {
    return comes_true([&] {
      const v1::admin::Lease seen = lease(client, resource);
      const ResourceStats mine = of(client, resource);
      return seen.held_bytes() == mine.held_bytes && seen.reserved_bytes() == mine.reserved_bytes &&
             seen.granted_total() == mine.granted_total &&
             seen.returned_total() == mine.returned_total;
    });
  }
};

/// A resource's figures that must not change while the other one is fought over.
struct Untouched {
  explicit Untouched(const ResourceStats& stats)
      : held(stats.held_bytes),
        reserved(stats.reserved_bytes),
        asked(stats.revocations_asked),
        denied(stats.requests_denied) {}
  friend bool operator==(const Untouched&, const Untouched&) = default;

  std::int64_t held;
  std::int64_t reserved;
  std::uint64_t asked;
  std::uint64_t denied;
};

TEST_F(TwoResourcesTest, AreTwoLeasesOfOneSessionWithTotalsOfTheirOwn) {
  ASSERT_TRUE(daemon_.start());
  Client client = open_both("a");
  EXPECT_NE(client.pool("ram"), client.pool("offheap"));
  EXPECT_EQ(client.pool("offheap"), client.pool("offheap"));
  EXPECT_EQ(client.pool("tape"), nullptr);
  auto heap = MemoryConsumer("heap").register_with(client.pool("ram"));
  auto off = MemoryConsumer("off").register_with(client.pool("offheap"));
  ASSERT_TRUE(heap.acquire(20 * kMiB, 20 * kMiB, 10s));
  ASSERT_TRUE(off.acquire(10 * kMiB, 10 * kMiB, 10s));
  EXPECT_EQ(of(client, "ram").reserved_bytes, 20 * kMiB);
  EXPECT_EQ(of(client, "offheap").reserved_bytes, 10 * kMiB);
  EXPECT_TRUE(agree(client, "ram"));
  EXPECT_TRUE(agree(client, "offheap"));
  EXPECT_EQ(lease(client, "ram").floor_bytes(), kFloor);
  EXPECT_EQ(lease(client, "offheap").floor_bytes(), kFloor);

  EXPECT_EQ(ctl<v1::admin::ListSessionsResponse>("sessions").sessions_size(), 1);
  EXPECT_EQ(ctl<v1::admin::ListLeasesResponse>("leases").leases_size(), 2);
  EXPECT_EQ(status("ram").held_bytes(), of(client, "ram").held_bytes);
  EXPECT_EQ(status("offheap").held_bytes(), of(client, "offheap").held_bytes);
  EXPECT_EQ(status("ram").capacity_bytes(), kRam);
  EXPECT_EQ(status("offheap").capacity_bytes(), kOffheap);

  off.free();
  EXPECT_TRUE(agree(client, "offheap"));
  EXPECT_EQ(of(client, "offheap").reserved_bytes, 0);
  EXPECT_EQ(of(client, "ram").reserved_bytes, 20 * kMiB);
}

class EitherResourceTest : public TwoResourcesTest, public ::testing::WithParamInterface<bool> {};

INSTANTIATE_TEST_SUITE_P(, EitherResourceTest, ::testing::Bool(),
                         [](const auto& about) { return about.param ? "ram" : "offheap"; });

TEST_P(EitherResourceTest, IsRevokedAndSpilledApart) {
  const std::string fought = GetParam() ? "ram" : "offheap";
  const std::string quiet = GetParam() ? "offheap" : "ram";
  const std::int64_t capacity = GetParam() ? kRam : kOffheap;
  ASSERT_TRUE(daemon_.start());
  Client first = open_both("a");
  Client second = open_both("b");
  ASSERT_TRUE(second.wait_connected(10s));
  // Both resources are lent out, all but the second client's floors.
  Spillable hog(first.pool(fought), "hog");
  Spillable other(first.pool(quiet), "other");
  ASSERT_TRUE(hog->acquire(capacity - kFloor, capacity - kFloor, 10s));
  const std::int64_t rest = kRam + kOffheap - capacity - kFloor;
  ASSERT_TRUE(other->acquire(rest, rest, 10s));
  const Untouched before(of(first, quiet));

  auto wanted = MemoryConsumer("wanted").register_with(second.pool(fought));
  const auto got = wanted.acquire(capacity / 4, capacity / 4, 10s);
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_GE(hog.spills(), 1);
  EXPECT_GE(of(first, fought).revocations_asked, 1U);
  EXPECT_LE(hog->size(), capacity - capacity / 4);
  EXPECT_EQ(other.spills(), 0);
  EXPECT_EQ(other->size(), rest);
  EXPECT_TRUE(before == Untouched(of(first, quiet)));
  EXPECT_TRUE(comes_true([&] { return status(fought).revoked_count() >= 1; }));
  EXPECT_EQ(status(quiet).revoked_count(), 0U);
  EXPECT_LE(status(fought).peak_held_bytes(), capacity);
}

TEST_F(TwoResourcesTest, AreDeniedApart) {
  ASSERT_TRUE(daemon_.start());
  Client first = open_both("a");
  Client second = open_both("b");
  ASSERT_TRUE(second.wait_connected(10s));
  auto full = MemoryConsumer("unspillable").register_with(first.pool("offheap"));
  ASSERT_TRUE(full.acquire(kOffheap - kFloor, kOffheap - kFloor, 10s));
  auto off = MemoryConsumer("off").register_with(second.pool("offheap"));
  auto heap = MemoryConsumer("heap").register_with(second.pool("ram"));
  const auto refused = off.acquire(16 * kMiB, 16 * kMiB, 200ms);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kResourcesExhausted);
  ASSERT_NE(refused.error().denial(), nullptr);
  EXPECT_EQ(refused.error().denial()->pool, "offheap");
  EXPECT_THAT(refused.error().message(), HasSubstr("offheap"));
  const auto got = heap.acquire(48 * kMiB, 48 * kMiB, 10s);
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(of(second, "ram").requests_denied, 0U);
  EXPECT_GE(of(second, "offheap").requests_asked, 1U);
  EXPECT_EQ(status("ram").denied_count(), 0U);
}

// Spark's scenario 64 with a daemon: a mode's own consumers spill for it, the other's do not.
TEST_F(TwoResourcesTest, ACallersOwnSpillingStaysInItsResource) {
  ASSERT_TRUE(daemon_.start());
  Client client = open_both("a");
  Spillable heap_cache(client.pool("ram"), "heap cache");
  Spillable off_cache(client.pool("offheap"), "off cache");
  ASSERT_TRUE(heap_cache->acquire(60 * kMiB, 60 * kMiB, 10s));
  ASSERT_TRUE(off_cache->acquire(28 * kMiB, 28 * kMiB, 10s));
  auto asker = MemoryConsumer("asker").register_with(client.pool("offheap"));
  const auto got = asker.acquire(16 * kMiB, 16 * kMiB, 10s);
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_GE(off_cache.spills(), 1);
  EXPECT_EQ(heap_cache.spills(), 0);
  EXPECT_EQ(heap_cache->size(), 60 * kMiB);
  EXPECT_LE(off_cache->size() + asker.size(), kOffheap);
}

TEST_F(TwoResourcesTest, DebtOfOneDoesNotStopTheOther) {
  ASSERT_TRUE(daemon_.start());
  Client client = open_both("a");
  auto off = MemoryConsumer("off").register_with(client.pool("offheap"));
  auto heap = MemoryConsumer("heap").register_with(client.pool("ram"));
  ASSERT_TRUE(off.acquire(kOffheap, kOffheap, 10s));
  ASSERT_TRUE(off.grow(4 * kMiB));
  ASSERT_TRUE(comes_true([&] { return of(client, "offheap").debt_bytes > 0; }));
  const auto got = heap.acquire(40 * kMiB, 40 * kMiB, 10s);
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(of(client, "ram").debt_bytes, 0);
  EXPECT_EQ(of(client, "ram").overdrawn_total, 0);
  EXPECT_EQ(status("ram").debt_bytes(), 0);
  EXPECT_FALSE(off.acquire(kMiB, kMiB, 100ms));
  ASSERT_TRUE(off.shrink(8 * kMiB));
  EXPECT_TRUE(comes_true([&] { return of(client, "offheap").debt_bytes == 0; }));
}

TEST_F(TwoResourcesTest, BothLeasesOutliveTheDaemon) {
  ASSERT_TRUE(daemon_.start());
  Client client = open_both("a");
  auto heap = MemoryConsumer("heap").register_with(client.pool("ram"));
  auto off = MemoryConsumer("off").register_with(client.pool("offheap"));
  ASSERT_TRUE(heap.acquire(24 * kMiB, 24 * kMiB, 10s));
  ASSERT_TRUE(off.acquire(12 * kMiB, 12 * kMiB, 10s));
  daemon_.kill9();
  ASSERT_TRUE(becomes(client, ConnectionState::kAway));
  ASSERT_TRUE(off.shrink(4 * kMiB));  // told with the next Hello, of this resource only
  ASSERT_TRUE(daemon_.start());
  ASSERT_TRUE(client.wait_connected(10s));
  EXPECT_TRUE(agree(client, "ram"));
  EXPECT_TRUE(agree(client, "offheap"));
  EXPECT_EQ(of(client, "ram").reserved_bytes, 24 * kMiB);
  EXPECT_EQ(of(client, "offheap").reserved_bytes, 8 * kMiB);
  EXPECT_TRUE(off.acquire(8 * kMiB, 8 * kMiB, 10s));
}

TEST_F(TwoResourcesTest, CloseNamesTheHoldersOfEach) {
  ASSERT_TRUE(daemon_.start());
  Client client = open_both("a");
  auto heap = MemoryConsumer("join").register_with(client.pool("ram"));
  auto off = MemoryConsumer("join").register_with(client.pool("offheap"));
  ASSERT_TRUE(heap.acquire(3 * kMiB, 3 * kMiB, 10s));
  ASSERT_TRUE(off.acquire(5 * kMiB, 5 * kMiB, 10s));
  auto report = client.close();
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->ended);
  ASSERT_EQ(report->holders.size(), 2U);
  EXPECT_EQ(report->holders[0].resource, "offheap");
  EXPECT_EQ(report->holders[0].held_bytes, 5 * kMiB);
  EXPECT_EQ(report->holders[1].resource, "ram");
  EXPECT_EQ(report->holders[1].held_bytes, 3 * kMiB);
  off.free();
  EXPECT_FALSE(client.close()->ended) << "the other resource's lease keeps the session";
  heap.free();
  EXPECT_TRUE(comes_true([&] { return client.close()->ended; }));
}

// Two clients and two resources at once: neither is ever lent beyond its capacity, and all is back
// at the end.
TEST_F(TwoResourcesTest, AreNeverOverlentUnderConcurrentUse) {
  ASSERT_TRUE(daemon_.start());
  std::vector<Client> clients;
  clients.push_back(open_both("a"));
  clients.push_back(open_both("b"));
  std::vector<std::future<void>> threads;
  std::atomic<int> granted{0};
  for (std::size_t thread = 0; thread < 4; ++thread) {
    threads.push_back(std::async(std::launch::async, [&, thread] {
      const bool of_ram = thread % 2 == 0;
      Spillable user(clients[thread / 2].pool(of_ram ? "ram" : "offheap"), "user");
      std::mt19937 random(static_cast<unsigned>(thread));
      const std::int64_t most = (of_ram ? kRam : kOffheap) / kMiB;
      for (int round = 0; round < 60; ++round) {
        const auto bytes = std::int64_t(1 + random() % static_cast<unsigned>(most / 2)) * kMiB;
        const AcquireOptions spillable{0, true};
        if (user->acquire(kMiB, bytes, 2s, spillable)) ++granted;
        if (round % 3 == 0) user->free();
      }
    }));
  }
  for (auto& thread : threads) thread.get();
  EXPECT_GT(granted.load(), 120);
  EXPECT_LE(status("ram").peak_held_bytes(), kRam);
  EXPECT_LE(status("offheap").peak_held_bytes(), kOffheap);
  EXPECT_EQ(status("ram").debt_bytes() + status("offheap").debt_bytes(), 0);
  for (Client& client : clients) EXPECT_TRUE(client.close()->ended);
  EXPECT_TRUE(comes_true(
      [&] { return status("ram").held_bytes() == 0 && status("offheap").held_bytes() == 0; }));
}

}  // namespace
}  // namespace membroker::testing
