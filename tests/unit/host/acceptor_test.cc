#include "server/rpc/acceptor.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <set>
#include <vector>

#include "server/broker/process_facts.h"
#include "shared/format.h"
#include "tests/kit/temporary_folder.h"
#include "tests/kit/unix_socket.h"

namespace membroker::rpc {
namespace {

using namespace std::chrono_literals;
using membroker::testing::connect_to;
using membroker::testing::listen_on;
using ::testing::HasSubstr;

bool hung_up(int fd) {
  pollfd asked{fd, POLLIN, 0};
  char byte = 0;
  return ::poll(&asked, 1, 10'000) == 1 && ::read(fd, &byte, 1) == 0;
}

// Stands for gRPC: owns what is handed over.
class Door {
 public:
  struct Accepted {
    UniqueFd fd;
  };

  Acceptor::Hooks hooks() {
    return {
        .hand_over = [this](UniqueFd fd) { change([&] { accepted_.push_back({std::move(fd)}); }); },
        .on_closed = [this](const Connection& gone) { change([&] { closed_.push_back(gone); }); },
        .on_refused = [this](const broker::Peer&,
                             const Error& error) { change([&] { refused_.push_back(error); }); }};
  }
  Accepted* wait_accepted(std::size_t count) {
    return wait([&] { return accepted_.size() >= count; }) ? &accepted_[count - 1] : nullptr;
  }
  bool wait_closed(std::size_t count) {
    return wait([&] { return closed_.size() >= count; });
  }
  std::vector<Connection> closed() {
    const std::lock_guard lock(mutex_);
    return closed_;
  }
  std::string wait_refused() {
    return wait([&] { return !refused_.empty(); }) ? refused_.front().message() : "";
  }

 private:
  template <class Change>
  void change(Change how) {
    const std::lock_guard lock(mutex_);
    how();
    changed_.notify_all();
  }
  template <class Condition>
  bool wait(Condition condition) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 10s, condition);
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Accepted> accepted_;
  std::vector<Connection> closed_;
  std::vector<Error> refused_;
};

class AcceptorTest : public ::testing::Test {
 protected:
  void start(AcceptorOptions options = {}, UniqueFd inherited = {}) {
    options.path = path();
    auto started = Acceptor::start(std::move(options), door_.hooks(), std::move(inherited));
    ASSERT_TRUE(started) << started.error().message();
    acceptor_ = std::move(*started);
  }
  Error start_fails() {
    auto started = Acceptor::start({.path = path()}, door_.hooks());
    EXPECT_FALSE(started);
    return started ? Error(ErrorCode::kInvalid, "") : started.error();
  }
  std::string path() const { return folder_.path("broker.sock"); }
  static std::string name(const UniqueFd& fd) { return strf("fd:%d", fd.get()); }

  membroker::testing::TemporaryFolder folder_;
  Door door_;
  std::unique_ptr<Acceptor> acceptor_;
};

TEST_F(AcceptorTest, TellsWhoIsThere) {
  start();
  const UniqueFd client = connect_to(path());
  const auto* accepted = door_.wait_accepted(1);
  ASSERT_NE(accepted, nullptr);
  const auto connection = acceptor_->begin_rpc(name(accepted->fd));
  ASSERT_TRUE(connection);
  EXPECT_EQ(connection->peer.pid, ::getpid());
  EXPECT_EQ(connection->peer.uid, ::getuid());
  EXPECT_EQ(connection->peer.gid, ::getgid());
  EXPECT_EQ(connection->peer.start_time, *broker::process_start_time(::getpid()));
  EXPECT_EQ(connection->fd, accepted->fd.get());
  EXPECT_GT(connection->generation, 0u);
}

TEST_F(AcceptorTest, TellsTheImageAndAllGroupsOfThePeer) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to join groups";
  start();
  std::vector<gid_t> groups(100);  // more than is asked for at first
  for (std::size_t i = 0; i < groups.size(); ++i) groups[i] = static_cast<gid_t>(5'000 + i);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgroups(groups.size(), groups.data()) != 0) ::_exit(1);
    const UniqueFd client = connect_to(path());
    for (;;) ::pause();
  }
  const auto* accepted = door_.wait_accepted(1);
  ASSERT_NE(accepted, nullptr);
  const auto connection = acceptor_->begin_rpc(name(accepted->fd));
  ASSERT_TRUE(connection);
  EXPECT_EQ(connection->peer.groups, groups);
  EXPECT_EQ(connection->peer.image, *broker::process_image(::getpid())) << "forked, so the same";
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

TEST_F(AcceptorTest, TellsWhoIsThereOnAnOldKernel) {
  start({.use_peerpidfd = false});
  const UniqueFd client = connect_to(path());
  const auto* accepted = door_.wait_accepted(1);
  ASSERT_NE(accepted, nullptr);
  const auto connection = acceptor_->begin_rpc(name(accepted->fd));
  ASSERT_TRUE(connection);
  EXPECT_EQ(connection->peer.pid, ::getpid());
  EXPECT_EQ(connection->peer.start_time, *broker::process_start_time(::getpid()));
}

TEST_F(AcceptorTest, KnowsNoOtherNames) {
  start();
  const UniqueFd client = connect_to(path());
  const auto* accepted = door_.wait_accepted(1);
  ASSERT_NE(accepted, nullptr);
  for (const char* other :
       {"", "fd:", "fd:1", "fd:-1", "fd:x", "fd:99999999999", "unix:", "ipv4:1"}) {
    EXPECT_FALSE(acceptor_->begin_rpc(other)) << other;
    EXPECT_FALSE(acceptor_->knows(other)) << other;
  }
  EXPECT_TRUE(acceptor_->knows(name(accepted->fd)));
  EXPECT_FALSE(acceptor_->begin_rpc(name(accepted->fd) + "x"));
}

TEST_F(AcceptorTest, AConnectionClosesWithItsProcess) {
  start();
  const pid_t child = ::fork();
  if (child == 0) {
    const UniqueFd client = connect_to(path());
    for (;;) ::pause();
  }
  const auto* accepted = door_.wait_accepted(1);
  ASSERT_NE(accepted, nullptr);
  const auto connection = acceptor_->begin_rpc(name(accepted->fd));
  ASSERT_TRUE(connection);
  EXPECT_EQ(connection->peer.pid, child);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(door_.wait_closed(1));
}

TEST_F(AcceptorTest, RefusesAProcessThatHasEndedBeforeTheAccept) {
  for (const bool use_peerpidfd : {true, false}) {
    membroker::testing::TemporaryFolder folder;
    Door door;
    const std::string where = folder.path("s");
    UniqueFd listening = listen_on(where);
    // A grandchild holds the connection's other end open; its maker is gone.
    int keep[2];
    ASSERT_EQ(::pipe2(keep, O_CLOEXEC), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      const UniqueFd client = connect_to(where);
      if (::fork() == 0) {
        char byte = 0;
        ::close(keep[1]);
        static_cast<void>(!::read(keep[0], &byte, 1));
      }
      ::_exit(0);
    }
    ::waitpid(child, nullptr, 0);
    auto started =
        Acceptor::start({.use_peerpidfd = use_peerpidfd}, door.hooks(), std::move(listening));
    ASSERT_TRUE(started);
    EXPECT_NE(door.wait_refused(), "");
    ::close(keep[0]);
    ::close(keep[1]);
  }
}

TEST_F(AcceptorTest, ReportsAPeerThatClosesOnce) {
  start();
  UniqueFd client = connect_to(path());
  const auto* accepted = door_.wait_accepted(1);
  ASSERT_NE(accepted, nullptr);
  const auto connection = acceptor_->begin_rpc(name(accepted->fd));
  ASSERT_TRUE(connection);
  client.reset();
  ASSERT_TRUE(door_.wait_closed(1));
  EXPECT_FALSE(acceptor_->begin_rpc(name(accepted->fd)));
  acceptor_->shutdown_connection(connection->generation);  // nothing left to do
  UniqueFd other = connect_to(path());
  ASSERT_NE(door_.wait_accepted(2), nullptr);
  other.reset();
  ASSERT_TRUE(door_.wait_closed(2));
  const auto closed = door_.closed();
  ASSERT_EQ(closed.size(), 2u);
  EXPECT_EQ(closed[0].generation, connection->generation);
  EXPECT_EQ(closed[0].fd, connection->fd);
  EXPECT_GT(closed[1].generation, closed[0].generation);
}

TEST_F(AcceptorTest, ReportsAPeerThatClosesHalf) {
  start();
  const UniqueFd client = connect_to(path());
  const auto* accepted = door_.wait_accepted(1);
  ASSERT_NE(accepted, nullptr);
  ::shutdown(client.get(), SHUT_WR);
  EXPECT_TRUE(door_.wait_closed(1));
  EXPECT_TRUE(hung_up(client.get()));
}

TEST_F(AcceptorTest, ReportsTheOtherOwnersClose) {
  start();
  const UniqueFd client = connect_to(path());
  auto* accepted = door_.wait_accepted(1);
  ASSERT_NE(accepted, nullptr);
  ::shutdown(accepted->fd.get(), SHUT_RDWR);  // as gRPC does before it closes
  accepted->fd.reset();
  EXPECT_TRUE(door_.wait_closed(1));
  EXPECT_TRUE(hung_up(client.get()));
}

TEST_F(AcceptorTest, ShutsAConnectionDown) {
  start();
  const UniqueFd client = connect_to(path());
  const auto* accepted = door_.wait_accepted(1);
  ASSERT_NE(accepted, nullptr);
  acceptor_->shutdown_connection(acceptor_->begin_rpc(name(accepted->fd))->generation);
  EXPECT_TRUE(hung_up(client.get()));
  EXPECT_TRUE(hung_up(accepted->fd.get()));
  EXPECT_TRUE(door_.wait_closed(1));
}

TEST_F(AcceptorTest, ShutsDownAConnectionThatStartsNoRpc) {
  start({.first_rpc_ms = 50});
  const UniqueFd busy = connect_to(path());
  const auto* accepted = door_.wait_accepted(1);
  ASSERT_NE(accepted, nullptr);
  ASSERT_TRUE(acceptor_->begin_rpc(name(accepted->fd)));
  const UniqueFd silent = connect_to(path());
  const UniqueFd silent_too = connect_to(path());
  EXPECT_TRUE(hung_up(silent.get()));
  EXPECT_TRUE(hung_up(silent_too.get()));
  EXPECT_TRUE(door_.wait_closed(2));
  EXPECT_TRUE(acceptor_->begin_rpc(name(accepted->fd)));
}

TEST_F(AcceptorTest, KeepsTheLimits) {
  for (const AcceptorOptions& options :
       {AcceptorOptions{.connections_max = 2}, AcceptorOptions{.connections_per_uid_max = 2}}) {
    membroker::testing::TemporaryFolder folder;
    Door door;
    AcceptorOptions with_path = options;
    with_path.path = folder.path("s");
    auto started = Acceptor::start(with_path, door.hooks());
    ASSERT_TRUE(started);
    UniqueFd first = connect_to(with_path.path);
    const UniqueFd second = connect_to(with_path.path);
    ASSERT_NE(door.wait_accepted(2), nullptr);
    const UniqueFd third = connect_to(with_path.path);
    EXPECT_TRUE(hung_up(third.get()));
    EXPECT_THAT(door.wait_refused(), HasSubstr("limits.sessions"));
    first.reset();
    ASSERT_TRUE(door.wait_closed(1));
    const UniqueFd fourth = connect_to(with_path.path);
    EXPECT_NE(door.wait_accepted(3), nullptr);
  }
}

TEST_F(AcceptorTest, GivesEachConnectionAnotherNumber) {
  start();
  std::set<int> numbers;
  constexpr std::size_t kMany = 200;
  for (std::size_t i = 1; i <= kMany; ++i) {
    UniqueFd client = connect_to(path());
    auto* accepted = door_.wait_accepted(i);
    ASSERT_NE(accepted, nullptr);
    numbers.insert(accepted->fd.get());
    client.reset();
    ASSERT_TRUE(door_.wait_closed(i));
    accepted->fd.reset();
  }
  EXPECT_EQ(numbers.size(), kMany);
}

TEST_F(AcceptorTest, ClosesAConnectionWhoseRpcWasRefusedWhenItMayHaveReadWhy) {
  start({.first_rpc_ms = 50});
  const UniqueFd client = connect_to(path());
  const auto* accepted = door_.wait_accepted(1);
  ASSERT_NE(accepted, nullptr);
  ASSERT_TRUE(acceptor_->begin_rpc(name(accepted->fd)));
  acceptor_->refuse_rpc("fd:1");  // nobody's
  acceptor_->refuse_rpc(name(accepted->fd));
  EXPECT_TRUE(hung_up(client.get()));
}

TEST_F(AcceptorTest, ClosesAtOnceWhoIsRefusedAgainOrWhereTwoLinger) {
  start({.first_rpc_ms = 3'600'000});
  std::vector<UniqueFd> clients;
  std::vector<std::string> names;
  for (std::size_t i = 0; i < 4; ++i) {
    clients.push_back(connect_to(path()));
    const auto* accepted = door_.wait_accepted(i + 1);
    ASSERT_NE(accepted, nullptr);
    names.push_back(name(accepted->fd));
  }
  for (std::size_t i = 0; i < 3; ++i) acceptor_->refuse_rpc(names[i]);
  EXPECT_TRUE(hung_up(clients[2].get())) << "two linger already";
  EXPECT_TRUE(acceptor_->begin_rpc(names[0]));
  acceptor_->refuse_rpc(names[0]);
  EXPECT_TRUE(hung_up(clients[0].get())) << "refused again";
  ASSERT_TRUE(door_.wait_closed(2));
  acceptor_->refuse_rpc(names[3]);
  EXPECT_TRUE(acceptor_->begin_rpc(names[3])) << "there is room to linger again";
}

TEST_F(AcceptorTest, ClosesAConnectionThatStartsTooManyRpcs) {
  start({.rpcs_max = 2});
  const UniqueFd client = connect_to(path());
  const auto* accepted = door_.wait_accepted(1);
  ASSERT_NE(accepted, nullptr);
  EXPECT_TRUE(acceptor_->begin_rpc(name(accepted->fd)));
  EXPECT_TRUE(acceptor_->begin_rpc(name(accepted->fd)));
  EXPECT_FALSE(acceptor_->begin_rpc(name(accepted->fd)));
  EXPECT_TRUE(hung_up(client.get()));
}

TEST_F(AcceptorTest, TwoDoorsDoNotUseANumberAgainSoon) {
  start();
  Door other_door;
  const std::string other_path = folder_.path("other.sock");
  auto other = Acceptor::start({.path = other_path}, other_door.hooks());
  ASSERT_TRUE(other);
  std::set<int> numbers;
  constexpr std::size_t kMany = 50;
  for (std::size_t i = 1; i <= kMany; ++i) {
    for (const bool here : {true, false}) {
      UniqueFd client = connect_to(here ? path() : other_path);
      Door& door = here ? door_ : other_door;
      auto* accepted = door.wait_accepted(i);
      ASSERT_NE(accepted, nullptr);
      numbers.insert(accepted->fd.get());
      client.reset();
      ASSERT_TRUE(door.wait_closed(i));
      accepted->fd.reset();
    }
  }
  EXPECT_EQ(numbers.size(), 2 * kMany);
}

TEST_F(AcceptorTest, ANumberUsedAgainLeadsToTheNewerPeer) {
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit few = before;
  few.rlim_cur = 64;  // so that numbers come round soon
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  start();
  std::uint64_t last = 0;
  for (std::size_t i = 1; i <= 100; ++i) {
    UniqueFd client = connect_to(path());
    auto* accepted = door_.wait_accepted(i);
    ASSERT_NE(accepted, nullptr);
    const auto connection = acceptor_->begin_rpc(name(accepted->fd));
    ASSERT_TRUE(connection);
    EXPECT_GT(connection->generation, last);
    last = connection->generation;
    client.reset();
    ASSERT_TRUE(door_.wait_closed(i));
    accepted->fd.reset();
  }
  ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST_F(AcceptorTest, StopsAcceptingAndKeepsTheLive) {
  start();
  const UniqueFd client = connect_to(path());
  const auto* accepted = door_.wait_accepted(1);
  ASSERT_NE(accepted, nullptr);
  acceptor_->stop_accepting();
  acceptor_->stop_accepting();
  // The path goes with the listening socket; a connection caught in between is closed.
  bool closed = false;
  for (int i = 0; i < 100'000 && !closed; ++i) closed = !connect_to(path());
  EXPECT_TRUE(closed);
  EXPECT_TRUE(acceptor_->begin_rpc(name(accepted->fd)));
  EXPECT_EQ(::send(client.get(), "x", 1, MSG_NOSIGNAL), 1);
}

TEST_F(AcceptorTest, MakesItsSocketWithTheModeAndRemovesIt) {
  const mode_t before = ::umask(077);
  start({.mode = 0660});
  ::umask(before);
  struct stat about {};
  ASSERT_EQ(::lstat(path().c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0660u);
  acceptor_.reset();
  EXPECT_NE(::lstat(path().c_str(), &about), 0);
}

TEST_F(AcceptorTest, ReplacesASocketThatNobodyListensOn) {
  ASSERT_TRUE(listen_on(path()));  // and closed at once
  start();
  EXPECT_TRUE(connect_to(path()));
}

TEST_F(AcceptorTest, StealsNoSocketFromALiveDaemon) {
  start();
  EXPECT_EQ(start_fails().code(), ErrorCode::kUnavailable);
  EXPECT_TRUE(connect_to(path()));
}

TEST_F(AcceptorTest, StealsNoSocketFromAnyProgramThatListens) {
  const UniqueFd other = listen_on(path());
  const Error error = start_fails();
  EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
  EXPECT_THAT(error.message(), HasSubstr("another program listens"));
  EXPECT_TRUE(connect_to(path()));
}

TEST_F(AcceptorTest, LeavesAPathAloneThatIsNoSocket) {
  folder_.write("broker.sock", "precious");
  EXPECT_EQ(start_fails().code(), ErrorCode::kInvalid);
  struct stat about {};
  ASSERT_EQ(::lstat(path().c_str(), &about), 0);
  EXPECT_EQ(about.st_size, 8);
}

TEST_F(AcceptorTest, DoesNotRemoveWhatReplacedItsSocket) {
  start();
  ::unlink(path().c_str());
  folder_.write("broker.sock", "another");
  acceptor_.reset();
  struct stat about {};
  EXPECT_EQ(::lstat(path().c_str(), &about), 0);
}

TEST_F(AcceptorTest, SaysThatAPathIsTooLong) {
  const auto started = Acceptor::start({.path = "/tmp/" + std::string(200, 'x')}, door_.hooks());
  ASSERT_FALSE(started);
  EXPECT_THAT(started.error().message(), HasSubstr("runtime_directory"));
}

TEST_F(AcceptorTest, TakesAnInheritedSocketAndLeavesItsPath) {
  start({}, listen_on(path()));
  const UniqueFd client = connect_to(path());
  EXPECT_NE(door_.wait_accepted(1), nullptr);
  acceptor_.reset();
  struct stat about {};
  EXPECT_EQ(::lstat(path().c_str(), &about), 0);
}

TEST_F(AcceptorTest, RefusesToInheritAnythingElse) {
  UniqueFd not_listening(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  UniqueFd no_socket(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_FALSE(Acceptor::start({}, door_.hooks(), std::move(not_listening)));
  EXPECT_FALSE(Acceptor::start({}, door_.hooks(), std::move(no_socket)));
}

TEST_F(AcceptorTest, HoldsUpUnderManyConnectionsAtOnce) {
  start();
  constexpr std::size_t kMany = 300;
  std::vector<UniqueFd> clients;
  for (std::size_t i = 0; i < kMany; ++i) clients.push_back(connect_to(path()));
  ASSERT_NE(door_.wait_accepted(kMany), nullptr);
  clients.clear();
  EXPECT_TRUE(door_.wait_closed(kMany));
}

}  // namespace
}  // namespace membroker::rpc
