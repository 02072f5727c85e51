#include "tests/sim/effect_text.h"

#include <variant>

#include "shared/format.h"

namespace membroker::sim {

namespace {

using namespace membroker::arbiter;  // NOLINT: one function for each of its effects

const char* hint_name(Hint hint) {
  switch (hint) {
    case Hint::kNone: return "none";
    case Hint::kSpill: return "spill";
    case Hint::kRollback: return "rollback";
    case Hint::kSmaller: return "smaller";
    case Hint::kWait: return "wait";
  }
  return "?";
}

const char* revoke_reason_name(RevokeReason reason) {
  switch (reason) {
    case RevokeReason::kGuarantee: return "guarantee";
    case RevokeReason::kFairShare: return "fair";
    case RevokeReason::kLimit: return "limit";
    case RevokeReason::kCapacity: return "capacity";
    case RevokeReason::kDebt: return "debt";
    case RevokeReason::kAdmin: return "admin";
    case RevokeReason::kDrain: return "drain";
  }
  return "?";
}

std::string mib(Bytes bytes) {
  if (bytes % kMiB == 0) return strf("%lld", static_cast<long long>(bytes / kMiB));
  return strf("%.4g", static_cast<double>(bytes) / static_cast<double>(kMiB));
}

struct Printer {
  const SessionNames& names;

  std::string name(SessionId session) const {
    const auto known = names.find(session);
    return known == names.end() ? std::to_string(session.value) : known->second;
  }

  std::string operator()(const Opened&) const { return {}; }
  std::string operator()(const OpenRefused& e) const {
    return "refused " + name(e.session) + " (" + e.reason + ")";
  }
  std::string operator()(const Granted& e) const {
    const char* kind = e.kind == GrantKind::kFree ? " free" : " partial";
    return "granted " + std::to_string(e.request.value) + " " + mib(e.bytes) + kind;
  }
  std::string operator()(const Denied& e) const {
    std::string text = "denied " + std::to_string(e.request.value) + " " + reason_name(e.reason) +
                       " " + hint_name(e.hint);
    if (e.reason == DenyReason::kTooLarge) text += " attainable " + mib(e.attainable);
    if (e.self_spill > 0) text += " self_spill " + mib(e.self_spill);
    return text;
  }
  std::string operator()(const Revoke& e) const {
    return "revoke " + name(e.session) + " " + mib(e.bytes) + " by " +
           std::to_string(e.deadline.ms) + (e.stage == Stage::kSlack ? " slack " : " spill ") +
           revoke_reason_name(e.reason);
  }
  std::string operator()(const Withdraw& e) const {
    return "withdraw " + name(e.session) + " " + mib(e.bytes);
  }
  std::string operator()(const Overdue& e) const {
    return "overdue " + name(e.session) + " " + mib(e.bytes);
  }
  std::string operator()(const Covered& e) const {
    return "covered " + name(e.session) + " " + mib(e.bytes);
  }
  std::string operator()(const DebtOverCap& e) const {
    return "debt_over_cap " + e.tenant + " " + mib(e.debt) + " > " + mib(e.cap);
  }
  std::string operator()(const OverduePolicy& e) const {
    return (e.fence ? "fence " : "warn ") + name(e.session) + " " + mib(e.bytes);
  }
  std::string operator()(const Rejected& e) const {
    return "error (" + e.reason.substr(0, e.reason.find(':')) + ")";
  }
};

}  // namespace

const char* reason_name(DenyReason reason) {
  switch (reason) {
    case DenyReason::kInvalid: return "invalid";
    case DenyReason::kTooLarge: return "too_large";
    case DenyReason::kTooManyWaits: return "too_many_waits";
    case DenyReason::kOverdue: return "overdue";
    case DenyReason::kDebt: return "debt";
    case DenyReason::kSelfSpill: return "self_spill";
    case DenyReason::kDeadline: return "deadline";
    case DenyReason::kDeadlock: return "deadlock";
    case DenyReason::kCancelled: return "cancelled";
    case DenyReason::kTenantRemoved: return "tenant_removed";
    case DenyReason::kSessionSuspect: return "session_suspect";
    case DenyReason::kSessionFenced: return "session_fenced";
    case DenyReason::kSessionGone: return "session_gone";
    case DenyReason::kDraining: return "draining";
  }
  return "?";
}

std::string effects_text(const Effects& effects, const SessionNames& names) {
  std::string joined;
  for (const Effect& effect : effects) {
    const std::string text = std::visit(Printer{names}, effect);
    if (text.empty()) continue;
    if (!joined.empty()) joined += "; ";
    joined += text;
  }
  return joined;
}

}  // namespace membroker::sim
