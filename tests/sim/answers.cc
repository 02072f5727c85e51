#include "tests/sim/answers.h"

#include <algorithm>
#include <variant>
#include <vector>

#include "shared/format.h"
#include "tests/sim/accounts.h"
#include "tests/sim/effect_text.h"

namespace membroker::sim {

namespace {

using namespace membroker::arbiter;  // NOLINT: its events and effects

constexpr std::uint32_t kWaitsPerLease = 16;

}  // namespace

// In the order of section 2.
std::optional<Answers::Denial> Answers::refusal(const Acquire& acquire, bool draining) const {
  const auto lease = arbiter_.lease(acquire.session);
  const bool sane = acquire.min > 0 && acquire.min <= acquire.want && acquire.wait >= 0;
  if (!lease || !sane) return Denial{DenyReason::kInvalid, Hint::kNone};
  if (lease->state == SessionState::kSuspect) {
    return Denial{DenyReason::kSessionSuspect, Hint::kWait};
  }
  if (lease->state != SessionState::kActive) return Denial{DenyReason::kSessionFenced, Hint::kWait};
  if (draining) return Denial{DenyReason::kDraining, Hint::kWait};
  const std::vector<TenantView> tenants = arbiter_.tenants();
  const auto tenant = std::find_if(tenants.begin(), tenants.end(), [&](const TenantView& view) {
    return view.path == lease->path;
  });
  if (tenant->removed) return Denial{DenyReason::kTenantRemoved, Hint::kRollback};
  if (lease->waiting_requests >= kWaitsPerLease) {
    return Denial{DenyReason::kTooManyWaits, Hint::kWait};
  }
  if (lease->overdue > 0) return Denial{DenyReason::kOverdue, Hint::kSpill, lease->overdue};
  if (lease->debt > 0) return Denial{DenyReason::kDebt, Hint::kSpill, lease->debt};
  const Accounts accounts(arbiter_);
  const Bytes attainable = accounts.attainable(accounts.lease(acquire.session));
  if (acquire.min <= attainable) return std::nullopt;
  const Hint hint = attainable == 0 ? Hint::kSpill : Hint::kSmaller;
  return Denial{DenyReason::kTooLarge, hint, 0, attainable};
}

bool Answers::before(Instant now, const Event* event, std::size_t waits, const Known& known) {
  const auto* acquire = event == nullptr ? nullptr : std::get_if<Acquire>(event);
  // Deadlines that pass first would change the figures.
  predicts_ = acquire != nullptr && arbiter_.next_deadline() > now;
  if (!predicts_) return false;
  acquire_ = *acquire;
  silent_ = known.replay;
  grant_.reset();
  must_fail_ = false;
  denial_ = silent_ ? std::nullopt : refusal(acquire_, known.draining);
  if (silent_ || denial_) return true;
  const Accounts accounts(arbiter_);
  const int lease = accounts.lease(acquire_.session);
  const Bytes room = accounts.room(lease).bytes;
  const Bytes want = std::min(acquire_.want, accounts.attainable(lease));
  const bool enough = room >= std::max(acquire_.min, std::min(want, arbiter_.chunk()));
  // With debts about, what is free may cover those first.
  if (waits == 0 && arbiter_.root().debt == 0 && enough) grant_ = std::min(want, room);
  must_fail_ = acquire_.wait == 0 && room < acquire_.min;
  return grant_.has_value() || must_fail_;
}

std::string Answers::after(const Effects& effects) const {
  if (!predicts_) return {};
  const Granted* granted = nullptr;
  const Denied* denied = nullptr;
  for (const Effect& effect : effects) {
    const auto* grant = std::get_if<Granted>(&effect);
    const auto* denial = std::get_if<Denied>(&effect);
    const auto is_ours = [&](const auto* answer) {
      return answer != nullptr && answer->session == acquire_.session &&
             answer->request == acquire_.request;
    };
    if (is_ours(grant)) granted = grant;
    if (is_ours(denial)) denied = denial;
  }
  std::string expected;
  if (silent_) {
    if (granted != nullptr || denied != nullptr) expected = "no answer to a replay";
  } else if (denial_) {
    const bool same = denied != nullptr && denied->reason == denial_->reason &&
                      denied->hint == denial_->hint && denied->self_spill == denial_->self_spill &&
                      denied->attainable == denial_->attainable;
    if (!same) expected = strf("denied %s", reason_name(denial_->reason));
  } else if (grant_) {
    if (granted == nullptr || granted->bytes != *grant_) {
      expected = strf("granted %lld bytes", static_cast<long long>(*grant_));
    }
  } else if (must_fail_ && denied == nullptr) {
    expected = "denied, for there is less than it needs and it does not wait";
  }
  if (expected.empty()) return {};
  return strf("request %llu of session %llu should be ",
              static_cast<unsigned long long>(acquire_.request.value),
              static_cast<unsigned long long>(acquire_.session.value)) +
         expected + "; came: " + effects_text(effects, {});
}

}  // namespace membroker::sim
