#include "server/broker/ledger.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <ctime>
#include <random>

#include "server/broker/boot_id.h"
#include "server/broker/ledger_file.h"
#include "shared/fd.h"
#include "tests/kit/temporary_folder.h"

namespace membroker::broker {
namespace {

namespace file = ledger_file;
using ::testing::HasSubstr;

LedgerIdentity identity(std::uint64_t session) {
  LedgerIdentity made;
  made.session = SessionId{session};
  made.peer = {.pid = 100 + static_cast<pid_t>(session), .uid = 7, .gid = 8, .start_time = 99};
  made.token_hash.fill(static_cast<std::uint8_t>(session));
  made.priority = -3;
  made.floor = 8 * kMiB;
  made.tenant = "acme/etl";
  made.resource = "ram";
  made.client_name = "sort";
  return made;
}

class LedgerTest : public ::testing::Test {
 protected:
  Result<Ledger> open(std::size_t slots = 8, bool expected = false) {
    return Ledger::open(path(), slots, expected);
  }
  std::string path() const { return folder_.path("ledger"); }

  // Overwrites bytes of the closed file.
  void poke(std::size_t offset, const std::string& bytes) const {
    const UniqueFd fd(::open(path().c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)),
              static_cast<ssize_t>(bytes.size()));
  }
  void make_with_two_sessions() {
    auto ledger = open();
    ASSERT_TRUE(ledger) << ledger.error().message();
    ASSERT_TRUE(ledger->claim(identity(1), {.granted = 10}));
    ASSERT_TRUE(ledger->claim(identity(2), {.granted = 20}));
  }

  membroker::testing::TemporaryFolder folder_;
};

TEST_F(LedgerTest, StartsEmptyAndNotLost) {
  const auto ledger = open();
  ASSERT_TRUE(ledger) << ledger.error().message();
  EXPECT_FALSE(ledger->lost());
  EXPECT_TRUE(ledger->entries().empty());
}

TEST_F(LedgerTest, GivesBackAfterReopeningWhatWasStored) {
  {
    auto ledger = open();
    ASSERT_TRUE(ledger);
    const auto slot = ledger->claim(identity(1), {.granted = 8 * kMiB});
    ASSERT_TRUE(slot);
    ledger->store(*slot, {.granted = 100, .overdrawn = 20, .returned = 30});
  }
  const auto again = open(8, true);
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_FALSE(again->lost());
  const auto entries = again->entries();
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].totals, (LedgerTotals{100, 20, 30}));
  EXPECT_EQ(entries[0].totals.held(), 90);
  const LedgerIdentity& found = entries[0].identity;
  EXPECT_EQ(found.session, SessionId{1});
  EXPECT_EQ(found.peer, identity(1).peer);
  EXPECT_EQ(found.token_hash, identity(1).token_hash);
  EXPECT_EQ(found.priority, -3);
  EXPECT_EQ(found.floor, 8 * kMiB);
  EXPECT_EQ(found.tenant, "acme/etl");
  EXPECT_EQ(found.resource, "ram");
  EXPECT_EQ(found.client_name, "sort");
}

TEST_F(LedgerTest, AllocatesAllItsSpaceAtOnce) {
  const auto ledger = open(1'000);
  ASSERT_TRUE(ledger);
  struct stat about {};
  ASSERT_EQ(::stat(path().c_str(), &about), 0);
  EXPECT_GE(about.st_blocks * 512, static_cast<blkcnt_t>(file::file_bytes(1'000)));
  EXPECT_EQ(about.st_mode & 0777, 0600u);
}

TEST_F(LedgerTest, ReleaseFreesTheSlotForTheNextSession) {
  auto ledger = open(2);
  ASSERT_TRUE(ledger);
  const auto first = ledger->claim(identity(1), {});
  ASSERT_TRUE(first);
  ASSERT_TRUE(ledger->claim(identity(2), {}));
  const auto refused = ledger->claim(identity(3), {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kResourcesExhausted);
  EXPECT_THAT(refused.error().message(), HasSubstr("limits.sessions_max"));
  ledger->release(*first);
  EXPECT_EQ(ledger->entries().size(), 1u);
  EXPECT_TRUE(ledger->claim(identity(3), {}));
}

TEST_F(LedgerTest, RefusesATenantThatDoesNotFit) {
  auto ledger = open();
  ASSERT_TRUE(ledger);
  LedgerIdentity too_long = identity(1);
  too_long.tenant.assign(256, 'x');
  EXPECT_EQ(ledger->claim(too_long, {}).error().code(), ErrorCode::kInvalid);
  too_long.tenant.resize(255);
  too_long.client_name.assign(100, 'y');
  ASSERT_TRUE(ledger->claim(too_long, {}));
  EXPECT_EQ(ledger->entries()[0].identity.tenant, too_long.tenant);
  EXPECT_EQ(ledger->entries()[0].identity.client_name, std::string(63, 'y'));
}

TEST(LedgerFile, NoNameEndsInThePartOfACharacter) {
  file::Slot slot{};
  LedgerIdentity written = identity(1);
  written.client_name = std::string(62, 'y') + "\u00fc";
  file::write_slot(slot, written, {});
  EXPECT_STREQ(slot.identity.client_name.data(), std::string(62, 'y').c_str());
  // As a version wrote it that cut names anywhere.
  slot.identity.client_name[62] = '\xc3';
  slot.checksum = file::identity_checksum(slot.identity);
  const auto entry = file::read_slot(slot, 0);
  ASSERT_TRUE(entry.has_value());
  EXPECT_EQ(entry->identity.client_name, std::string(62, 'y'));
}

TEST_F(LedgerTest, RefusesASecondDaemon) {
  const auto first = open();
  ASSERT_TRUE(first);
  const auto second = open();
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), ErrorCode::kUnavailable);
  EXPECT_THAT(second.error().message(), HasSubstr("another membrokerd"));
}

TEST_F(LedgerTest, IsLostWhereItWasExpectedAndIsNotThere) {
  const auto ledger = open(8, true);
  ASSERT_TRUE(ledger);
  EXPECT_TRUE(ledger->lost());
}

TEST_F(LedgerTest, ForgetsAnotherBootWithoutLoss) {
  make_with_two_sessions();
  {
    file::Header header{};
    file::write_header(header, file::BootId{'x'}, 8);
    poke(0, {reinterpret_cast<const char*>(&header), sizeof header});
  }
  const auto ledger = open();
  ASSERT_TRUE(ledger);
  EXPECT_FALSE(ledger->lost());
  EXPECT_TRUE(ledger->entries().empty());
}

TEST_F(LedgerTest, ReplacesADamagedHeader) {
  for (const std::size_t offset : {0, 8, 12, 20, 56, 60}) {
    make_with_two_sessions();
    poke(offset, "\x5a");
    const auto ledger = open();
    ASSERT_TRUE(ledger);
    EXPECT_TRUE(ledger->lost()) << offset;
    EXPECT_TRUE(ledger->entries().empty()) << offset;
    ::unlink(path().c_str());
  }
}

TEST_F(LedgerTest, ReplacesAFileThatIsCutShort) {
  for (const off_t size : {1, 72, 4'096, 4'096 + 512}) {
    make_with_two_sessions();
    ASSERT_EQ(::truncate(path().c_str(), size), 0);
    const auto ledger = open();
    ASSERT_TRUE(ledger);
    EXPECT_TRUE(ledger->lost()) << size;
    EXPECT_TRUE(ledger->entries().empty()) << size;
    ::unlink(path().c_str());
  }
}

TEST_F(LedgerTest, DropsADamagedSlotAndKeepsTheOthers) {
  make_with_two_sessions();
  poke(file::file_bytes(0) + offsetof(file::Slot, identity) + 3, "\x5a");
  {
    auto ledger = open();
    ASSERT_TRUE(ledger);
    EXPECT_TRUE(ledger->lost());
    ASSERT_EQ(ledger->entries().size(), 1u);
    EXPECT_EQ(ledger->entries()[0].identity.session, SessionId{2});
    EXPECT_TRUE(ledger->claim(identity(3), {}));
  }
  const auto again = open();
  ASSERT_TRUE(again);
  EXPECT_FALSE(again->lost());
  EXPECT_EQ(again->entries().size(), 2u);
}

TEST_F(LedgerTest, TakesImpossibleTotalsForDamage) {
  make_with_two_sessions();
  const std::int64_t negative = -1;
  poke(file::file_bytes(1) + offsetof(file::Slot, granted),
       {reinterpret_cast<const char*>(&negative), sizeof negative});
  const auto ledger = open();
  ASSERT_TRUE(ledger);
  EXPECT_TRUE(ledger->lost());
  EXPECT_EQ(ledger->entries().size(), 1u);
}

TEST_F(LedgerTest, NeverReportsHeldBelowZero) {
  // What a kill leaves between the stores of an overdraft of 50 that was returned at once.
  auto ledger = open();
  ASSERT_TRUE(ledger);
  ASSERT_TRUE(ledger->claim(identity(1), {.granted = 10, .overdrawn = 0, .returned = 60}));
  EXPECT_EQ(ledger->entries()[0].totals, (LedgerTotals{10, 50, 60}));
}

TEST_F(LedgerTest, GrowsInPlaceAndDoesNotShrink) {
  make_with_two_sessions();
  {
    auto larger = open(100);
    ASSERT_TRUE(larger);
    EXPECT_FALSE(larger->lost());
    EXPECT_EQ(larger->entries().size(), 2u);
    for (std::uint64_t i = 3; i <= 100; ++i) ASSERT_TRUE(larger->claim(identity(i), {}));
    EXPECT_FALSE(larger->claim(identity(101), {}));
  }
  const auto smaller = open(4);
  ASSERT_TRUE(smaller);
  EXPECT_FALSE(smaller->lost());
  EXPECT_EQ(smaller->entries().size(), 100u);
}

TEST_F(LedgerTest, RefusesWhatIsNoFileOfItsOwn) {
  ASSERT_EQ(::symlink("/etc/passwd", path().c_str()), 0);
  EXPECT_FALSE(open());
  ::unlink(path().c_str());
  ASSERT_EQ(::mkdir(path().c_str(), 0700), 0);
  EXPECT_FALSE(open());
  ::rmdir(path().c_str());
  EXPECT_EQ(Ledger::open("/nonexistent/ledger", 8, false).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(Ledger::open(path(), 0, false).error().code(), ErrorCode::kInvalid);
}

// What one client of the killed daemon really holds, as the client itself would know: granted only
// once the frame has left, returned before the daemon hears of it.
struct Truth {
  std::atomic<std::int64_t> held;
};

// A daemon that grants and takes back until it is killed. The order is the broker's: the ledger
// first, then the frame.
[[noreturn]] void serve_until_killed(const std::string& path, Truth* truth, unsigned seed) {
  auto ledger = Ledger::open(path, 64, false);
  if (!ledger) ::_exit(1);
  std::mt19937 random(seed);
  LedgerTotals totals;
  std::size_t slot = *ledger->claim(identity(1), totals);
  for (std::uint64_t turn = 1;; ++turn) {
    const auto bytes = static_cast<Bytes>(random() % 1'000);
    const Bytes back = totals.held() > 0 ? static_cast<Bytes>(random()) % totals.held() : 0;
    truth->held.fetch_sub(back);  // the client frees, then tells
    totals.returned += back;
    totals.granted += bytes;
    ledger->store(slot, totals);
    truth->held.fetch_add(bytes);  // the frame has left
    if (turn % 64 == 0) {          // goodbye, and another session
      truth->held.store(0);
      ledger->release(slot);
      totals = {};
      slot = *ledger->claim(identity(turn), totals);
    }
  }
}

TEST_F(LedgerTest, RecordIsNeverBelowWhatIsHeldAfterAKillAtAnyInstant) {
  void* shared = ::mmap(nullptr, 4'096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(shared, MAP_FAILED);
  auto* truth = new (shared) Truth{};
  std::mt19937 random(20'240'611);
  for (unsigned kill = 0; kill < 200; ++kill) {
    ::unlink(path().c_str());
    truth->held = 0;
    const pid_t child = ::fork();
    if (child == 0) serve_until_killed(path(), truth, kill);
    ASSERT_GT(child, 0);
    // The instant of the kill is what is random here; up to 2 ms into the run.
    timespec delay{0, static_cast<long>(random() % 2'000'000)};
    ::nanosleep(&delay, nullptr);
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    const auto ledger = open(64);
    ASSERT_TRUE(ledger) << ledger.error().message();
    Bytes on_record = 0;
    for (const LedgerEntry& entry : ledger->entries()) on_record += entry.totals.held();
    ASSERT_GE(on_record, truth->held.load()) << "kill " << kill;
    if (truth->held > 0) {
      ASSERT_FALSE(ledger->lost()) << "kill " << kill;
    }
  }
  ::munmap(shared, 4'096);
}

}  // namespace
}  // namespace membroker::broker
