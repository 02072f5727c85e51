#include "client/lease/session_words.h"

#include <algorithm>

#include "shared/bytes.h"
#include "shared/format.h"

namespace membroker::lease {
namespace {

constexpr int kHoldersMax = 16;  // a message for people, and the peer may send more

std::string lower_suffix(const std::string& name, const char* prefix) {
  std::string word = name.starts_with(prefix) ? name.substr(std::string(prefix).size()) : name;
  std::transform(word.begin(), word.end(), word.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return word.empty() ? "unspecified" : word;
}

DenialHint from_wire(v1::DenyHint hint) {
  switch (hint) {
    case v1::DENY_HINT_SPILL: return DenialHint::kSpill;
    case v1::DENY_HINT_ROLLBACK: return DenialHint::kRollback;
    case v1::DENY_HINT_SMALLER: return DenialHint::kSmaller;
    case v1::DENY_HINT_WAIT: return DenialHint::kWait;
    default: return DenialHint::kNone;
  }
}

ErrorCode code_of(v1::DenyReason reason) {
  switch (reason) {
    case v1::DENY_REASON_INVALID: return ErrorCode::kInvalid;
    case v1::DENY_REASON_CANCELLED: return ErrorCode::kCancelled;
    case v1::DENY_REASON_TENANT_REMOVED: return ErrorCode::kNotFound;
    case v1::DENY_REASON_SESSION_SUSPECT:
    case v1::DENY_REASON_SESSION_FENCED:
    case v1::DENY_REASON_SESSION_GONE:
    case v1::DENY_REASON_DRAINING:
    case v1::DENY_REASON_RECOVERING: return ErrorCode::kUnavailable;
    default: return ErrorCode::kResourcesExhausted;
  }
}

std::string advice(const Denial& denial) {
  switch (denial.hint) {
    case DenialHint::kSpill:
      return "; spill " + format_bytes(denial.self_spill_bytes) + " and go on";
    case DenialHint::kRollback: return "; give everything back, then try again";
    case DenialHint::kSmaller: return "; ask for at most " + format_bytes(denial.attainable_bytes);
    case DenialHint::kWait:
      return strf("; try again in %lld ms", static_cast<long long>(denial.retry_after_ms));
    case DenialHint::kNone: break;
  }
  return {};
}

}  // namespace

v1::RevokeState to_wire(RevokeState state) {
  switch (state) {
    case RevokeState::kWorking: return v1::REVOKE_STATE_WORKING;
    case RevokeState::kDone: return v1::REVOKE_STATE_DONE;
    case RevokeState::kCannot: return v1::REVOKE_STATE_CANNOT;
  }
  return v1::REVOKE_STATE_UNSPECIFIED;
}

RevokeStage from_wire(v1::RevokeStage stage) {
  return stage == v1::REVOKE_STAGE_SPILL ? RevokeStage::kSpill : RevokeStage::kSlack;
}

std::string reason_word(v1::RevokeReason reason) {
  return lower_suffix(v1::RevokeReason_Name(reason), "REVOKE_REASON_");
}

std::string reason_word(v1::DenyReason reason) {
  return lower_suffix(v1::DenyReason_Name(reason), "DENY_REASON_");
}

Error denied_error(const v1::Denied& denied) {
  Denial denial;
  denial.self_spill_bytes = std::max<Bytes>(0, denied.self_spill_bytes());
  denial.attainable_bytes = std::max<Bytes>(0, denied.attainable_bytes());
  denial.retry_after_ms = denied.retry_after_ms();
  denial.hint = from_wire(denied.hint());
  denial.reason = reason_word(denied.reason());
  std::string holders;
  for (int i = 0; i < std::min(denied.holders_size(), kHoldersMax); ++i) {
    const v1::Holder& holder = denied.holders(i);
    std::string name = holder.tenant();
    if (!holder.session().empty()) name += "/" + holder.session();
    holders += (i == 0 ? "; held by " : ", ") + name + " " + format_bytes(holder.held_bytes());
    denial.holders.push_back({std::move(name), holder.held_bytes(), false});
  }
  std::string message = "membrokerd refused bytes of " + denied.resource() + " (" + denial.reason +
                        ")" + advice(denial) + holders;
  const ErrorCode code = code_of(denied.reason());
  if (code != ErrorCode::kResourcesExhausted) return Error(code, std::move(message));
  return Error(code, std::move(message), std::move(denial));
}

}  // namespace membroker::lease
