#include "server/app/service.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

#include "tests/kit/temporary_folder.h"
#include "tests/kit/unix_socket.h"

namespace membroker::app {
namespace {

// The other end of $NOTIFY_SOCKET.
class ServiceManager {
 public:
  ServiceManager() {
    EXPECT_TRUE(fd_);
    ::setenv("NOTIFY_SOCKET", path_.c_str(), 1);
  }
  ~ServiceManager() { ::unsetenv("NOTIFY_SOCKET"); }

  std::string heard() {
    char text[4'096];
    const ssize_t got = ::recv(fd_.get(), text, sizeof text, MSG_DONTWAIT);
    return got < 0 ? "" : std::string(text, static_cast<std::size_t>(got));
  }

 private:
  const membroker::testing::TemporaryFolder folder_;
  const std::string path_ = folder_.path("notify");
  const UniqueFd fd_ = membroker::testing::bind_to(path_, SOCK_DGRAM);
};

TEST(Service, TellsItsManager) {
  ServiceManager manager;
  notify_ready("3 sessions\nWATCHDOG=1");
  EXPECT_EQ(manager.heard(), "READY=1\nSTATUS=3 sessions?WATCHDOG=1");
  notify_status("fine");
  EXPECT_EQ(manager.heard(), "STATUS=fine");
  notify_reloading();
  EXPECT_EQ(manager.heard(), "RELOADING=1");
  notify_stopping();
  EXPECT_EQ(manager.heard(), "STOPPING=1");
  notify_watchdog();
  EXPECT_EQ(manager.heard(), "WATCHDOG=1");
}

TEST(Service, SaysNothingWithoutAManager) {
  ::unsetenv("NOTIFY_SOCKET");
  notify_ready("alone");
}

TEST(Service, AnswersTheWatchdogTwiceAsOftenAsAsked) {
  ::unsetenv("WATCHDOG_USEC");
  EXPECT_FALSE(watchdog_interval());
  ::setenv("WATCHDOG_USEC", "3000000", 1);
  ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
  EXPECT_EQ(watchdog_interval(), std::chrono::milliseconds(1'500));
  ::unsetenv("WATCHDOG_USEC");
  ::unsetenv("WATCHDOG_PID");
}

TEST(Service, InheritsNothingUnasked) {
  ::unsetenv("LISTEN_FDS");
  const auto sockets = inherited_sockets();
  ASSERT_TRUE(sockets);
  EXPECT_FALSE(sockets->broker);
  EXPECT_FALSE(sockets->admin);
}

TEST(Service, TakesAllDescriptorsItMayHave) {
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit few = before;
  few.rlim_cur = 128;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  EXPECT_EQ(raise_descriptor_limit(), before.rlim_max);
  ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST(Service, NeedsThreeDescriptorsForEachConnection) {
  EXPECT_EQ(connections_for(0), 1u);
  EXPECT_EQ(connections_for(1'024), 298u);
  EXPECT_EQ(connections_for(20'000), 6'624u);
  EXPECT_EQ(connections_for(UINT64_MAX), 100'000u);
}

}  // namespace
}  // namespace membroker::app
