#include "server/broker/translate.h"
#include "shared/check.h"

namespace membroker::broker {

v1::DenyReason to_wire(arbiter::DenyReason reason) {
  switch (reason) {
    case arbiter::DenyReason::kInvalid: return v1::DENY_REASON_INVALID;
    case arbiter::DenyReason::kTooLarge: return v1::DENY_REASON_TOO_LARGE;
    case arbiter::DenyReason::kTooManyWaits: return v1::DENY_REASON_TOO_MANY_WAITS;
    case arbiter::DenyReason::kOverdue: return v1::DENY_REASON_OVERDUE;
    case arbiter::DenyReason::kDebt: return v1::DENY_REASON_DEBT;
    case arbiter::DenyReason::kSelfSpill: return v1::DENY_REASON_SELF_SPILL;
    case arbiter::DenyReason::kDeadline: return v1::DENY_REASON_DEADLINE;
    case arbiter::DenyReason::kDeadlock: return v1::DENY_REASON_DEADLOCK;
    case arbiter::DenyReason::kCancelled: return v1::DENY_REASON_CANCELLED;
    case arbiter::DenyReason::kTenantRemoved: return v1::DENY_REASON_TENANT_REMOVED;
    case arbiter::DenyReason::kSessionSuspect: return v1::DENY_REASON_SESSION_SUSPECT;
    case arbiter::DenyReason::kSessionFenced: return v1::DENY_REASON_SESSION_FENCED;
    case arbiter::DenyReason::kSessionGone: return v1::DENY_REASON_SESSION_GONE;
    case arbiter::DenyReason::kDraining: return v1::DENY_REASON_DRAINING;
  }
  MB_CHECK(false);
  return v1::DENY_REASON_UNSPECIFIED;
}

v1::DenyHint to_wire(arbiter::Hint hint) {
  switch (hint) {
    case arbiter::Hint::kNone: return v1::DENY_HINT_NONE;
    case arbiter::Hint::kSpill: return v1::DENY_HINT_SPILL;
    case arbiter::Hint::kRollback: return v1::DENY_HINT_ROLLBACK;
    case arbiter::Hint::kSmaller: return v1::DENY_HINT_SMALLER;
    case arbiter::Hint::kWait: return v1::DENY_HINT_WAIT;
  }
  MB_CHECK(false);
  return v1::DENY_HINT_UNSPECIFIED;
}

v1::RevokeStage to_wire(arbiter::Stage stage) {
  return stage == arbiter::Stage::kSlack ? v1::REVOKE_STAGE_SLACK : v1::REVOKE_STAGE_SPILL;
}

v1::RevokeReason to_wire(arbiter::RevokeReason reason) {
  switch (reason) {
    case arbiter::RevokeReason::kGuarantee: return v1::REVOKE_REASON_GUARANTEE;
    case arbiter::RevokeReason::kFairShare: return v1::REVOKE_REASON_FAIR_SHARE;
    case arbiter::RevokeReason::kLimit: return v1::REVOKE_REASON_LIMIT;
    case arbiter::RevokeReason::kCapacity: return v1::REVOKE_REASON_CAPACITY;
    case arbiter::RevokeReason::kDebt: return v1::REVOKE_REASON_DEBT;
    case arbiter::RevokeReason::kAdmin: return v1::REVOKE_REASON_ADMIN;
    case arbiter::RevokeReason::kDrain: return v1::REVOKE_REASON_DRAIN;
  }
  MB_CHECK(false);
  return v1::REVOKE_REASON_UNSPECIFIED;
}

std::optional<arbiter::ProgressState> from_wire(v1::RevokeState state) {
  switch (state) {
    case v1::REVOKE_STATE_WORKING: return arbiter::ProgressState::kWorking;
    case v1::REVOKE_STATE_DONE: return arbiter::ProgressState::kDone;
    case v1::REVOKE_STATE_CANNOT: return arbiter::ProgressState::kCannot;
    default: return std::nullopt;
  }
}

const char* name_of(arbiter::DenyReason reason) {
  switch (reason) {
    case arbiter::DenyReason::kInvalid: return "invalid";
    case arbiter::DenyReason::kTooLarge: return "too_large";
    case arbiter::DenyReason::kTooManyWaits: return "too_many_waits";
    case arbiter::DenyReason::kOverdue: return "overdue";
    case arbiter::DenyReason::kDebt: return "debt";
    case arbiter::DenyReason::kSelfSpill: return "self_spill";
    case arbiter::DenyReason::kDeadline: return "deadline";
    case arbiter::DenyReason::kDeadlock: return "deadlock";
    case arbiter::DenyReason::kCancelled: return "cancelled";
    case arbiter::DenyReason::kTenantRemoved: return "tenant_removed";
    case arbiter::DenyReason::kSessionSuspect: return "session_suspect";
    case arbiter::DenyReason::kSessionFenced: return "session_fenced";
    case arbiter::DenyReason::kSessionGone: return "session_gone";
    case arbiter::DenyReason::kDraining: return "draining";
  }
  MB_CHECK(false);
  return "";
}

const char* name_of(arbiter::Stage stage) {
  return stage == arbiter::Stage::kSlack ? "slack" : "spill";
}

const char* name_of(arbiter::RevokeReason reason) {
  switch (reason) {
    case arbiter::RevokeReason::kGuarantee: return "guarantee";
    case arbiter::RevokeReason::kFairShare: return "fair_share";
    case arbiter::RevokeReason::kLimit: return "limit";
    case arbiter::RevokeReason::kCapacity: return "capacity";
    case arbiter::RevokeReason::kDebt: return "debt";
    case arbiter::RevokeReason::kAdmin: return "admin";
    case arbiter::RevokeReason::kDrain: return "drain";
  }
  MB_CHECK(false);
  return "";
}

const char* name_of(arbiter::GuaranteeMode mode) {
  return mode == arbiter::GuaranteeMode::kLent ? "lent" : "reserved";
}

const char* name_of(arbiter::OnOverdue action) {
  return action == arbiter::OnOverdue::kWarn ? "warn" : "fence";
}

}  // namespace membroker::broker
