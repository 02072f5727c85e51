#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "membroker/error.h"

/// \file
/// For the tests of programs that use libmembroker: a daemon that does what the test says, in the
/// process, and a clock that stands still.
///
///     testing::ScriptedDaemon daemon({.capacity_bytes = 64 << 20});
///     auto pool = daemon.pool();            // behaves as Client::pool() does
///     daemon.deny_request(2);               // the second request from now on
///     auto revocation = daemon.revoke(8 << 20, 500ms);
///     ...
///     EXPECT_EQ(daemon.held(), 0);

namespace membroker {
class MemoryPool;
}

namespace membroker::testing {

/// Milliseconds that pass only by advance(). Copies are the same clock. Thread-safe.
class FakeClock {
 public:
  FakeClock();
  std::int64_t now_ms() const;
  void advance(std::chrono::milliseconds by);

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the pools that read it
};

struct ScriptedDaemonOptions {
  std::int64_t capacity_bytes = 0;  ///< What it lends in all, the floor included.
  std::int64_t floor_bytes = 0;
  /// What the pool wants as its spill workspace; with a floor of 0 it asks for it first.
  std::int64_t workspace_bytes = 0;
  std::int64_t chunk_bytes = 1 << 20;
  const FakeClock* clock = nullptr;  ///< Null: real time. Copied.
  bool attached = true;              ///< False: call attach() when the test wants it.
};

enum class RevocationState { kOpen, kMet, kCannot, kWithdrawn };

struct RequestSeen {
  std::uint64_t id = 0;
  std::int64_t min_bytes = 0;
  std::int64_t want_bytes = 0;
  std::int64_t wait_ms = 0;
};

/// Lends to one pool. Grants at once what its capacity allows and refuses the rest with the hint to
/// spill, until told otherwise. Answers come from the thread that asks, or that tells. Thread-safe.
class ScriptedDaemon {
 public:
  explicit ScriptedDaemon(ScriptedDaemonOptions options);
  ScriptedDaemon(const ScriptedDaemon&) = delete;
  ScriptedDaemon& operator=(const ScriptedDaemon&) = delete;
  ~ScriptedDaemon();

  std::shared_ptr<MemoryPool> pool() const;

  // ---- the script ----

  /// The n-th request from now on (1: the next) is refused; n is counted once.
  void deny_request(int n, DenialHint hint = DenialHint::kNone);
  /// While on, requests stay open until answer_held(). Their waits do not run out by themselves.
  void hold_requests(bool on);
  /// Answers the requests held, oldest first, by capacity. Returns how many.
  int answer_held();
  void set_capacity(std::int64_t bytes);
  void set_tight(bool tight);
  /// Asks `bytes` back. Only one is open at a time: another call moves its target.
  void revoke(std::int64_t bytes, std::chrono::milliseconds deadline, bool may_spill = true);
  void withdraw_revocation();
  /// The stream is lost: requests under way are forgotten, as after a kill of the daemon.
  void detach(bool final = false);
  /// The stream is back; both sides take the larger totals.
  void attach();
  /// As detach(), but the next grant is lost on the way: attach() brings its bytes.
  void lose_next_grant();

  // ---- what happened ----

  /// granted + overdrawn - returned, as the pool says.
  std::int64_t held() const;
  std::int64_t granted_total() const;
  std::int64_t overdrawn_total() const;
  std::int64_t returned_total() const;
  RevocationState revocation() const;
  std::string revocation_reason() const;      ///< The pool's words with kCannot.
  std::vector<RequestSeen> requests() const;  ///< All, with repeats after attach().
  std::vector<RequestSeen> held_requests() const;
  int cancelled() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;  // shared with the pool
};

}  // namespace membroker::testing
