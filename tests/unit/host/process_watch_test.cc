#include "server/broker/process_watch.h"
#include "server/broker/process_facts.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "tests/kit/no_descriptors.h"

namespace membroker::broker {
namespace {

using namespace std::chrono_literals;
using membroker::testing::NoDescriptors;

// Collects what the watcher tells.
class Ended {
 public:
  void add(const Peer& peer) {
    const std::lock_guard lock(mutex_);
    peers_.push_back(peer);
    changed_.notify_all();
  }
  bool wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 10s, [&] { return peers_.size() >= count; });
  }
  std::vector<Peer> peers() {
    const std::lock_guard lock(mutex_);
    return peers_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Peer> peers_;
};

pid_t fork_paused() {
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) ::pause();
  }
  return child;
}

Peer peer_of(pid_t pid) {
  return {.pid = pid,
          .uid = ::getuid(),
          .gid = ::getgid(),
          .start_time = process_start_time(pid).value_or(0)};
}

void kill_and_reap(pid_t pid) {
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

class ProcessWatchTest : public ::testing::Test {
 protected:
  Ended ended_;
  ProcessWatch watch_{[this](const Peer& peer) { ended_.add(peer); }};
};

TEST_F(ProcessWatchTest, TellsOnceHoweverOftenItIsAsked) {
  const pid_t child = fork_paused();
  const Peer peer = peer_of(child);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(watch_.watch(peer));
  const pid_t other = fork_paused();
  const Peer other_peer = peer_of(other);
  ASSERT_TRUE(watch_.watch(other_peer));
  kill_and_reap(child);
  ASSERT_TRUE(ended_.wait_for(1));
  kill_and_reap(other);
  ASSERT_TRUE(ended_.wait_for(2));
  EXPECT_EQ(ended_.peers(), (std::vector<Peer>{peer, other_peer}));
}

TEST_F(ProcessWatchTest, TellsOfAProcessNobodyHasReaped) {
  const pid_t child = fork_paused();
  ASSERT_TRUE(watch_.watch(peer_of(child)));
  ::kill(child, SIGKILL);
  EXPECT_TRUE(ended_.wait_for(1));
  // Still a zombie: watching it again tells at once again.
  EXPECT_TRUE(watch_.watch(peer_of(child)));
  EXPECT_TRUE(ended_.wait_for(2));
  ::waitpid(child, nullptr, 0);
}

TEST_F(ProcessWatchTest, TellsOfAKilledParentThatLeavesAChild) {
  int told[2];
  ASSERT_EQ(::pipe2(told, O_CLOEXEC), 0);
  const pid_t parent = ::fork();
  if (parent == 0) {
    const pid_t left_behind = ::fork();
    if (left_behind == 0) {
      for (;;) ::pause();
    }
    static_cast<void>(!::write(told[1], &left_behind, sizeof left_behind));
    for (;;) ::pause();
  }
  pid_t left_behind = 0;
  ASSERT_EQ(::read(told[0], &left_behind, sizeof left_behind),
            static_cast<ssize_t>(sizeof left_behind));
  const Peer peer = peer_of(parent);
  ASSERT_TRUE(watch_.watch(peer));
  kill_and_reap(parent);
  EXPECT_TRUE(ended_.wait_for(1));
  EXPECT_EQ(::kill(left_behind, 0), 0);
  ::kill(left_behind, SIGKILL);
  ::close(told[0]);
  ::close(told[1]);
}

TEST_F(ProcessWatchTest, NeedsNoDescriptorToBeAskedAgain) {
  const pid_t child = fork_paused();
  const Peer peer = peer_of(child);
  ASSERT_TRUE(watch_.watch(peer));
  {
    const NoDescriptors none;
    EXPECT_TRUE(watch_.watch(peer));
    const auto other = watch_.watch(peer_of(::getppid()));
    ASSERT_FALSE(other);
    EXPECT_EQ(other.error().code(), ErrorCode::kIo) << "it lives";
  }
  kill_and_reap(child);
  EXPECT_TRUE(ended_.wait_for(1));
}

TEST_F(ProcessWatchTest, TellsNothingOfAForgottenProcess) {
  const pid_t child = fork_paused();
  const pid_t other = fork_paused();
  const Peer peer = peer_of(child);
  const Peer other_peer = peer_of(other);
  watch_.forget(peer);  // never watched
  ASSERT_TRUE(watch_.watch(peer));
  watch_.forget(peer);
  kill_and_reap(child);
  ASSERT_TRUE(watch_.watch(other_peer));
  kill_and_reap(other);
  ASSERT_TRUE(ended_.wait_for(1));
  EXPECT_EQ(ended_.peers(), std::vector<Peer>{other_peer});
}

TEST_F(ProcessWatchTest, ComparesTheStartTime) {
  const pid_t child = fork_paused();
  Peer earlier = peer_of(child);
  --earlier.start_time;
  const auto refused = watch_.watch(earlier);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kNotFound);
  kill_and_reap(child);
}

TEST_F(ProcessWatchTest, SaysThatAProcessIsNoMore) {
  const pid_t child = fork_paused();
  const Peer peer = peer_of(child);
  kill_and_reap(child);
  EXPECT_EQ(watch_.watch(peer).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(watch_.watch({}).error().code(), ErrorCode::kNotFound);
}

TEST_F(ProcessWatchTest, WatchesManyAtOnce) {
  constexpr std::size_t kMany = 64;
  std::vector<pid_t> children;
  for (std::size_t i = 0; i < kMany; ++i) {
    children.push_back(fork_paused());
    ASSERT_TRUE(watch_.watch(peer_of(children.back())));
  }
  for (const pid_t child : children) ::kill(child, SIGKILL);
  EXPECT_TRUE(ended_.wait_for(kMany));
  for (const pid_t child : children) ::waitpid(child, nullptr, 0);
}

TEST(ProcessStartTime, IsReadPastACommandWithBrackets) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::prctl(PR_SET_NAME, "a) 1 (b) 2");
    for (;;) ::pause();
  }
  const auto own = process_start_time(::getpid());
  const auto childs = process_start_time(child);
  ASSERT_TRUE(own);
  ASSERT_TRUE(childs);
  EXPECT_GT(*own, 0u);
  EXPECT_GE(*childs, *own);
  kill_and_reap(child);
  EXPECT_EQ(process_start_time(-1).error().code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace membroker::broker
