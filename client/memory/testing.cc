#include "membroker/testing.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <utility>

#include "client/memory/lease_pool.h"

namespace membroker::testing {

struct FakeClock::State {
  std::atomic<std::int64_t> ms{1'000'000};
};

FakeClock::FakeClock() : state_(std::make_shared<State>()) {}
std::int64_t FakeClock::now_ms() const { return state_->ms.load(); }
void FakeClock::advance(std::chrono::milliseconds by) { state_->ms.fetch_add(by.count()); }

/// The lender's end. Its mutex is not held over a call to the listener.
class ScriptedDaemon::Impl final : public lease::LeaseSource {
 public:
  explicit Impl(const ScriptedDaemonOptions& options)
      : floor_(options.floor_bytes),
        chunk_(options.chunk_bytes),
        capacity_(options.capacity_bytes) {
    LeaseOptions lease;
    lease.floor = options.floor_bytes;
    lease.workspace = options.workspace_bytes;
    if (options.clock != nullptr) {
      lease.now = [clock = *options.clock] { return Instant{clock.now_ms()}; };
    }
    pool_ = LeasePool::make("ram", std::move(lease));
  }

  const std::shared_ptr<LeasePool>& pool() const { return pool_; }
  void let_go() { pool_.reset(); }

  // ---- LeaseSource ----

  void acquire(const lease::LeaseRequest& request) override {
    {
      const std::lock_guard lock(mutex_);
      seen_.push_back({request.id.value, request.min, request.want, request.wait});
      if (!attached_) return;
      if (hold_) {
        held_.push_back(request);
        return;
      }
    }
    answer(request);
  }
  void cancel(RequestId id) override {
    const std::lock_guard lock(mutex_);
    ++cancelled_;
    std::erase_if(held_, [&](const auto& request) { return request.id == id; });
  }
  void changed(bool) override {}
  void progress(RevocationId id, Bytes target, lease::RevokeState state,
                const std::string& reason) override {
    const std::lock_guard lock(mutex_);
    if (!open_ || open_->id != id || open_->target != target) return;
    if (state == lease::RevokeState::kWorking) return;
    cannot_ = reason;
  }

  // ---- the script ----

  void answer(const lease::LeaseRequest& request) {
    const lease::LeaseTotals client = pool_->listener().totals();
    Bytes bytes = 0;
    Bytes total = 0;
    Bytes room = 0;
    bool lost = false;
    DenialHint hint = DenialHint::kSpill;
    {
      const std::lock_guard lock(mutex_);
      for (auto& [countdown, its_hint] : denials_) --countdown;
      const auto denied = std::find_if(denials_.begin(), denials_.end(),
                                       [](const auto& entry) { return entry.first == 0; });
      const bool scripted = denied != denials_.end();
      if (scripted) {
        hint = denied->second;
        denials_.erase(denied);
      }
      room = std::max<Bytes>(0, capacity_ - (granted_ + client.overdrawn - client.returned));
      if (!scripted && room >= request.min) bytes = std::min(room, request.want);
      granted_ += bytes;
      total = granted_;
      lost = bytes > 0 && std::exchange(lose_grant_, false);
    }
    if (lost) return detach(false);
    if (bytes > 0) return pool_->listener().on_granted(request.id, bytes, total);
    Denial denial;
    denial.requested_bytes = request.min;
    denial.hint = hint;
    denial.reason = "scripted";
    denial.retry_after_ms = hint == DenialHint::kWait ? 1'000 : 0;
    if (hint == DenialHint::kSmaller) denial.attainable_bytes = room;
    pool_->listener().on_denied(
        request.id, Error(ErrorCode::kResourcesExhausted, "the script says no", denial));
  }

  void deny(int n, DenialHint hint) {
    const std::lock_guard lock(mutex_);
    denials_.emplace_back(n, hint);
  }
  void hold(bool on) {
    const std::lock_guard lock(mutex_);
    hold_ = on;
  }
  int answer_held() {
    std::vector<lease::LeaseRequest> held;
    {
      const std::lock_guard lock(mutex_);
      held.swap(held_);
    }
    for (const auto& request : held) answer(request);
    return static_cast<int>(held.size());
  }
  void set_capacity(Bytes bytes) {
    const std::lock_guard lock(mutex_);
    capacity_ = bytes;
  }
  void set_tight(bool tight) { pool_->listener().on_pulse(tight, chunk_); }
  void revoke(Bytes bytes, Millis deadline, lease::RevokeStage stage) {
    const Bytes returned = pool_->listener().totals().returned;
    lease::Revocation asked;
    {
      const std::lock_guard lock(mutex_);
      if (!open_) open_ = lease::Revocation{{++last_revocation_}, 0, stage, "fair_share", 0};
      open_->target = returned + bytes;
      open_->stage = stage;
      open_->deadline = deadline;
      withdrawn_ = bytes <= 0;
      cannot_.reset();
      asked = *open_;
    }
    pool_->listener().on_revoke(asked);
  }
  void detach(bool final) {
    {
      const std::lock_guard lock(mutex_);
      attached_ = false;
      held_.clear();
      open_.reset();
    }
    pool_->listener().on_detached(Error(ErrorCode::kUnavailable, "the script ended the stream"),
                                  final);
  }
  void attach() {
    lease::LeaseTotals totals = pool_->listener().totals();
    {
      const std::lock_guard lock(mutex_);
      attached_ = true;
      if (granted_ == 0) granted_ = std::min(floor_, capacity_);
      granted_ = std::max(granted_, totals.granted);
      totals.granted = granted_;
    }
    pool_->listener().on_attached(totals, std::min(floor_, totals.granted), 0);
    pool_->listener().on_pulse(false, chunk_);
  }
  void lose_next_grant() {
    const std::lock_guard lock(mutex_);
    lose_grant_ = true;
  }

  // ---- what happened ----

  lease::LeaseTotals totals() const { return pool_->listener().totals(); }
  RevocationState revocation(std::string* reason) const {
    const Bytes returned = totals().returned;
    const std::lock_guard lock(mutex_);
    if (withdrawn_) return RevocationState::kWithdrawn;
    if (!open_ || returned >= open_->target) return RevocationState::kMet;
    if (!cannot_) return RevocationState::kOpen;
    if (reason != nullptr) *reason = *cannot_;
    return RevocationState::kCannot;
  }
  std::vector<RequestSeen> seen() const {
    const std::lock_guard lock(mutex_);
    return seen_;
  }
  std::vector<RequestSeen> held() const {
    const std::lock_guard lock(mutex_);
    std::vector<RequestSeen> open;
    for (const auto& request : held_) {
      open.push_back({request.id.value, request.min, request.want, request.wait});
    }
    return open;
  }
  int cancelled() const {
    const std::lock_guard lock(mutex_);
    return cancelled_;
  }

 private:
  const Bytes floor_;
  const Bytes chunk_;
  std::shared_ptr<LeasePool> pool_;

  mutable std::mutex mutex_;  // guards the rest
  Bytes capacity_;
  Bytes granted_ = 0;
  bool attached_ = false;
  bool hold_ = false;
  bool lose_grant_ = false;
  bool withdrawn_ = false;
  int cancelled_ = 0;
  std::uint64_t last_revocation_ = 0;
  std::optional<lease::Revocation> open_;
  std::optional<std::string> cannot_;
  std::vector<std::pair<int, DenialHint>> denials_;  // countdown, hint
  std::vector<lease::LeaseRequest> held_;
  std::vector<RequestSeen> seen_;
};

ScriptedDaemon::ScriptedDaemon(ScriptedDaemonOptions options)
    : impl_(std::make_shared<Impl>(options)) {
  impl_->pool()->connect(impl_);
  if (options.attached) impl_->attach();
}

ScriptedDaemon::~ScriptedDaemon() {
  // The pool may live on: it keeps what it holds and can only shrink.
  impl_->pool()->close(Error(ErrorCode::kClosed, "the scripted daemon is gone"));
  impl_->pool()->connect(nullptr);
  impl_->let_go();
}

std::shared_ptr<MemoryPool> ScriptedDaemon::pool() const { return impl_->pool(); }
void ScriptedDaemon::deny_request(int n, DenialHint hint) { impl_->deny(n, hint); }
void ScriptedDaemon::hold_requests(bool on) { impl_->hold(on); }
int ScriptedDaemon::answer_held() { return impl_->answer_held(); }
void ScriptedDaemon::set_capacity(std::int64_t bytes) { impl_->set_capacity(bytes); }
void ScriptedDaemon::set_tight(bool tight) { impl_->set_tight(tight); }
void ScriptedDaemon::revoke(std::int64_t bytes, std::chrono::milliseconds deadline,
                            bool may_spill) {
  impl_->revoke(bytes, deadline.count(),
                may_spill ? lease::RevokeStage::kSpill : lease::RevokeStage::kSlack);
}
void ScriptedDaemon::withdraw_revocation() { impl_->revoke(0, 0, lease::RevokeStage::kSlack); }
void ScriptedDaemon::detach(bool final) { impl_->detach(final); }
void ScriptedDaemon::attach() { impl_->attach(); }
void ScriptedDaemon::lose_next_grant() { impl_->lose_next_grant(); }
std::int64_t ScriptedDaemon::held() const { return impl_->totals().held(); }
std::int64_t ScriptedDaemon::granted_total() const { return impl_->totals().granted; }
std::int64_t ScriptedDaemon::overdrawn_total() const { return impl_->totals().overdrawn; }
std::int64_t ScriptedDaemon::returned_total() const { return impl_->totals().returned; }
RevocationState ScriptedDaemon::revocation() const { return impl_->revocation(nullptr); }
std::string ScriptedDaemon::revocation_reason() const {
  std::string reason;
  static_cast<void>(impl_->revocation(&reason));
  return reason;
}
std::vector<RequestSeen> ScriptedDaemon::requests() const { return impl_->seen(); }
std::vector<RequestSeen> ScriptedDaemon::held_requests() const { return impl_->held(); }
int ScriptedDaemon::cancelled() const { return impl_->cancelled(); }

}  // namespace membroker::testing
