#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/arbiter/events.h"

/// \file
/// The decision core of one resource: a function of (state, now, event) that appends effects.
///
/// Thread: none of its own; one caller at a time. No clock, lock, log, I/O or randomness inside:
/// the same events at the same instants give the same effects.

namespace membroker::arbiter {

/// Parameters of the specification's section 9; the defaults are the specified values.
struct ArbiterOptions {
  PolicyKind policy = PolicyKind::kFair;
  Bytes floor_max = 16 * kMiB;
  std::int32_t waits_per_lease_max = 16;
  std::int32_t scan = 16;
  Bytes assumed_spill_rate = 100 * kMiB;  // bytes per second, until a lease's own is measured
};

/// A node's figures, for snapshots and tests.
struct NodeView {
  std::string path;  // tenant path; for a lease its tenant's
  Bytes guarantee = 0;
  Bytes limit = 0;
  Bytes held = 0;
  Bytes revoking = 0;
  Bytes waiting = 0;
  Bytes debt = 0;
  Bytes overdue = 0;
  std::uint32_t waiting_requests = 0;
};

struct TenantView : NodeView {
  TenantPolicy policy;
  bool removed = false;
  std::uint32_t sessions = 0;
  Bytes debt_cap = 0;  // more debt than that is an alarm
};

enum class SessionState { kActive, kSuspect, kFenced, kOrphan };

struct LeaseView : NodeView {
  SessionId session;
  std::string name;
  SessionState state = SessionState::kActive;
  Bytes floor = 0;
  Bytes slack = 0;
  Bytes reclaimable = 0;
  Stage stage = Stage::kSlack;  // of the open revocation, if revoking > 0
  RevokeReason reason = RevokeReason::kFairShare;
  Instant opened;
  Instant deadline;
};

class Arbiter {
 public:
  explicit Arbiter(Bytes capacity, ArbiterOptions options = {});
  ~Arbiter();
  Arbiter(Arbiter&&) noexcept;
  Arbiter& operator=(Arbiter&&) noexcept;

  /// Lets the deadlines up to `now` pass, applies the event, settles. `now` never goes back.
  void apply(Instant now, const Event& event, Effects& effects);
  /// Lets the deadlines up to `now` pass, then settles.
  void expire(Instant now, Effects& effects);
  /// When `expire` has something to do; Instant::never() if nothing is pending.
  Instant next_deadline() const;

  Bytes capacity() const;
  Bytes chunk() const;
  NodeView root() const;
  std::vector<TenantView> tenants() const;  // parents first, siblings by name
  /// Also one that was removed, while sessions or orphans of it are left.
  bool has_tenant(std::string_view path) const;
  std::vector<LeaseView> leases() const;  // by session id
  std::optional<LeaseView> lease(SessionId session) const;
  /// A request waits at a node on the session's path.
  bool tight(SessionId session) const;

  /// How many accounts were looked at or changed so far: what a decision costs, free of the clock.
  std::uint64_t node_visits() const;

  /// Empty if every invariant of the specification's section 8 that one state can show holds;
  /// else the first that does not. For tests and the simulator; walks the whole tree.
  std::string check_invariants() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace membroker::arbiter
