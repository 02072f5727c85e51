#include "server/broker/kin_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/broker/process_facts.h"
#include "tests/kit/comes_true.h"
#include "tests/kit/no_descriptors.h"

namespace membroker::broker {
namespace {

using membroker::testing::comes_true;
using membroker::testing::NoDescriptors;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr Bytes kHeld = 32 * kMiB;
constexpr Bytes kSmall = 8 * kMiB;  // more than a test program holds by itself

void* touched(Bytes bytes) {
  void* memory = ::mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  std::memset(memory, 1, static_cast<std::size_t>(bytes));
  return memory;
}

// A process that does what it is told, byte by byte, and answers each with the pid that was born,
// or 0.
class Puppet {
 public:
  Puppet() {
    EXPECT_EQ(::pipe2(orders_, 0), 0);
    EXPECT_EQ(::pipe2(answers_, 0), 0);
    pid_ = ::fork();
    if (pid_ == 0) live();
    group_ = pid_;
    static_cast<void>(answer());  // it runs
  }
  ~Puppet() {
    if (group_ > 0) ::kill(-group_, SIGKILL);  // all that were born
    end();
    for (const int fd : {orders_[0], orders_[1], answers_[0], answers_[1]}) ::close(fd);
  }

  Peer peer() const {
    return {.pid = pid_,
            .start_time = process_start_time(pid_).value_or(0),
            .image = process_image(pid_).value_or(kImageUnknown)};
  }
  pid_t pid() const { return pid_; }
  // 'h' holds kHeld; 'd' drops that; 'f' forks a child that stays; 'g' a child that forks one and
  // ends: that one; 'x' a child that execs a program; 'e' execs a shell that ends with its input.
  pid_t tell(char order) {
    EXPECT_EQ(::write(orders_[1], &order, 1), 1);
    return answer();
  }
  void end() {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
    if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  pid_t answer() const {
    pid_t pid = 0;
    EXPECT_EQ(::read(answers_[0], &pid, sizeof pid), static_cast<ssize_t>(sizeof pid));
    return pid;
  }
  void reply(pid_t pid) const { static_cast<void>(!::write(answers_[1], &pid, sizeof pid)); }
  [[noreturn]] static void stay() {
    for (;;) ::pause();
  }
  [[noreturn]] void live() {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::setpgid(0, 0);
    reply(0);
    void* held = nullptr;
    for (char order = 0; ::read(orders_[0], &order, 1) == 1;) {
      if (order == 'h') held = touched(kHeld);
      if (order == 'd') ::munmap(held, kHeld);
      if (order == 'h' || order == 'd') reply(0);
      if (order == 'e') exec_shell();
      if (order == 'f' || order == 'g' || order == 'x') {
        const pid_t child = ::fork();
        if (child == 0) be_child(order);
        if (order == 'f') reply(child);
      }
    }
    ::_exit(0);
  }
  [[noreturn]] void be_child(char order) const {
    if (order == 'g') {
      const pid_t grandchild = ::fork();
      if (grandchild == 0) stay();
      reply(grandchild);
      ::pause();
      ::_exit(0);
    }
    if (order == 'x') {
      reply(::getpid());
      ::execl("/bin/sleep", "sleep", "1000", nullptr);
      ::_exit(127);
    }
    stay();
  }
  // Answers 0 once it is the shell, then replaces itself by another one at the next line.
  void exec_shell() const {
    ::dup2(orders_[0], 0);
    ::dup2(answers_[1], 1);
    ::execl("/bin/sh", "sh", "-c",
            "printf '\\000\\000\\000\\000'; read line; exec sh -c \"printf "
            "'\\\\000\\\\000\\\\000\\\\000'; read line\"",
            nullptr);
    ::_exit(127);
  }

  pid_t pid_ = 0;
  pid_t group_ = 0;
  int orders_[2] = {-1, -1};
  int answers_[2] = {-1, -1};
};

class KinWatchTest : public ::testing::Test {
 protected:
  struct Exec {
    Peer was;
    std::uint64_t now = 0;
    std::vector<Kin> left;
  };
  // What was told, by pid; looked at from the test's thread.
  std::vector<Exec> execs() {
    const std::lock_guard lock(mutex_);
    return execs_;
  }
  std::optional<Bytes> share_of(pid_t pid) {
    const std::lock_guard lock(mutex_);
    const auto found = shares_.find(pid);
    return found == shares_.end() ? std::nullopt : std::optional(found->second);
  }
  std::vector<pid_t> pids(const std::vector<Kin>& kin) {
    std::vector<pid_t> result;
    for (const Kin& one : kin) result.push_back(one.process.pid);
    return result;
  }
  // A sample that began after this was called has ended: it has told a newcomer's exec.
  void sample_passes() {
    Puppet marker;
    kin_.follow(marker.peer());
    const std::size_t before = execs().size();
    marker.tell('e');
    ASSERT_TRUE(comes_true([&] { return execs().size() > before; }));
  }

  KinWatch::Hooks hooks() {
    KinWatch::Hooks hooks;
    hooks.on_exec = [this](const Peer& was, std::uint64_t now, std::vector<Kin> left) {
      const std::lock_guard lock(mutex_);
      execs_.push_back({was, now, std::move(left)});
    };
    hooks.on_measured = [this](const std::vector<MeasuredShare>& shares) {
      const std::lock_guard lock(mutex_);
      for (const MeasuredShare& share : shares) shares_[share.process.pid] = share.bytes;
    };
    return hooks;
  }

  std::mutex mutex_;
  std::vector<Exec> execs_;
  std::map<pid_t, Bytes> shares_;
  KinWatch kin_{hooks(), {.interval = 10, .rest = 1}};
};

TEST_F(KinWatchTest, AnImageIsSharedByForkAndChangedByEveryExec) {
  Puppet puppet;
  const std::uint64_t image = *process_image(puppet.pid());
  EXPECT_EQ(image, *process_image(::getpid())) << "forked";
  EXPECT_EQ(image, *process_image(puppet.tell('f'))) << "forked again";
  puppet.tell('e');
  const std::uint64_t shell = *process_image(puppet.pid());
  EXPECT_NE(shell, image) << "another program";
  puppet.tell('\n');
  EXPECT_NE(*process_image(puppet.pid()), shell) << "the same program once more";
}

TEST_F(KinWatchTest, TellsEachExecOnceAlsoOfTheSameProgram) {
  Puppet puppet;
  Puppet quiet;
  const Peer first = puppet.peer();
  kin_.follow(first);
  kin_.follow(quiet.peer());
  puppet.tell('e');
  ASSERT_TRUE(comes_true([&] { return execs().size() == 1; }));
  EXPECT_EQ(execs()[0].was, first);
  EXPECT_EQ(execs()[0].was.image, first.image);
  EXPECT_EQ(execs()[0].now, *process_image(puppet.pid()));
  EXPECT_THAT(execs()[0].left, IsEmpty());
  puppet.tell('\n');
  ASSERT_TRUE(comes_true([&] { return execs().size() == 2; }));
  EXPECT_EQ(execs()[1].now, *process_image(puppet.pid()));
  sample_passes();
  EXPECT_EQ(execs().size(), 3U) << "the two, and the marker's";
}

TEST_F(KinWatchTest, AnExecLeavesTheChildrenForkedBefore) {
  Puppet puppet;
  kin_.follow(puppet.peer());
  puppet.tell('h');
  const pid_t child = puppet.tell('f');
  sample_passes();
  puppet.tell('e');
  ASSERT_TRUE(comes_true([&] { return execs().size() == 2; }));
  const Exec exec = execs()[1];
  ASSERT_THAT(pids(exec.left), ElementsAre(child));
  EXPECT_GE(exec.left[0].bytes.value_or(0), kHeld);
  EXPECT_THAT(kin_.ended(puppet.peer()), IsEmpty()) << "they are not the new image's";
}

TEST_F(KinWatchTest, ChildrenAreKnownFromTheLastSample) {
  Puppet puppet;
  const Peer peer = puppet.peer();
  kin_.follow(peer);
  puppet.tell('h');
  const pid_t child = puppet.tell('f');
  const pid_t grandchild = puppet.tell('g');
  puppet.tell('x');  // has nothing of its parent's any more
  sample_passes();
  puppet.end();
  const std::vector<Kin> left = kin_.ended(peer);
  // The one between is there still; the grandchild would be known without it, too.
  EXPECT_THAT(pids(left), ::testing::IsSupersetOf({child, grandchild}));
  EXPECT_EQ(left.size(), 3U);
  for (const Kin& kin : left) {
    EXPECT_TRUE(kin.measurable);
    EXPECT_GE(kin.bytes.value_or(0), kHeld);
    EXPECT_EQ(kin.process.start_time, *process_start_time(kin.process.pid));
  }
  EXPECT_THAT(kin_.ended(peer), IsEmpty()) << "told once";
}

TEST_F(KinWatchTest, AChildOnceKnownStaysSoAndOneThatHasEndedDoesNot) {
  Puppet puppet;
  const Peer peer = puppet.peer();
  kin_.follow(peer);
  const pid_t dead = puppet.tell('f');
  const pid_t grandchild = puppet.tell('g');
  sample_passes();
  // The parent of the grandchild ends: the kernel gives it to init.
  const auto all = list_processes();
  ASSERT_TRUE(all);
  for (const ProcessEntry& entry : *all) {
    if (entry.parent == puppet.pid() && entry.pid != dead) ::kill(entry.pid, SIGKILL);
  }
  sample_passes();
  ::kill(dead, SIGKILL);
  ASSERT_TRUE(comes_true([&] { return !process_image(dead); }));
  puppet.end();
  EXPECT_THAT(pids(kin_.ended(peer)), ElementsAre(grandchild));
  EXPECT_THAT(kin_.ended({.pid = 1}), IsEmpty()) << "never followed";
}

TEST_F(KinWatchTest, MeasuresTheShareOfAChildUntilItHasEnded) {
  Puppet puppet;
  puppet.tell('h');
  const pid_t child = puppet.tell('f');
  const Peer peer{
      .pid = child, .start_time = *process_start_time(child), .image = *process_image(child)};
  const Bytes both = *process_share(child);
  EXPECT_GE(both, kHeld / 2);
  EXPECT_LT(both, kHeld / 2 + kSmall) << "half is the parent's";
  kin_.measure(peer);
  ASSERT_TRUE(comes_true([&] { return share_of(child).has_value(); }));
  EXPECT_LT(*share_of(child), kHeld);
  puppet.end();
  EXPECT_TRUE(comes_true([&] { return *share_of(child) >= kHeld; })) << "now alone";
  EXPECT_LT(*share_of(child), kHeld + kSmall);
  ::kill(child, SIGKILL);
  EXPECT_TRUE(comes_true([&] { return !process_start_time(child); }));
  EXPECT_EQ(process_share(child).error().code(), ErrorCode::kNotFound);
  EXPECT_TRUE(comes_true([&] { return *share_of(child) == 0; }));
}

TEST_F(KinWatchTest, AnExecEndsTheMeasuringAndIsToldWithTheChildren) {
  Puppet puppet;
  puppet.tell('h');
  const pid_t child = puppet.tell('f');
  const Peer peer = puppet.peer();
  kin_.follow(peer);
  kin_.measure(peer);
  ASSERT_TRUE(comes_true([&] { return share_of(peer.pid).has_value(); }));
  sample_passes();
  puppet.tell('e');
  ASSERT_TRUE(comes_true([&] { return execs().size() == 2; }));
  EXPECT_THAT(pids(execs()[1].left), ElementsAre(child));
  sample_passes();
  EXPECT_GE(*share_of(peer.pid), kHeld / 2) << "nothing is told of the new program";
}

TEST_F(KinWatchTest, MeasuresWhatChanges) {
  Puppet puppet;
  puppet.tell('h');
  const Peer peer = puppet.peer();
  kin_.measure(peer);
  ASSERT_TRUE(comes_true([&] { return share_of(peer.pid).value_or(0) >= kHeld; }));
  puppet.tell('d');
  EXPECT_TRUE(comes_true([&] { return *share_of(peer.pid) < kSmall; }));
  EXPECT_GT(*share_of(peer.pid), 0);
}

TEST_F(KinWatchTest, IsToldOnceWhomToFollow) {
  Puppet puppet;
  EXPECT_TRUE(kin_.follow(puppet.peer()));
  EXPECT_FALSE(kin_.follow(puppet.peer()));
  kin_.forget(puppet.peer());
  EXPECT_TRUE(kin_.follow(puppet.peer()));
  const pid_t child = puppet.tell('f');
  sample_passes();
  EXPECT_THAT(pids(kin_.ended(puppet.peer())), ElementsAre(child));
  EXPECT_TRUE(kin_.follow(puppet.peer()));
  kin_.forget(puppet.peer());
  EXPECT_THAT(kin_.ended(puppet.peer()), IsEmpty());
}

// ---- no descriptor left ----

TEST_F(KinWatchTest, AProcessThatCannotBeReadIsNotTakenForDead) {
  Puppet puppet;
  const pid_t child = puppet.tell('f');
  const NoDescriptors none;
  for (const pid_t pid : {puppet.pid(), child}) {
    EXPECT_EQ(process_start_time(pid).error().code(), ErrorCode::kIo);
    EXPECT_EQ(process_image(pid).error().code(), ErrorCode::kIo);
    EXPECT_EQ(process_share(pid).error().code(), ErrorCode::kIo);
    EXPECT_EQ(process_resident(pid).error().code(), ErrorCode::kIo);
  }
}

TEST_F(KinWatchTest, ChildrenThatCannotBeReadAreLeftStill) {
  Puppet puppet;
  const Peer peer = puppet.peer();
  kin_.follow(peer);
  const pid_t child = puppet.tell('f');
  sample_passes();
  std::vector<Kin> left;
  {
    const NoDescriptors none;
    left = kin_.ended(peer);
  }
  ASSERT_THAT(pids(left), ElementsAre(child));
  EXPECT_TRUE(left[0].measurable);
  EXPECT_FALSE(left[0].bytes.has_value());
}

TEST(ListProcesses, FailsRatherThanLeaveOutThoseItCannotRead) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "UBSan looks at a type through a pipe, and takes having none for a wrong type";
#endif
  const NoDescriptors none(1);  // for the list itself
  const auto all = list_processes();
  ASSERT_FALSE(all);
  EXPECT_EQ(all.error().code(), ErrorCode::kIo);
}

TEST_F(KinWatchTest, WhoMayNotTraceAProcessMayNotSeeItsImage) {
  const pid_t root = ::getpid();
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
  const pid_t other = ::fork();
  if (other == 0) {
    const bool changed =
        ::setresgid(65534, 65534, 65534) == 0 && ::setresuid(65534, 65534, 65534) == 0;
    const auto image = process_image(root);
    const auto share = process_share(root);
    const bool refused = !image && image.error().code() == ErrorCode::kPermissionDenied && !share &&
                         share.error().code() == ErrorCode::kPermissionDenied;
    ::_exit(changed && refused && process_start_time(root) && process_resident(root) ? 0 : 1);
  }
  int status = -1;
  ::waitpid(other, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_F(KinWatchTest, ThereIsNothingToSayOfNoProcess) {
  for (const pid_t pid : {0, -1, 1 << 30}) {
    EXPECT_EQ(process_start_time(pid).error().code(), ErrorCode::kNotFound) << pid;
    EXPECT_EQ(process_image(pid).error().code(), ErrorCode::kNotFound) << pid;
    EXPECT_EQ(process_share(pid).error().code(), ErrorCode::kNotFound) << pid;
    EXPECT_EQ(process_resident(pid).error().code(), ErrorCode::kNotFound) << pid;
  }
}

}  // namespace
}  // namespace membroker::broker
