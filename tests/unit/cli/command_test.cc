#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/un.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "client/cli/cli.h"
#include "tests/unit/cli/fake_admin.h"

namespace membroker::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class Command : public ::testing::Test {
 protected:
  int ctl(const std::vector<std::string>& arguments) {
    console.out_text.clear();
    console.err_text.clear();
    return run_at(daemon, arguments, console);
  }

  FakeDaemon daemon;
  TextConsole console;
};

TEST_F(Command, StatusIsATable) {
  EXPECT_EQ(ctl({"status"}), kExitOk);
  EXPECT_THAT(console.out_text, StartsWith("membrokerd 0.1.0  pid 123  epoch 7  up 1h02m  serving\n"
                                           "2 tenants, 2 sessions\n"));
  EXPECT_THAT(console.out_text, HasSubstr("ram       256.0 MiB  192.0 MiB"));
  EXPECT_EQ(console.err_text, "");
}

TEST_F(Command, JsonIsTheProtoMappingWithExactBytes) {
  EXPECT_EQ(ctl({"tenants", "-o", "json"}), kExitOk);
  EXPECT_THAT(console.out_text, HasSubstr("\"held_bytes\": \"9007199254740993\""));
  EXPECT_EQ(ctl({"-o", "json", "drain"}), kExitOk);
  EXPECT_EQ(console.out_text, "{}\n");
}

TEST_F(Command, FiltersReachTheDaemon) {
  EXPECT_EQ(ctl({"tenants", "--resource", "gpu"}), kExitOk);
  EXPECT_EQ(daemon.admin.asked, "resource: \"gpu\"");
  EXPECT_EQ(ctl({"sessions", "--tenant", "acme"}), kExitOk);
  EXPECT_EQ(daemon.admin.asked, "tenant: \"acme\"");
  EXPECT_EQ(ctl({"leases", "--session", "42", "--resource", "ram"}), kExitOk);
  EXPECT_EQ(daemon.admin.asked, "resource: \"ram\" session_id: 42");
}

TEST_F(Command, AClientsNameCannotDraw) {
  EXPECT_EQ(ctl({"sessions"}), kExitOk);
  EXPECT_THAT(console.out_text, HasSubstr("sort?[31m"));
  EXPECT_THAT(console.out_text, Not(HasSubstr("\x1b")));
}

TEST_F(Command, RevokeAsksForExactBytes) {
  EXPECT_EQ(ctl({"revoke", "42", "64MiB"}), kExitOk);
  EXPECT_EQ(daemon.admin.asked, "session_id: 42 bytes: 67108864");
  EXPECT_EQ(console.out_text, "session 42: 64.0 MiB being revoked, deadline in 2.0 s\n");
}

TEST_F(Command, TenantSetSendsOnlyTheFieldsGiven) {
  EXPECT_EQ(ctl({"tenant", "set", "acme/etl", "--weight", "3", "--guarantee", "0"}), kExitOk);
  EXPECT_EQ(daemon.admin.asked, "path: \"acme/etl\" guarantee_bytes: 0 weight: 3");
  EXPECT_EQ(ctl({"tenant", "set", "acme", "--limit", "none", "--on-overdue", "fence"}), kExitOk);
  EXPECT_THAT(daemon.admin.asked, HasSubstr("limit_bytes: 9223372036854775807"));
  EXPECT_THAT(console.out_text, HasSubstr("none"));
  EXPECT_EQ(ctl({"tenant", "remove", "acme"}), kExitOk);
  EXPECT_EQ(daemon.admin.asked, "path: \"acme\"");
}

TEST_F(Command, CapacityAndDrain) {
  EXPECT_EQ(ctl({"capacity", "set", "1.5GiB"}), kExitOk);
  EXPECT_EQ(daemon.admin.asked, "capacity_bytes: 1610612736");
  EXPECT_THAT(console.out_text, HasSubstr("1.5 GiB"));
  EXPECT_EQ(ctl({"drain"}), kExitOk);
  EXPECT_EQ(daemon.admin.asked, "drain");
}

TEST_F(Command, UsageErrorsAreTwoAndSayWhatIsWrong) {
  const std::vector<std::vector<std::string>> bad = {
      {},
      {"nonsense"},
      {"status", "--nonsense"},
      {"revoke", "42"},
      {"revoke", "x", "1MiB"},
      {"revoke", "42", "lots"},
      {"tenant"},
      {"tenant", "set"},
      {"tenant", "set", "a", "--weight", "0"},
      {"tenant", "set", "a", "--guarantee-mode", "maybe"},
      {"top", "--interval", "1ms"},
      {"top", "--count", "-1"},
      {"status", "-o", "yaml"},
      {"status", "--timeout", "never"},
      {"usage", "--since", "yesterday"},
      {"usage", "--until", "2h"},
  };
  for (const auto& arguments : bad) {
    EXPECT_EQ(ctl(arguments), kExitUsage) << ::testing::PrintToString(arguments);
    EXPECT_THAT(console.err_text, StartsWith("membrokerctl: "));
    EXPECT_EQ(console.out_text, "");
  }
  EXPECT_EQ(daemon.admin.asked, "");
}

TEST_F(Command, HelpAndVersionAreNoErrors) {
  EXPECT_EQ(ctl({"--help"}), kExitOk);
  EXPECT_THAT(console.out_text, HasSubstr("3 daemon unreachable"));
  EXPECT_EQ(ctl({"--version"}), kExitOk);
  EXPECT_THAT(console.out_text, StartsWith("membrokerctl "));
}

TEST_F(Command, EventsAreALineEach) {
  EXPECT_EQ(ctl({"events"}), kExitOk);
  EXPECT_EQ(daemon.admin.asked, "kept_only: true");
  EXPECT_EQ(std::count(console.out_text.begin(), console.out_text.end(), '\n'), 2);
  EXPECT_THAT(console.out_text,
              HasSubstr("session_suspect       session=42 tenant=acme/etl why=silent?[2J\n"));
  EXPECT_EQ(console.err_text, "membrokerctl: 4 events before this one are not kept any more\n");
}

TEST_F(Command, EventsFollowedAsJsonLines) {
  EXPECT_EQ(ctl({"events", "--follow", "--after", "3", "-o", "json"}), kExitOk);
  EXPECT_EQ(daemon.admin.asked, "after_sequence: 3");
  EXPECT_THAT(console.out_text, StartsWith("{\"event\":{\"sequence\":\"5\""));
  EXPECT_EQ(std::count(console.out_text.begin(), console.out_text.end(), '\n'), 2);
  EXPECT_EQ(console.err_text, "");
}

TEST_F(Command, AdviceIsGivenOnlyWhereTheDaemonGivesNone) {
  daemon.admin.status = {grpc::StatusCode::RESOURCE_EXHAUSTED, "2 watchers; end one of them"};
  ctl({"events"});
  EXPECT_THAT(console.err_text, HasSubstr("the events: 2 watchers; end one of them\n"));
  daemon.admin.status = {grpc::StatusCode::RESOURCE_EXHAUSTED, "Server Threadpool Exhausted"};
  ctl({"events"});
  EXPECT_THAT(console.err_text, HasSubstr("Exhausted; the daemon answers many calls just now"));
}

TEST_F(Command, EventsEndWithTheDaemonsError) {
  daemon.admin.status = {grpc::StatusCode::UNAVAILABLE, "the daemon is going away"};
  EXPECT_EQ(ctl({"events"}), kExitUnreachable);
  EXPECT_THAT(console.err_text, HasSubstr("cannot watch the events: the daemon is going away"));
}

TEST_F(Command, UsageIsATablePageByPage) {
  EXPECT_EQ(ctl({"usage", "--tenant", "acme", "--resource", "ram", "--since", "2026-05-19T12:00Z",
                 "--until", "2026-05-20Z"}),
            kExitOk);
  EXPECT_EQ(daemon.admin.asked,
            "tenant: \"acme\" resource: \"ram\" since_ms: 1779192000000 until_ms: 1779235200000 "
            "after { tenant: \"acme/etl\" } page_size: 4000");
  EXPECT_EQ(std::count(console.out_text.begin(), console.out_text.end(), '\n'), 5);
  EXPECT_THAT(console.out_text, StartsWith("MINUTE            TENANT    RESOURCE "));
  EXPECT_THAT(console.out_text, HasSubstr("64.0 MiB"));
  EXPECT_THAT(console.out_text, HasSubstr("12 s\n"));
  EXPECT_EQ(console.err_text,
            "membrokerctl: the latest minutes are not recorded: usage.db: disk? full\n");
}

TEST_F(Command, UsageAsJsonLinesHasExactBytes) {
  EXPECT_EQ(ctl({"usage", "-o", "json"}), kExitOk);
  EXPECT_EQ(std::count(console.out_text.begin(), console.out_text.end(), '\n'), 3);
  EXPECT_THAT(console.out_text, StartsWith("{\"minute_ms\":\"1779192000000\",\"tenant\":\"acme\""));
  EXPECT_THAT(console.out_text, HasSubstr("\"mean_held_bytes\":\"9007199254740993\""));
}

TEST_F(Command, UsageEndsWithTheDaemonsError) {
  daemon.admin.status = {grpc::StatusCode::FAILED_PRECONDITION, "usage.db is no database"};
  EXPECT_EQ(ctl({"usage"}), kExitError);
  EXPECT_EQ(console.err_text, "membrokerctl: cannot show the usage: usage.db is no database\n");
  EXPECT_EQ(console.out_text, "");
}

TEST_F(Command, NobodyAtTheSocketIsUnreachable) {
  daemon.stop();
  EXPECT_EQ(ctl({"status"}), kExitUnreachable);
  EXPECT_THAT(console.err_text, HasSubstr("cannot read the status: connect " + daemon.socket()));
  EXPECT_THAT(console.err_text, HasSubstr("is membrokerd running?"));
}

TEST_F(Command, ASocketPathThatCannotBeIsAnError) {
  EXPECT_EQ(run({"--socket", std::string(sizeof(sockaddr_un::sun_path), 'x'), "status"}, console),
            kExitError);
  EXPECT_THAT(console.err_text, HasSubstr("is not a socket path"));
}

TEST_F(Command, ADaemonThatDoesNotAnswerIsUnreachableWithinTheTimeout) {
  daemon.admin.silent = true;
  EXPECT_EQ(ctl({"status", "--timeout", "200ms"}), kExitUnreachable);
  EXPECT_THAT(console.err_text, HasSubstr("within 200 ms"));
}

TEST_F(Command, AChangeNotConfirmedIsAnErrorThatSaysSo) {
  daemon.admin.silent = true;
  EXPECT_EQ(ctl({"revoke", "42", "1MiB", "--timeout", "200ms"}), kExitError);
  EXPECT_THAT(console.err_text, HasSubstr("may be applied all the same"));
}

TEST_F(Command, TheDaemonsRefusalsBecomeExitCodes) {
  daemon.admin.status = {grpc::StatusCode::PERMISSION_DENIED, "uid 1000 is not an admin"};
  EXPECT_EQ(ctl({"drain"}), kExitDenied);
  EXPECT_THAT(console.err_text, HasSubstr("cannot drain: uid 1000 is not an admin; run it as"));
  daemon.admin.status = {grpc::StatusCode::NOT_FOUND, "no session 42"};
  EXPECT_EQ(ctl({"revoke", "42", "1MiB"}), kExitError);
  EXPECT_THAT(console.err_text, HasSubstr("cannot revoke 1.0 MiB from session 42: no session 42"));
  daemon.admin.status = {grpc::StatusCode::UNAVAILABLE, "going away"};
  EXPECT_EQ(ctl({"tenants"}), kExitUnreachable);
}

TEST_F(Command, LostOutputIsAnError) {
  console.is_failed = true;
  EXPECT_EQ(ctl({"status"}), kExitError);
  EXPECT_THAT(console.err_text, HasSubstr("cannot write"));
}

TEST_F(Command, TopPrintsLinesWhereThereIsNoTerminal) {
  EXPECT_EQ(ctl({"top", "--count", "3", "--interval", "100ms"}), kExitOk);
  EXPECT_EQ(std::count(console.out_text.begin(), console.out_text.end(), '\n'), 3);
  EXPECT_THAT(console.out_text, HasSubstr(" resource=ram capacity=256.0MiB held=192.0MiB"));
  EXPECT_THAT(console.out_text, Not(HasSubstr("\x1b")));
}

TEST_F(Command, TopAsJsonIsOneObjectPerLine) {
  EXPECT_EQ(ctl({"top", "--count", "2", "--interval", "100ms", "-o", "json"}), kExitOk);
  EXPECT_EQ(std::count(console.out_text.begin(), console.out_text.end(), '\n'), 2);
  EXPECT_THAT(console.out_text, StartsWith("{\"time_ms\":\""));
  EXPECT_THAT(console.out_text, HasSubstr(",\"leases\":{\"leases\":[{\"session_id\":\"42\""));
}

TEST_F(Command, TopOnATerminalGivesItBack) {
  console.is_terminal = true;
  EXPECT_EQ(ctl({"top", "--count", "2", "--interval", "100ms"}), kExitOk);
  EXPECT_THAT(console.out_text, StartsWith("\x1b[?1049h\x1b[?25l"));
  EXPECT_THAT(console.out_text, ::testing::EndsWith("\x1b[?25h\x1b[?1049l"));
  EXPECT_THAT(console.out_text, HasSubstr("192.0 MiB of 256.0 MiB held"));
}

TEST_F(Command, TopEndsOnAnInterruptAndGivesTheTerminalBack) {
  console.is_terminal = true;
  const pthread_t self = ::pthread_self();
  bool sent = false;
  console.on_out = [&] {
    if (!std::exchange(sent, true)) ::pthread_kill(self, SIGINT);
  };
  EXPECT_EQ(ctl({"top", "--interval", "60s"}), kExitOk);
  EXPECT_THAT(console.out_text, ::testing::EndsWith("\x1b[?25h\x1b[?1049l"));
}

TEST_F(Command, TopIsInterruptedAlsoWhileTheDaemonIsStopped) {
  daemon.admin.silent = true;
  const pthread_t self = ::pthread_self();
  // Pending until top has blocked it: a thread's directed signal is never lost once it is blocked.
  sigset_t interrupt;
  ::sigemptyset(&interrupt);
  ::sigaddset(&interrupt, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &interrupt, nullptr);
  ::pthread_kill(self, SIGINT);
  EXPECT_EQ(ctl({"top", "--timeout", "60s"}), kExitOk);
  ::pthread_sigmask(SIG_UNBLOCK, &interrupt, nullptr);
}

TEST_F(Command, TopGoesOnWhenTheDaemonRestarts) {
  int outputs = 0;
  console.on_out = [&] {
    if (++outputs == 1) daemon.stop();
  };
  EXPECT_EQ(ctl({"top", "--count", "2", "--interval", "100ms"}), kExitUnreachable);
  EXPECT_EQ(outputs, 1);
  daemon.start();
  outputs = 0;
  console.on_out = [&] {
    if (++outputs == 1) {
      daemon.stop();
      daemon.start();
    }
  };
  EXPECT_EQ(ctl({"top", "--count", "5", "--interval", "100ms"}), kExitOk);
  EXPECT_THAT(console.err_text, HasSubstr("trying again"));
  EXPECT_GE(outputs, 2);
}

TEST(DefaultSocket, IsBesideTheSessionSocket) {
  ::setenv("MEMBROKER_SOCKET", "/srv/mb/broker.sock", 1);
  EXPECT_EQ(default_socket(), "/srv/mb/admin.sock");
  ::setenv("MEMBROKER_SOCKET", "broker.sock", 1);
  EXPECT_EQ(default_socket(), "admin.sock");
  ::unsetenv("MEMBROKER_SOCKET");
  EXPECT_EQ(default_socket(), "/run/membroker/admin.sock");
}

}  // namespace
}  // namespace membroker::cli
