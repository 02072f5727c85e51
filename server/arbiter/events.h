#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "shared/bytes.h"
#include "shared/ids.h"
#include "shared/time.h"

/// \file
/// What goes into the arbiter (Event) and what comes out (Effect). One Arbiter serves one resource,
/// so no event names a resource. Plain values; see arbiter.md's terms in arbiter.h.

namespace membroker::arbiter {

/// How a resource is shared; policy.h.
enum class PolicyKind { kFair, kGreedy };
enum class GuaranteeMode { kLent, kReserved };
enum class OnOverdue { kWarn, kFence };
enum class Stage { kSlack, kSpill };
enum class RevokeReason { kGuarantee, kFairShare, kLimit, kCapacity, kDebt, kAdmin, kDrain };
enum class ProgressState { kWorking, kDone, kCannot };

/// What an operator says of a tenant, for one resource.
struct TenantPolicy {
  Bytes guarantee = 0;
  GuaranteeMode mode = GuaranteeMode::kLent;
  Bytes limit = kBytesMax;
  std::int32_t weight = 1;  // 1..10,000
  std::int32_t priority = 0;
  std::int32_t priority_max = 0;
  OnOverdue on_overdue = OnOverdue::kWarn;

  friend bool operator==(const TenantPolicy&, const TenantPolicy&) = default;
};

// ---- events ----

/// Makes a tenant, with its parents, or changes its policy. `path` is "acme/etl/nightly".
struct SetTenant {
  std::string path;
  TenantPolicy policy;
};
struct RemoveTenant {
  std::string path;
};
struct SetCapacity {
  Bytes capacity = 0;
};
/// A session opens its lease. Answered by Opened or OpenRefused.
struct Open {
  SessionId session;
  std::string name;  // orders equal leases; unique among live sessions
  std::string tenant;
  std::int32_t priority = 0;
  Bytes floor = 0;
  bool optional_floor = false;  // a floor that does not fit is cut instead of refused
};
/// The process has ended (gone) or has said goodbye (closed): everything is credited.
struct Gone {
  SessionId session;
};
struct Acquire {
  SessionId session;
  RequestId request;
  Bytes want = 0;
  Bytes min = 0;
  Millis wait = 0;
  std::int32_t priority = 0;
};
struct Cancel {
  SessionId session;
  RequestId request;
};
struct Release {
  SessionId session;
  Bytes bytes = 0;
};
/// Reserved beyond the lease: charged at once, as debt.
struct Over {
  SessionId session;
  Bytes bytes = 0;
};
struct Report {
  SessionId session;
  Bytes slack = 0;
  Bytes reclaimable = 0;
};
struct Progress {
  SessionId session;
  bool current = true;  // about the open revocation's present target
  ProgressState state = ProgressState::kWorking;
  Bytes slack = 0;
  Bytes reclaimable = 0;
};
struct Suspect {
  SessionId session;
};
struct Fence {
  SessionId session;
};
struct Resumed {
  SessionId session;
  Bytes held = 0;
  Bytes slack = 0;
  Bytes reclaimable = 0;
};
/// At the daemon's start: charged whatever the limits, suspect until resumed.
struct Recovered {
  SessionId session;
  std::string name;
  std::string tenant;
  std::int32_t priority = 0;
  Bytes held = 0;
  Bytes floor = 0;
};
/// Bytes that forked children of a gone session still hold. `id` is of the caller's choice, from
/// the same space as sessions. Ends with Gone.
struct Orphaned {
  SessionId id;
  std::string name;
  std::string tenant;
  Bytes bytes = 0;
};
/// Sessions, or orphans, that are gone, and what they leave. One event: the bytes are neither free
/// nor charged twice in between. An orphan that is gone may be left again, with other bytes.
struct Ended {
  std::vector<SessionId> gone;
  std::vector<Orphaned> left;
};
/// An admin asks a lease for bytes.
struct Ask {
  SessionId session;
  Bytes bytes = 0;
};
struct Drain {};

using Event =
    std::variant<SetTenant, RemoveTenant, SetCapacity, Open, Gone, Acquire, Cancel, Release, Over,
                 Report, Progress, Suspect, Fence, Resumed, Recovered, Orphaned, Ended, Ask, Drain>;

// ---- effects ----

enum class GrantKind { kFree, kPartial };
enum class DenyReason {
  kInvalid,
  kTooLarge,
  kTooManyWaits,
  kOverdue,
  kDebt,
  kSelfSpill,
  kDeadline,
  kDeadlock,
  kCancelled,
  kTenantRemoved,
  kSessionSuspect,
  kSessionFenced,
  kSessionGone,
  kDraining,
};
enum class Hint { kNone, kSpill, kRollback, kSmaller, kWait };

struct Holder {
  std::string tenant;
  SessionId session;  // none for a tenant's sum
  Bytes held = 0;
};

struct Opened {
  SessionId session;
  Bytes floor = 0;  // granted with the session; may be less than asked if it was optional
};
struct OpenRefused {
  SessionId session;
  std::string reason;  // one sentence
};
struct Granted {
  SessionId session;
  RequestId request;
  Bytes bytes = 0;
  GrantKind kind = GrantKind::kFree;
};
struct Denied {
  SessionId session;
  RequestId request;
  DenyReason reason = DenyReason::kInvalid;
  Hint hint = Hint::kNone;
  Bytes self_spill = 0;
  Bytes attainable = 0;
  Millis retry_after = 0;
  std::vector<Holder> holders;
};
/// Opens a revocation or moves the target of the open one. `bytes` are those still wanted from
/// now on, overdue ones not counted twice; `opened` tells a new one from a top-up.
struct Revoke {
  SessionId session;
  Bytes bytes = 0;
  Instant deadline;
  Stage stage = Stage::kSlack;
  RevokeReason reason = RevokeReason::kFairShare;
  bool opened = true;
};
/// The open revocation is no longer needed.
struct Withdraw {
  SessionId session;
  Bytes bytes = 0;  // what was still wanted
};
/// The deadline passed; the revocation is closed.
struct Overdue {
  SessionId session;
  Bytes bytes = 0;
};
/// Debt that has become part of the lease.
struct Covered {
  SessionId session;
  Bytes bytes = 0;
};
struct DebtOverCap {
  std::string tenant;
  Bytes debt = 0;
  Bytes cap = 0;
  bool crossed = false;  // it was not above before
};
/// The tenant's on_overdue took effect. `fence`: the shell must send Fenced and feed Fence.
struct OverduePolicy {
  SessionId session;
  Bytes bytes = 0;
  bool fence = false;
};
/// The event could not be applied; nothing changed.
struct Rejected {
  std::string reason;
};

using Effect = std::variant<Opened, OpenRefused, Granted, Denied, Revoke, Withdraw, Overdue,
                            Covered, DebtOverCap, OverduePolicy, Rejected>;
using Effects = std::vector<Effect>;

}  // namespace membroker::arbiter
