// The program membrokerd: what it prints, how it ends, what survives.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "shared/fd.h"
#include "tests/kit/comes_true.h"
#include "tests/kit/temporary_folder.h"
#include "tests/kit/unix_socket.h"

namespace membroker {
namespace {

using namespace std::chrono_literals;
using membroker::testing::comes_true;
using membroker::testing::connect_to;
using membroker::testing::read_file;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class DaemonTest : public ::testing::Test {
 protected:
  DaemonTest() { configure("capacity = \"64MiB\"\n[[tenant]]\npath = \"a\"\n"); }
  ~DaemonTest() override {
    if (daemon_ > 0) {
      ::kill(daemon_, SIGKILL);
      ::waitpid(daemon_, nullptr, 0);
    }
  }

  std::string path(const std::string& name) const { return folder_.path(name); }
  std::string log() const { return read_file(path("log")); }
  void configure(const std::string& ram, const std::string& grace = "1s") {
    folder_.write("m.toml", "runtime_directory = \"" + path("run") + "\"\nstate_directory = \"" +
                                path("state") + "\"\n[times]\nshutdown_grace = \"" + grace +
                                "\"\n[resources.ram]\n" + ram);
  }

  // Standard output and error go to the files "out" and "log".
  pid_t spawn(std::vector<std::string> arguments, const std::vector<std::string>& environment = {},
              int inherited = -1) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    const int append = O_WRONLY | O_CREAT | O_APPEND;
    ::dup2(::open(path("out").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 1);
    ::dup2(::open(path("log").c_str(), append, 0600), 2);
    for (const std::string& variable : environment) ::putenv(::strdup(variable.c_str()));
    if (inherited >= 0) {
      ::dup2(::fcntl(inherited, F_DUPFD_CLOEXEC, 10), 3);  // the copy stays open across exec
      ::setenv("LISTEN_FDS", "1", 1);
      ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    }
    std::vector<char*> argv{const_cast<char*>(MEMBROKERD)};
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    ::execv(MEMBROKERD, argv.data());
    ::_exit(127);
  }
  static int exit_code(pid_t child) {
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  int run(std::vector<std::string> arguments) { return exit_code(spawn(std::move(arguments))); }
  bool listens(const char* name) const { return bool(connect_to(path(name))); }
  void start(const std::vector<std::string>& environment = {}, int inherited = -1) {
    std::filesystem::remove(path("log"));
    daemon_ = spawn({"--config", path("m.toml")}, environment, inherited);
    const auto serves = [&] {  // logged once it listens
      return log().find("event=daemon_started") != std::string::npos && listens("run/admin.sock");
    };
    ASSERT_TRUE(comes_true(serves)) << log();
  }
  int stop(int signal) {
    ::kill(daemon_, signal);
    return exit_code(std::exchange(daemon_, -1));
  }
  std::uint64_t epoch() const {
    const std::string text = log();
    const auto at = text.find("epoch=");
    return at == std::string::npos ? 0 : std::stoull(text.substr(at + 6));
  }

  const testing::TemporaryFolder folder_;
  pid_t daemon_ = -1;
};

TEST_F(DaemonTest, ChecksAndPrintsItsConfiguration) {
  EXPECT_EQ(run({"--config", path("m.toml"), "--check-config"}), 0);
  EXPECT_EQ(read_file(path("out")), path("m.toml") + ": ok\n");
  EXPECT_EQ(run({"--config", path("m.toml"), "--print-config"}), 0);
  EXPECT_THAT(read_file(path("out")), HasSubstr("capacity = 67108864\n"));
  EXPECT_EQ(run({"--version"}), 0);
  EXPECT_THAT(read_file(path("out")), StartsWith("membrokerd "));
}

TEST_F(DaemonTest, EndsWithTwoForWrongUsageOrConfiguration) {
  EXPECT_EQ(run({"--nonsense"}), 2);
  EXPECT_THAT(log(), HasSubstr("membrokerd: The following argument was not expected"));
  EXPECT_EQ(run({"--config", path("none")}), 2);
  configure("capacity = \"much\"\n");
  EXPECT_EQ(run({"--config", path("m.toml")}), 2);
  EXPECT_THAT(log(), HasSubstr(path("m.toml") + ":6:12: "));
}

TEST_F(DaemonTest, EndsWithOneWhereItCannotServe) {
  start();
  EXPECT_EQ(run({"--config", path("m.toml")}), 1);
  EXPECT_THAT(log(), HasSubstr("event=start_failed why=\"the ledger "));
  EXPECT_TRUE(listens("run/broker.sock"));
  EXPECT_EQ(stop(SIGTERM), 0);
  std::ofstream(path("file")) << "in the way";
  std::filesystem::remove_all(path("run"));
  std::filesystem::create_symlink(path("file"), path("run"));
  EXPECT_EQ(run({"--config", path("m.toml")}), 1);
}

TEST_F(DaemonTest, EndsCleanlyOnTermAndInt) {
  for (const int signal : {SIGTERM, SIGINT}) {
    start();
    const auto before = std::chrono::steady_clock::now();
    EXPECT_EQ(stop(signal), 0);
    EXPECT_LT(std::chrono::steady_clock::now() - before, 3s);
    EXPECT_THAT(log(), EndsWith("event=daemon_stopped\n"));
    EXPECT_FALSE(std::filesystem::exists(path("run/broker.sock")));
    EXPECT_FALSE(std::filesystem::exists(path("run/admin.sock")));
    EXPECT_TRUE(std::filesystem::exists(path("run/ledger")));
  }
}

TEST_F(DaemonTest, EndsWithinTheGraceWithSilentConnections) {
  start();
  std::vector<UniqueFd> connections;
  for (int i = 0; i < 8; ++i) {
    UniqueFd fd = connect_to(path("run/broker.sock"));
    ASSERT_TRUE(fd);
    // Half of them say what is no HTTP/2.
    if (i % 2 == 0) {
      ASSERT_EQ(::send(fd.get(), "\xff\x00garbage\r\n\r\n", 13, MSG_NOSIGNAL), 13);
    }
    connections.push_back(std::move(fd));
  }
  const auto before = std::chrono::steady_clock::now();
  EXPECT_EQ(stop(SIGTERM), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - before, 4s);
}

TEST_F(DaemonTest, StartsAgainWithAHigherEpochAfterAKill) {
  start();
  const std::uint64_t first = epoch();
  EXPECT_GT(first, 1'700'000'000u);
  EXPECT_EQ(stop(SIGKILL), 128 + SIGKILL);
  EXPECT_TRUE(std::filesystem::exists(path("run/broker.sock")));
  start();
  EXPECT_GT(epoch(), first) << log();
  EXPECT_THAT(log(), ::testing::Not(HasSubstr("ledger_lost")));
  EXPECT_EQ(stop(SIGTERM), 0);
}

TEST_F(DaemonTest, KnowsThatItsLedgerIsGone) {
  start();
  EXPECT_EQ(stop(SIGTERM), 0);
  std::filesystem::remove(path("run/ledger"));
  start();
  EXPECT_THAT(log(), HasSubstr("event=ledger_lost"));
}

TEST_F(DaemonTest, StartsWithoutAStateStoreAndSaysSo) {
  std::filesystem::create_directory(path("state"));
  std::ofstream(path("state/state.db")) << std::string(10'000, 'x');
  start();
  EXPECT_THAT(log(), HasSubstr("level=error event=state_store_unavailable epoch="));
  EXPECT_EQ(stop(SIGTERM), 0);
}

TEST_F(DaemonTest, ReloadsOnHup) {
  start();
  configure("capacity = \"32MiB\"\n[[tenant]]\npath = \"b\"\n");
  ::kill(daemon_, SIGHUP);
  EXPECT_TRUE(comes_true([&] {
    return log().find(
               "event=config_reloaded tenants_set=1 tenants_removed=1 capacities_set=1 "
               "problems=0") != std::string::npos;
  })) << log();
  EXPECT_THAT(log(), ::testing::Not(HasSubstr("needs a restart")));
  configure("capacity = \"32MiB\"\n[[tenant]]\npath = \"b\"\n", "2s");
  ::kill(daemon_, SIGHUP);
  EXPECT_TRUE(comes_true([&] { return log().find("needs a restart") != std::string::npos; }));
  configure("capacity = \"lots\"\n");
  ::kill(daemon_, SIGHUP);
  EXPECT_TRUE(comes_true([&] {
    return log().find("event=reload_failed why=\"" + path("m.toml") + ":6:12: ") !=
           std::string::npos;
  })) << log();
  EXPECT_EQ(stop(SIGTERM), 0);
}

TEST_F(DaemonTest, TellsItsServiceManager) {
  const std::string where = path("notify");
  const UniqueFd manager = testing::bind_to(where, SOCK_DGRAM);
  ASSERT_TRUE(manager);
  const timeval patience{10, 0};
  ::setsockopt(manager.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  start({"NOTIFY_SOCKET=" + where, "WATCHDOG_USEC=200000"});
  std::string heard;
  int watchdogs = 0;
  char text[1'024];
  while (watchdogs < 3) {
    const ssize_t got = ::recv(manager.get(), text, sizeof text, 0);
    ASSERT_GT(got, 0) << heard;
    const std::string message(text, static_cast<std::size_t>(got));
    watchdogs += message == "WATCHDOG=1" ? 1 : 0;
    heard += message + "\n";
  }
  EXPECT_THAT(heard, StartsWith("READY=1\nSTATUS=0 sessions; ram: 0 B of 64.0 MiB lent\n"));
  EXPECT_EQ(stop(SIGTERM), 0);
}

TEST_F(DaemonTest, ServesASocketOfItsServiceManager) {
  std::filesystem::create_directory(path("run"));
  const std::string where = path("run/broker.sock");
  const UniqueFd listening = testing::listen_on(where);
  ASSERT_TRUE(listening);
  start({}, listening.get());
  EXPECT_EQ(stop(SIGTERM), 0);
  EXPECT_TRUE(std::filesystem::exists(where));  // the manager's
  EXPECT_TRUE(listens("run/broker.sock"));
}

}  // namespace
}  // namespace membroker
