#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <iostream>

namespace membroker::testing {

inline constexpr int kHung = 128 + SIGALRM;

#ifdef __SANITIZE_THREAD__
// Its allocator knows no fork: what another thread locks then stays locked in the child, which
// hangs at its next allocation. One child in 50 did, of a busy process.
inline constexpr int kForksMax = 3;
inline constexpr unsigned kChildSeconds = 8;
#else
inline constexpr int kForksMax = 1;
inline constexpr unsigned kChildSeconds = 20;
#endif

/// Runs `body` in a forked child. What it returned, 128 + the signal that killed it (kHung: it took
/// too long), -1 if there was no child.
template <class Body>
int in_child(Body body) {
  int result = kHung;
  for (int forked = 0; forked < kForksMax && result == kHung; ++forked) {
    if (forked > 0) std::cerr << "a forked child hung; once more\n";
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(kChildSeconds);
      ::_exit(body());
    }
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child) return -1;
    result = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  return result;
}

}  // namespace membroker::testing
