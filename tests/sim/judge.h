#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "server/arbiter/arbiter.h"
#include "tests/sim/accounts.h"

/// \file
/// Judges single effects, each in the state it was made in, by the text of the specification and
/// with none of the core's own code. Every answer is one sentence about what is wrong, or nothing.

namespace membroker::sim {

/// A request that waits, as seen from outside.
struct Waiter {
  SessionId session;
  RequestId id;
  Bytes want = 0;  // at most what the lease can ever get
  Bytes min = 0;
  std::int32_t priority = 0;
  Instant arrived;
  Instant deadline;
  std::uint64_t arrival = 0;  // its number in order of arrival
  // What is certain of those that went past it while bytes were earmarked to it.
  std::int64_t passes = 0;
  Bytes lane = 0;
};
using Waiters = std::map<std::pair<SessionId, RequestId>, Waiter>;

class Judge {
 public:
  Judge(const arbiter::Arbiter& arbiter, arbiter::PolicyKind policy, Instant now)
      : policy_(policy), now_(now), capacity_(arbiter.capacity()), chunk_(arbiter.chunk()) {}

  /// What came with a revocation that the effect does not say.
  struct Asked {
    Bytes bytes = 0;   // by this effect alone
    Bytes wished = 0;  // of them for an admin
    bool draining = false;
  };
  /// `accounts`: as it left them.
  std::string revoke(const Accounts& accounts, const Waiters& waiters,
                     const arbiter::Revoke& effect, const Asked& asked) const;
  /// `accounts` and `waiters` as they were before it; counts past whom the request went.
  std::string grant(const Accounts& accounts, Waiters& waiters, const Waiter& request,
                    Bytes bytes) const;
  std::string denial(const Accounts& accounts, const Waiters& waiters, const Waiter& request,
                     const arbiter::Denied& effect) const;
  /// `pumped`: as they were before the first of several in a row. A waiter whose tenant had debt
  /// then has not been looked at since.
  std::string cover(const Accounts& accounts, const Accounts& pumped, const Waiters& waiters,
                    const arbiter::Covered& effect) const;
  /// When all is settled: nobody is left waiting, and no debt uncovered, for whom there is room.
  std::string rest(const Accounts& accounts, const Waiters& waiters) const;

 private:
  struct Needs {
    Bytes debt = 0;
    Bytes tenants = 0;  // above a tenant's limit
    Bytes capacity = 0;

    Bytes all() const { return debt + tenants + capacity; }
  };
  struct Ask {
    int victim = 0;
    Bytes bytes = 0;
    arbiter::RevokeReason reason = arbiter::RevokeReason::kFairShare;
    bool opened = false;
  };

  Needs needs(const Accounts& accounts, int victim, const Judge::Asked& asked) const;
  std::string claim(const Accounts& accounts, const Waiter& waiter, const Ask& ask) const;
  std::string fair_claim(const Accounts& accounts, const Waiter& waiter, const Ask& ask) const;
  Bytes enough(const Waiter& waiter) const;
  bool fits(const Accounts& accounts, const Waiter& waiter) const;
  std::vector<int> short_at(const Accounts& accounts, const Waiter& waiter) const;
  bool behind_someone(const Accounts& accounts, const Waiters& waiters, const Waiter& waiter) const;
  bool surely_head_for(const Accounts& accounts, const Waiters& waiters, const Waiter& head,
                       int lease) const;
  bool surely_before(const Accounts& accounts, const Waiters& waiters, const Waiter& first,
                     const Waiter& second) const;
  bool aged(const Waiter& waiter) const;
  int urgency(const Accounts& accounts, int parent, int node, Bytes more) const;
  std::string count_pass(Waiter& head, const Waiter& request) const;

  const arbiter::PolicyKind policy_;
  const Instant now_;
  const Bytes capacity_;
  const Bytes chunk_;
};

}  // namespace membroker::sim
