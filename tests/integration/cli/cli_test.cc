// membrokerctl against a real daemon, as a user runs it.

#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "membroker/v1/admin.pb.h"
#include "tests/integration/cli/program.h"
#include "tests/integration/daemon_process.h"
#include "tests/integration/raw_session.h"

namespace membroker {
namespace {

using testing::ChildProcess;
using testing::DaemonProcess;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Outcome;
using testing::RawSession;
using testing::run_program;
using ::testing::StartsWith;
using testing::TerminalProgram;

constexpr std::int64_t kMiB = 1 << 20;
constexpr uid_t kNobody = 65534;

class Cli : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(daemon_.start()) << daemon_.log(); }

  std::vector<std::string> words(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {MEMBROKERCTL, "--socket", daemon_.admin_socket()});
    return arguments;
  }
  Outcome ctl(std::vector<std::string> arguments) const {
    return run_program(words(std::move(arguments)));
  }
  // Parses what `-o json` printed into the message it came from.
  template <class Message>
  Message json(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), {"-o", "json"});
    const Outcome outcome = ctl(std::move(arguments));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    Message message;
    const auto parsed = google::protobuf::util::JsonStringToMessage(outcome.out, &message);
    EXPECT_TRUE(parsed.ok()) << parsed.ToString() << "\n" << outcome.out;
    return message;
  }
  // A session of tenant "a" that holds `bytes` as slack beside its floor of 1 MiB.
  std::unique_ptr<RawSession> session(std::int64_t bytes) const {
    auto session = std::make_unique<RawSession>(daemon_.broker_socket());
    v1::Hello hello;
    hello.set_protocol_version(1);
    hello.set_tenant("a");
    hello.set_client_name("sorter\x1b[2J");
    hello.set_token("0123456789abcdef");
    v1::LeaseClaim& claim = *hello.add_leases();
    claim.set_resource("ram");
    claim.set_floor_bytes(kMiB);
    EXPECT_TRUE(session->attach(hello));
    v1::ClientMessage message;
    message.mutable_acquire()->set_request_id(1);
    message.mutable_acquire()->set_resource("ram");
    message.mutable_acquire()->set_want_bytes(bytes);
    message.mutable_acquire()->set_min_bytes(bytes);
    EXPECT_TRUE(session->send({message}));
    EXPECT_TRUE(session->granted(1));
    v1::LeaseUse& use = *message.mutable_inventory()->add_uses();
    use.set_resource("ram");
    use.set_reserved_bytes(kMiB);
    use.set_slack_bytes(bytes);
    EXPECT_TRUE(session->send({message}));
    return session;
  }
  // The daemon's snapshot is at most 100 ms old.
  bool shows(const std::vector<std::string>& arguments, const std::string& text) const {
    return testing::comes_true([&] { return ctl(arguments).out.find(text) != std::string::npos; });
  }

  DaemonProcess daemon_{MEMBROKERD};
};

TEST_F(Cli, StatusAsTableAndAsJson) {
  const Outcome table = ctl({"status"});
  EXPECT_EQ(table.exit_code, 0) << table.err;
  EXPECT_THAT(table.out, HasSubstr("serving"));
  EXPECT_THAT(table.out, HasSubstr("64.0 MiB"));
  EXPECT_THAT(table.out, Not(HasSubstr("\x1b")));
  const auto status = json<v1::admin::GetStatusResponse>({"status"});
  EXPECT_EQ(status.pid(), daemon_.pid());
  EXPECT_EQ(status.resources(0).capacity_bytes(), 64 * kMiB);
}

TEST_F(Cli, TenantsAreListedSetAndRemoved) {
  const auto tenants = json<v1::admin::ListTenantsResponse>({"tenants"});
  ASSERT_EQ(tenants.tenants_size(), 2);
  EXPECT_EQ(tenants.tenants(0).path(), "a");
  const Outcome set = ctl({"tenant", "set", "c/d", "--weight", "7", "--limit", "16MiB"});
  EXPECT_EQ(set.exit_code, 0) << set.err;
  EXPECT_THAT(set.out, HasSubstr("16.0 MiB"));
  EXPECT_TRUE(shows({"tenants"}, "c/d"));
  EXPECT_EQ(ctl({"tenant", "remove", "c/d"}).exit_code, 0);
  const Outcome unknown = ctl({"tenant", "remove", "nobody"});
  EXPECT_EQ(unknown.exit_code, 1);
  EXPECT_THAT(unknown.err, StartsWith("membrokerctl: cannot remove tenant nobody: "));
}

TEST_F(Cli, SessionsAndLeasesShowAClientAndRevokeReachesIt) {
  const auto client = session(8 * kMiB);
  ASSERT_TRUE(shows({"leases"}, "9.0 MiB"));
  ASSERT_TRUE(shows({"leases"}, "8.0 MiB"));  // its slack
  const Outcome sessions = ctl({"sessions"});
  EXPECT_THAT(sessions.out, HasSubstr("sorter?[2J"));
  EXPECT_THAT(sessions.out, HasSubstr("active"));
  const auto leases = json<v1::admin::ListLeasesResponse>({"leases", "--tenant", "a"});
  ASSERT_EQ(leases.leases_size(), 1);
  EXPECT_EQ(leases.leases(0).held_bytes(), 9 * kMiB);
  EXPECT_EQ(leases.leases(0).floor_bytes(), kMiB);
  EXPECT_EQ(json<v1::admin::ListLeasesResponse>({"leases", "--tenant", "b"}).leases_size(), 0);

  const std::string id = std::to_string(leases.leases(0).session_id());
  const Outcome revoke = ctl({"revoke", id, "2MiB"});
  EXPECT_EQ(revoke.exit_code, 0) << revoke.err;
  EXPECT_THAT(revoke.out, HasSubstr("2.0 MiB being revoked"));
  const auto asked = client->revoke();
  ASSERT_TRUE(asked);
  EXPECT_EQ(asked->target_returned_total(), 2 * kMiB);
}

TEST_F(Cli, CapacityAndDrain) {
  EXPECT_EQ(ctl({"capacity", "set", "128MiB"}).exit_code, 0);
  EXPECT_TRUE(shows({"status"}, "128.0 MiB"));
  EXPECT_EQ(ctl({"drain"}).exit_code, 0);
  EXPECT_TRUE(shows({"status"}, "draining"));
}

TEST_F(Cli, UsageOutlivesARestartOfTheDaemon) {
  const auto client = session(8 * kMiB);
  v1::ClientMessage message;
  v1::LeaseUse& use = *message.mutable_inventory()->add_uses();
  use.set_resource("ram");
  use.set_slack_bytes(8 * kMiB);
  use.set_spilled_bytes(3 * kMiB);
  ASSERT_TRUE(client->send({message}));
  const std::string id = std::to_string(client->welcome().session_id());
  ASSERT_EQ(ctl({"revoke", id, "2MiB"}).exit_code, 0);
  EXPECT_TRUE(shows({"leases"}, "3.0 MiB"));
  EXPECT_TRUE(shows({"leases"}, "2.0 MiB"));  // published: what the last look before the end sees
  EXPECT_EQ(daemon_.stop(), 0);
  ASSERT_TRUE(daemon_.start()) << daemon_.log();

  const Outcome table = ctl({"usage", "--tenant", "a"});
  EXPECT_EQ(table.exit_code, 0) << table.err;
  EXPECT_THAT(table.out, StartsWith("MINUTE "));
  EXPECT_THAT(table.out, HasSubstr("9.0 MiB"));
  v1::admin::Usage sum;  // the minute may have ended meanwhile
  std::istringstream lines(ctl({"usage", "--tenant", "a", "-o", "json"}).out);
  for (std::string line; std::getline(lines, line);) {
    v1::admin::Usage row;
    ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(line, &row).ok()) << line;
    EXPECT_EQ(row.tenant(), "a");
    EXPECT_EQ(row.minute_ms() % 60'000, 0);
    EXPECT_LE(row.mean_held_bytes(), row.peak_held_bytes());
    sum.set_peak_held_bytes(std::max(sum.peak_held_bytes(), row.peak_held_bytes()));
    sum.set_spilled_bytes(sum.spilled_bytes() + row.spilled_bytes());
    sum.set_revoked_count(sum.revoked_count() + row.revoked_count());
  }
  EXPECT_EQ(sum.peak_held_bytes(), 9 * kMiB);
  EXPECT_EQ(sum.spilled_bytes(), 3 * kMiB);
  EXPECT_EQ(sum.revoked_count(), 1U);
  EXPECT_EQ(ctl({"usage", "--tenant", "b", "-o", "json"}).out, "");
}

TEST_F(Cli, ADaemonThatCannotKeepUsageSaysSoAndGoesOn) {
  EXPECT_EQ(daemon_.stop(), 0);
  std::ofstream(daemon_.path("state/usage.db")) << std::string(10'000, 'x');
  ASSERT_TRUE(daemon_.start()) << daemon_.log();
  EXPECT_TRUE(daemon_.logs("usage_not_recorded why="));
  const Outcome usage = ctl({"usage"});
  EXPECT_EQ(usage.exit_code, 1);
  EXPECT_THAT(usage.err, StartsWith("membrokerctl: cannot show the usage: the usage history cannot "
                                    "be read: " +
                                    daemon_.path("state/usage.db") + ": file is not a database"));
  const auto client = session(8 * kMiB);
  EXPECT_TRUE(shows({"status"}, "9.0 MiB"));
  EXPECT_EQ(daemon_.stop(), 0);
}

TEST_F(Cli, TheDaemonsErrorsAreOne) {
  const Outcome outcome = ctl({"revoke", "4711", "1MiB"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("cannot revoke 1.0 MiB from session 4711"));
  EXPECT_EQ(outcome.out, "");
}

TEST_F(Cli, WrongUsageIsTwo) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{},
                                                    {"nonsense"},
                                                    {"revoke", "1", "much"},
                                                    {"top", "--count", "x"}}) {
    const Outcome outcome = ctl(arguments);
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_THAT(outcome.err, StartsWith("membrokerctl: "));
  }
  EXPECT_THAT(ctl({"nonsense"}).err, HasSubstr("there is no command \"nonsense\""));
}

TEST_F(Cli, NoDaemonIsThreeAtOnce) {
  EXPECT_EQ(daemon_.stop(), 0);
  const Outcome outcome = ctl({"status"});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_THAT(outcome.err, HasSubstr("is membrokerd running?"));
}

TEST_F(Cli, AStoppedDaemonIsThreeAfterTheTimeout) {
  daemon_.signal(SIGSTOP);
  const Outcome outcome = ctl({"status", "--timeout", "300ms"});
  daemon_.signal(SIGCONT);
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_THAT(outcome.err, HasSubstr("within 300 ms"));
}

TEST_F(Cli, AnotherUserIsDeniedWithFour) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  if (run_program({MEMBROKERCTL, "--version"}, {kNobody, {}}).exit_code != 0) {
    GTEST_SKIP() << "the build folder is not open to other users";
  }
  const Outcome outcome = run_program(words({"status"}), {kNobody, {}});
  EXPECT_EQ(outcome.exit_code, 4);
  EXPECT_THAT(outcome.err, StartsWith("membrokerctl: cannot read the status: "));
}

// As above, but past the socket's mode: the daemon itself asks who is there.
TEST_F(Cli, TheDaemonDeniesAUserThatTheSocketLetsIn) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  if (run_program({MEMBROKERCTL, "--version"}, {kNobody, {}}).exit_code != 0) {
    GTEST_SKIP() << "the build folder is not open to other users";
  }
  EXPECT_EQ(daemon_.stop(), 0);
  daemon_.configure(std::string("admin = { mode = \"0666\" }\n") + DaemonProcess::default_config());
  ASSERT_TRUE(daemon_.start()) << daemon_.log();
  ASSERT_EQ(::chmod(daemon_.path("").c_str(), 0755), 0);
  ASSERT_EQ(::chmod(daemon_.path("run").c_str(), 0755), 0);
  const Outcome outcome = run_program(words({"drain"}), {kNobody, {}});
  EXPECT_EQ(outcome.exit_code, 4) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("cannot drain: "));
  EXPECT_TRUE(shows({"status"}, "serving"));
}

TEST_F(Cli, TopPrintsALinePerSampleToAPipe) {
  const Outcome outcome = ctl({"top", "--count", "3", "--interval", "100ms"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(std::count(outcome.out.begin(), outcome.out.end(), '\n'), 3);
  EXPECT_THAT(outcome.out, HasSubstr("resource=ram capacity=64.0MiB"));
}

TEST_F(Cli, TopEndsWithAnInterrupt) {
  ChildProcess top(words({"top", "--interval", "100ms"}), daemon_.path("top"));
  ASSERT_TRUE(testing::comes_true([&] {
    return run_program({"/bin/cat", daemon_.path("top")}).out.find("resource=ram") !=
           std::string::npos;
  }));
  top.signal(SIGINT);
  EXPECT_EQ(top.wait(), 0);
}

TEST_F(Cli, TopOnATerminalIsALiveScreenAndGivesTheTerminalBack) {
  const auto client = session(8 * kMiB);
  TerminalProgram top(words({"top", "--interval", "100ms"}));
  ASSERT_TRUE(top.wait_for("\x1b[?1049h"));
  EXPECT_TRUE(top.wait_for("64.0 MiB held"));
  EXPECT_TRUE(top.wait_for("sorter"));
  EXPECT_FALSE(top.in_line_mode());
  top.resize(60, 10);
  EXPECT_TRUE(top.wait_for("64.0 MiB held"));
  top.type("q");
  const Outcome outcome = top.finish();
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.out, EndsWith("\x1b[?25h\x1b[?1049l"));
  EXPECT_TRUE(top.in_line_mode());
}

TEST_F(Cli, TopGivesTheTerminalBackOnControlC) {
  TerminalProgram top(words({"top"}));
  ASSERT_TRUE(top.wait_for("64.0 MiB held"));
  top.type("\x03");
  EXPECT_EQ(top.finish().exit_code, 0);
  EXPECT_TRUE(top.in_line_mode());
}

TEST_F(Cli, TopOutlivesARestartOfTheDaemon) {
  TerminalProgram top(words({"top", "--interval", "100ms"}));
  ASSERT_TRUE(top.wait_for("serving"));
  daemon_.kill9();
  EXPECT_TRUE(top.wait_for("trying again"));
  ASSERT_TRUE(daemon_.start()) << daemon_.log();
  top.resize(90, 30);
  EXPECT_TRUE(top.wait_for("serving"));
  top.type("q");
  EXPECT_EQ(top.finish().exit_code, 0);
}

TEST_F(Cli, TheSocketIsFoundBesideTheSessionSocket) {
  const Outcome outcome = run_program(
      {MEMBROKERCTL, "status"}, {std::nullopt, {"MEMBROKER_SOCKET=" + daemon_.broker_socket()}});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
}

}  // namespace
}  // namespace membroker
