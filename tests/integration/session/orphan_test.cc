// What a process leaves behind: forked children with its pages, and leases of a program that it no
// longer runs.

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include "tests/integration/session/session_fixture.h"
#include "tests/kit/temporary_folder.h"

namespace membroker::testing {
namespace {

constexpr Bytes kTouched = 32 * kMiB;
constexpr Bytes kProgram = 16 * kMiB;  // more than a client program holds by itself

class OrphanTest : public SessionTest {
 protected:
  v1::admin::Lease orphan() {
    const v1::admin::ListLeasesResponse all = admin_->leases();
    for (const v1::admin::Lease& lease : all.leases()) {
      if (lease.orphan_pid() != 0) return lease;
    }
    return {};
  }
  Bytes orphaned(const std::string& tenant) {
    grpc::ClientContext context;
    set_deadline(context);
    v1::admin::ListTenantsResponse tenants;
    static_cast<void>(admin_->stub().ListTenants(&context, {}, &tenants));
    for (const v1::admin::Tenant& row : tenants.tenants()) {
      if (row.path() == tenant) return row.orphaned_bytes();
    }
    return -1;
  }
  /// Killed when the child that it leaves is known.
  Client killed_client() {
    Client a = client("a", kTouched, "hold");
    // Samples are a second apart: this one begins after the child was born, and ends before it is
    // seen to have told of an exec.
    Client marker = client("b", kMiB);
    marker.process->write_line(std::string("exec ") + RAW_CLIENT + " idle");
    EXPECT_TRUE(daemon_.logs("why=process_execed"));
    a.process->signal(SIGKILL);
    EXPECT_TRUE(comes_true([&] { return admin_->sessions().sessions_size() == 0; }));
    return a;
  }
};

TEST_F(OrphanTest, AForkedChildsPagesStayChargedUntilItEnds) {
  const Client a = killed_client();
  ASSERT_TRUE(comes_true([&] { return orphan().orphan_pid() == a.child; }));
  EXPECT_GE(orphaned("a"), kTouched);
  EXPECT_LE(orphaned("a"), kTouched + kProgram);
  EXPECT_EQ(orphaned("b"), 0);
  EXPECT_TRUE(daemon_.logs("orphan_left pid=" + std::to_string(a.child)));
  // Nobody is lent what the child holds.
  auto b = open("b");
  b->send({acquire(1, kCapacity, kCapacity, 60'000), inventory(0, 0, 0)});
  EXPECT_TRUE(comes_true([&] { return admin_->status().resources(0).waiting_requests() == 1; }));
  ::kill(a.child, SIGKILL);
  EXPECT_TRUE(b->granted(1).has_value());
  EXPECT_TRUE(comes_true([&] { return orphaned("a") == 0; }));
}

TEST_F(OrphanTest, ItIsChargedStillWhenTheDaemonHasBeenKilled) {
  const Client a = killed_client();
  ASSERT_TRUE(comes_true([&] { return orphan().orphan_pid() == a.child; }));
  daemon_.kill9();
  ASSERT_TRUE(daemon_.start()) << daemon_.log();
  // The channel may still be of the daemon that was killed.
  EXPECT_TRUE(comes_true([&] { return orphaned("a") >= kTouched; }));
  EXPECT_EQ(orphan().orphan_pid(), a.child);
  ::kill(a.child, SIGKILL);
  EXPECT_TRUE(held_becomes(0));
}

class ExecTest : public SessionTest {
 protected:
  void expect_freed_by_exec_of(const std::string& program, const std::string& word) {
    Client a = client("a", kTouched);
    EXPECT_TRUE(held_becomes(kTouched));
    const pid_t pid = a.process->pid();
    a.process->write_line("exec " + program + " " + word);
    EXPECT_TRUE(held_becomes(0, std::chrono::seconds(5)));
    EXPECT_TRUE(is_alive(pid));
    EXPECT_TRUE(daemon_.logs("why=process_execed"));
  }
};

TEST_F(ExecTest, AProcessThatRunsAnotherProgramHoldsNothing) {
  expect_freed_by_exec_of("/bin/sleep", "1000");
}

TEST_F(ExecTest, AlsoIfItIsTheSameProgram) { expect_freed_by_exec_of(RAW_CLIENT, "idle"); }

TEST_F(ExecTest, AStreamLostWithoutExecFreesNothing) {
  auto a = open("a");
  a->send({acquire(1, kTouched, kTouched, 0)});
  ASSERT_TRUE(a->granted(1).has_value());
  const std::uint64_t session = a->welcome().session_id();
  a.reset();
  EXPECT_TRUE(admin_->session_becomes(session, "suspect"));
  // Another process's exec is seen: a sample has passed.
  Client marker = client("b", kMiB);
  marker.process->write_line(std::string("exec ") + RAW_CLIENT + " idle");
  EXPECT_TRUE(daemon_.logs("why=process_execed"));
  EXPECT_TRUE(held_becomes(kTouched));
  EXPECT_TRUE(admin_->session_becomes(session, "suspect"));
}

class WatchedTest : public SessionTest {
 protected:
  bool watched_become(std::ptrdiff_t processes) {
    const std::string folder = "/proc/" + std::to_string(daemon_.pid()) + "/fd";
    return comes_true([&] {
      std::error_code ignored;
      std::ptrdiff_t found = 0;
      for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
        const std::string target = std::filesystem::read_symlink(entry, ignored).string();
        found += target.find("pidfd") == std::string::npos ? 0 : 1;
      }
      return found == processes;
    });
  }
};

TEST_F(WatchedTest, AProcessIsWatchedAsLongAsItHasASession) {
  const auto silent = connect();
  auto a = open("a");
  EXPECT_TRUE(watched_become(1)) << "this process";
  const Client child = client("a", kMiB);
  EXPECT_TRUE(watched_become(2));
  a->send({goodbye()});
  EXPECT_TRUE(watched_become(1));
  a = open("a", 'b');
  EXPECT_TRUE(watched_become(2));
  child.process->signal(SIGKILL);
  EXPECT_TRUE(watched_become(1));
}

// Without CAP_SYS_PTRACE the daemon may not see which program a client runs.
TEST(BlindExecTest, WhereItCannotBeSeenTheBytesStayUntilTheProcessEnds) {
  if (::access("/usr/bin/setpriv", X_OK) != 0 || ::geteuid() != 0) {
    GTEST_SKIP() << "needs root and setpriv";
  }
  const TemporaryFolder folder;
  const std::string script = folder.path("blind");
  std::ofstream(script) << "#!/bin/sh\nexec /usr/bin/setpriv --bounding-set=-sys_ptrace "
                        << MEMBROKERD << " \"$@\"\n";
  ASSERT_EQ(::chmod(script.c_str(), 0755), 0);
  DaemonProcess blind(script);
  ASSERT_TRUE(blind.start()) << blind.log();
  RawAdmin admin(blind.admin_socket());
  ChildProcess client({RAW_CLIENT, blind.broker_socket(), "a", std::to_string(kTouched)},
                      blind.path("client"));
  ASSERT_TRUE(admin.held_becomes(kTouched, kWaitMax));
  const std::uint64_t session = admin.sessions().sessions(0).session_id();
  client.write_line("exec /bin/sleep 1000");
  EXPECT_TRUE(admin.session_becomes(session, "suspect"));
  EXPECT_TRUE(admin.held_becomes(kTouched, kWaitMax));
  EXPECT_THAT(blind.log(), ::testing::Not(::testing::HasSubstr("process_execed")));
  client.signal(SIGKILL);
  EXPECT_TRUE(admin.held_becomes(0, kWaitMax)) << blind.log();
}

}  // namespace
}  // namespace membroker::testing
