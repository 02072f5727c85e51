#pragma once

#include <atomic>
#include <cstdint>

/// \file
/// What a fork()ed child must know: that it is one, and which descriptors to drop. gRPC in a child
/// of a process with live gRPC hangs for ever, so the child of a connected client is cut off until
/// it calls exec(). Whoever may be called in such a child compares generations before any lock.

namespace membroker::lease {

/// 0 in the process that called arm_fork_guard(); larger in every child forked after that, and in
/// their children. Thread-safe, one load.
std::uint64_t fork_generation() noexcept;
/// The same as a word that can be looked at without a call.
const std::atomic<std::uint64_t>& fork_count() noexcept;

/// Installs the fork handler, once in the life of the process. The library must stay loaded then.
void arm_fork_guard();

/// A descriptor that a forked child closes at once (if it is still the same socket there), so that
/// the daemon sees the connection end with this process. When kSlots are in use the child keeps
/// it open, which only delays that. Thread-safe; arm_fork_guard() first.
class ForkClosedFd {
 public:
  static constexpr int kSlots = 512;

  ForkClosedFd() = default;
  explicit ForkClosedFd(int fd);
  ForkClosedFd(ForkClosedFd&& other) noexcept;
  ForkClosedFd& operator=(ForkClosedFd&& other) noexcept;
  ~ForkClosedFd();

 private:
  int slot_ = -1;
};

}  // namespace membroker::lease
