#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "client/cli/admin_client.h"
#include "server/broker/ledger.h"
#include "shared/bytes.h"
#include "tests/e2e/sort_job.h"
#include "tests/e2e/text.h"
#include "tests/kit/temporary_folder.h"

// The daemon dies while two sorts run, again and again: the ledger never says less than what is
// held, the sum never passes the capacity, and the sorts go on and end with the right bytes.

namespace membroker::e2e {
namespace {

constexpr Bytes kCapacity = 48 * kMiB;
constexpr Bytes kInput = kSanitized ? 16 * kMiB : 64 * kMiB;
constexpr int kKills = kSanitized ? 6 : 20;
constexpr std::uint64_t kSeed = 20;
constexpr Bytes kMemoryBeside = 16 * kMiB;
constexpr std::size_t kSlots = 64;
constexpr const char* kConfig =
    "[limits]\nsessions_max = 64\n"
    "[resources.ram]\ncapacity = \"48MiB\"\n"
    "[[tenant]]\npath = \"etl\"\nweight = 2\n"
    "[[tenant]]\npath = \"reports\"\nweight = 1\nguarantee = \"8MiB\"\n";

class DaemonKill : public ::testing::Test {
 protected:
  DaemonKill() {
    folder_.write("input", package_lines(kInput, 3));
    EXPECT_TRUE(gnu_sort(folder_.path("input"), folder_.path("expected")));
  }

  SortJob job(const std::string& tenant) {
    return SortJob(folder_.root(), tenant, folder_.path("input"),
                   {"--tenant", tenant, "--socket", daemon_.broker_socket(), "--temp-dir",
                    folder_.path("spill")});
  }

  // One that has ended is looked at and started anew, so that both run whenever the daemon dies.
  void keep_running(SortJob& sort) {
    if (sort.running()) return;
    expect_good(sort);
    sort.start();
  }

  void expect_good(SortJob& sort) {
    ASSERT_EQ(sort.wait(), 0) << sort.log() << daemon_.log();
    EXPECT_TRUE(same_files(sort.output(), folder_.path("expected")));
    EXPECT_EQ(sort.stat("overdrawn_total_bytes"), 0);
  }

  // Of the dead daemon: what its ledger says, against what the processes have.
  void check_ledger(const std::vector<pid_t>& pids) {
    const std::string copy = folder_.path("ledger");
    std::filesystem::copy_file(daemon_.path("run/ledger"), copy,
                               std::filesystem::copy_options::overwrite_existing);
    const auto ledger = broker::Ledger::open(copy, kSlots, true);
    ASSERT_TRUE(ledger.has_value()) << ledger.error().message();
    EXPECT_FALSE(ledger->lost());
    Bytes sum = 0;
    std::map<pid_t, Bytes> recorded;
    for (const broker::LedgerEntry& entry : ledger->entries()) {
      EXPECT_GE(entry.totals.held(), 0);
      sum += entry.totals.held();
      recorded[entry.identity.peer.pid] += entry.totals.held();
    }
    EXPECT_LE(sum, kCapacity);
    if (kSanitized) return;  // the sanitizer's own memory is in the figure
    for (const pid_t pid : pids) {
      EXPECT_LE(own_memory(pid), recorded[pid] + kMemoryBeside) << "pid " << pid;
    }
  }

  // Of the new daemon: until both sessions are back, and then once more.
  void check_restarted(cli::AdminClient& admin, const SortJob& first, const SortJob& second) {
    const auto all_active = [&] {
      const auto status = admin.status();
      if (!status) return false;
      for (const auto& resource : status->resources()) {
        EXPECT_LE(resource.held_bytes() - resource.debt_bytes(), kCapacity);
        EXPECT_EQ(resource.debt_bytes(), 0);
      }
      const auto sessions = admin.sessions({});
      if (!sessions) return false;
      int active = 0;
      for (const auto& session : sessions->sessions()) active += session.state() == "active";
      return active >= (first.running() ? 1 : 0) + (second.running() ? 1 : 0);
    };
    EXPECT_TRUE(testing::comes_true(all_active)) << daemon_.log();
    const auto leases = admin.leases({});
    ASSERT_TRUE(leases.has_value()) << leases.error().message();
    for (const auto& lease : leases->leases()) {
      EXPECT_GE(lease.held_bytes(), lease.reserved_bytes()) << lease.DebugString();
    }
  }

  const testing::TemporaryFolder folder_;
  testing::DaemonProcess daemon_{MEMBROKERD, kConfig};
};

TEST_F(DaemonKill, TwentyTimesWhileTwoSortsRun) {
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937_64 random(kSeed);
  ASSERT_TRUE(daemon_.start()) << daemon_.log();
  SortJob first = job("etl");
  SortJob second = job("reports");
  first.start();
  second.start();
  cli::AdminClient admin(daemon_.admin_socket(), 5'000);
  for (int kill = 1; kill <= kKills && !HasFatalFailure(); ++kill) {
    SCOPED_TRACE("kill " + std::to_string(kill));
    const std::chrono::milliseconds wait(random() % 250);
    testing::comes_true([] { return false; }, wait);
    keep_running(first);
    keep_running(second);
    daemon_.kill9();
    check_ledger({first.pid(), second.pid()});
    ASSERT_TRUE(daemon_.start()) << daemon_.log();
    check_restarted(admin, first, second);
  }
  expect_good(first);
  expect_good(second);
  const auto gone = [&] {
    const auto status = admin.status();
    return status && status->sessions() == 0 && status->resources(0).held_bytes() == 0;
  };
  EXPECT_TRUE(testing::comes_true(gone)) << daemon_.log();
  EXPECT_EQ(daemon_.stop(), 0) << daemon_.log();
}

}  // namespace
}  // namespace membroker::e2e
