#include "client/lease/fork_guard.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <utility>

namespace membroker::lease {
namespace {

// A slot: fd + 1 (0: free, kTaken: being filled) and the socket's inode, by which the child knows
// that the number still means that socket: gRPC may close it at any time.
constexpr int kTaken = -1;
struct Slot {
  std::atomic<int> fd_plus_one{0};
  std::atomic<std::uint64_t> inode{0};
};

std::atomic<std::uint64_t> generation{0};
Slot slots[ForkClosedFd::kSlots];

// Runs in the child between fork() and its return: no lock, no allocation, errno kept.
void in_child() {
  const int saved = errno;
  generation.fetch_add(1, std::memory_order_relaxed);
  for (Slot& slot : slots) {
    const int fd = slot.fd_plus_one.load(std::memory_order_acquire) - 1;
    struct stat now {};
    if (fd >= 0 && ::fstat(fd, &now) == 0 && S_ISSOCK(now.st_mode) &&
        now.st_ino == slot.inode.load(std::memory_order_relaxed)) {
      ::close(fd);
    }
    slot.fd_plus_one.store(0, std::memory_order_relaxed);
  }
  errno = saved;
}

}  // namespace

std::uint64_t fork_generation() noexcept { return generation.load(std::memory_order_relaxed); }

const std::atomic<std::uint64_t>& fork_count() noexcept { return generation; }

void arm_fork_guard() {
  static const int armed = ::pthread_atfork(nullptr, nullptr, &in_child);
  static_cast<void>(armed);
}

ForkClosedFd::ForkClosedFd(int fd) {
  struct stat now {};
  if (fd < 0 || ::fstat(fd, &now) != 0) return;
  for (int i = 0; i < kSlots; ++i) {
    int free = 0;
    if (!slots[i].fd_plus_one.compare_exchange_strong(free, kTaken)) continue;
    slots[i].inode.store(now.st_ino, std::memory_order_relaxed);
    slots[i].fd_plus_one.store(fd + 1, std::memory_order_release);
    slot_ = i;
    return;
  }
}

ForkClosedFd::ForkClosedFd(ForkClosedFd&& other) noexcept : slot_(std::exchange(other.slot_, -1)) {}

ForkClosedFd& ForkClosedFd::operator=(ForkClosedFd&& other) noexcept {
  std::swap(slot_, other.slot_);
  return *this;
}

ForkClosedFd::~ForkClosedFd() {
  if (slot_ >= 0) slots[slot_].fd_plus_one.store(0, std::memory_order_release);
}

}  // namespace membroker::lease
