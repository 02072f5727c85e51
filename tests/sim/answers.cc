#include "tests/sim/answers.h"

#include <algorithm>
#include <variant>

#include "shared/format.h"
#include "tests/sim/effect_text.h"

namespace membroker::sim {

namespace {

using namespace membroker::arbiter;  // NOLINT: its events and effects

constexpr std::uint32_t kWaitsPerLease = 16;

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

bool is_reserved(const TenantView& tenant) {
  return !tenant.removed && tenant.policy.mode == GuaranteeMode::kReserved;
}

}  // namespace

Answers::Path Answers::path_of(const std::string& tenant) const {
  std::map<std::string, const TenantView*> views;
  std::map<std::string, Bytes> holds;     // hold(n), section 1
  std::map<std::string, Bytes> reserves;  // reserved guarantees, or those below
  std::map<std::string, Bytes> holds_below;
  std::map<std::string, Bytes> reserves_below;
  const std::vector<TenantView> tenants = arbiter_.tenants();
  for (auto view = tenants.rbegin(); view != tenants.rend(); ++view) {  // children first
    const Bytes own = is_reserved(*view) ? view->guarantee : 0;
    const Bytes free = is_reserved(*view) ? std::max(Bytes{0}, view->guarantee - view->held) : 0;
    views[view->path] = &*view;
    holds[view->path] = std::max(free, holds_below[view->path]);
    reserves[view->path] = std::max(own, reserves_below[view->path]);
    holds_below[parent_of(view->path)] += holds[view->path];
    reserves_below[parent_of(view->path)] += reserves[view->path];
  }
  const NodeView root = arbiter_.root();
  Path path{kBytesMax, kBytesMax, views.at(tenant)->removed, views.at(tenant)->debt};
  std::string child;
  for (std::string at = tenant;; at = parent_of(at)) {
    const Bytes limit = at.empty() ? arbiter_.capacity() : views.at(at)->limit;
    const Bytes held = at.empty() ? root.held : views.at(at)->held;
    const Bytes kept = holds_below[at] - (child.empty() ? 0 : holds[child]);
    const Bytes reserved = reserves_below[at] - (child.empty() ? 0 : reserves[child]);
    path.room = std::min(path.room, limit - held - kept);
    path.attainable = std::min(path.attainable, limit - reserved);
    if (at.empty()) return path;
    child = at;
  }
}

// In the order of section 2.
std::optional<Answers::Denial> Answers::refusal(const Acquire& acquire) const {
  const auto lease = arbiter_.lease(acquire.session);
  const bool sane = acquire.min > 0 && acquire.min <= acquire.want && acquire.wait >= 0;
  if (!lease || !sane) return Denial{DenyReason::kInvalid, Hint::kNone};
  if (lease->state == SessionState::kSuspect) {
    return Denial{DenyReason::kSessionSuspect, Hint::kWait};
  }
  if (lease->state != SessionState::kActive) return Denial{DenyReason::kSessionFenced, Hint::kWait};
  const Path path = path_of(lease->path);
  if (path.removed) return Denial{DenyReason::kTenantRemoved, Hint::kRollback};
  if (lease->waiting_requests >= kWaitsPerLease) {
    return Denial{DenyReason::kTooManyWaits, Hint::kWait};
  }
  if (lease->overdue > 0) return Denial{DenyReason::kOverdue, Hint::kSpill, lease->overdue};
  if (lease->debt > 0) return Denial{DenyReason::kDebt, Hint::kSpill, lease->debt};
  const Bytes attainable = std::max(Bytes{0}, path.attainable - lease->held);
  if (acquire.min <= attainable) return std::nullopt;
  const Hint hint = attainable == 0 ? Hint::kSpill : Hint::kSmaller;
  return Denial{DenyReason::kTooLarge, hint, 0, attainable};
}

bool Answers::before(Instant now, const Event* event, std::size_t waits, bool replay) {
  const auto* acquire = event == nullptr ? nullptr : std::get_if<Acquire>(event);
  // Deadlines that pass first would change the figures.
  predicts_ = acquire != nullptr && arbiter_.next_deadline() > now;
  if (!predicts_) return false;
  acquire_ = *acquire;
  silent_ = replay;
  grant_.reset();
  must_fail_ = false;
  denial_ = replay ? std::nullopt : refusal(acquire_);
  if (replay || denial_) return true;
  const auto lease = arbiter_.lease(acquire_.session);
  const Path path = path_of(lease->path);
  const Bytes want = std::min(acquire_.want, path.attainable - lease->held);
  const bool enough = path.room >= std::max(acquire_.min, std::min(want, arbiter_.chunk()));
  // With debts about, what is free may cover those first.
  if (waits == 0 && arbiter_.root().debt == 0 && enough) grant_ = std::min(want, path.room);
  must_fail_ = acquire_.wait == 0 && path.room < acquire_.min;
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
