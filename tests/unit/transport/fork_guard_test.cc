#include "client/lease/fork_guard.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <utility>
#include <vector>

#include "shared/fd.h"
#include "tests/kit/in_child.h"

namespace membroker::lease {
namespace {

using testing::in_child;

int generation() { return static_cast<int>(fork_generation()); }
bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

struct SocketPair {
  SocketPair() {
    std::array<int, 2> fds{-1, -1};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), 0);
    a = UniqueFd(fds[0]);
    b = UniqueFd(fds[1]);
  }
  UniqueFd a, b;
};

// One test: the handler, once installed, stays for the life of the process.
TEST(ForkGuardTest, ChildrenCountFromTheArming) {
  EXPECT_EQ(in_child([] { return generation(); }), 0);
  arm_fork_guard();
  arm_fork_guard();
  EXPECT_EQ(generation(), 0);
  EXPECT_EQ(in_child([] { return generation(); }), 1);
  EXPECT_EQ(in_child([] { return in_child([] { return generation(); }); }), 2);
  EXPECT_EQ(generation(), 0);
}

TEST(ForkGuardTest, TheChildClosesTheSocketAndOnlyThat) {
  arm_fork_guard();
  SocketPair pair;
  const ForkClosedFd guarded(pair.a.get());
  EXPECT_EQ(in_child([&] { return is_open(pair.a.get()) ? 1 : is_open(pair.b.get()) ? 0 : 2; }), 0);
  EXPECT_TRUE(is_open(pair.a.get()));
}

TEST(ForkGuardTest, ANumberThatMeansAnotherFileByNowStaysOpen) {
  arm_fork_guard();
  SocketPair pair;
  const int number = pair.a.get();
  const ForkClosedFd guarded(number);
  const UniqueFd other(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::dup2(other.get(), number), number);  // as if gRPC had closed it and a user opened
  EXPECT_EQ(in_child([&] { return is_open(number) ? 0 : 1; }), 0);
}

TEST(ForkGuardTest, ADroppedGuardClosesNothing) {
  arm_fork_guard();
  SocketPair pair;
  {
    ForkClosedFd first(pair.a.get());
    ForkClosedFd second(std::move(first));
  }
  EXPECT_EQ(in_child([&] { return is_open(pair.a.get()) ? 0 : 1; }), 0);
}

TEST(ForkGuardTest, WhenTheSlotsAreUsedUpTheSocketStaysOpen) {
  arm_fork_guard();
  SocketPair pair;
  std::vector<ForkClosedFd> guards;
  for (int i = 0; i < ForkClosedFd::kSlots; ++i) guards.emplace_back(pair.a.get());
  const ForkClosedFd one_too_many(pair.b.get());
  EXPECT_EQ(in_child([&] { return is_open(pair.a.get()) ? 1 : is_open(pair.b.get()) ? 0 : 2; }), 0);
}

}  // namespace
}  // namespace membroker::lease
