#include "client/memory/pool_core.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "client/lease/fork_guard.h"

namespace membroker::detail {
namespace {

// How often a clock that is not the steady one is looked at.
constexpr Millis kVirtualTimeSlice = 2;

}  // namespace

std::shared_ptr<PoolCore> PoolCore::make(PoolCoreOptions options) {
  return std::shared_ptr<PoolCore>(new PoolCore(std::move(options)));
}

PoolCore::PoolCore(PoolCoreOptions options)
    : now_(options.cache.now),
      virtual_time_(options.virtual_time),
      borrows_(options.cache.borrows),
      can_fork_(options.can_fork),
      generation_(lease::fork_generation()) {
  options.cache.changed = [this] { changed(); };
  options.cache.reclaimable = [this] { return reclaimable(); };
  options.cache.allocated = [this] { return allocated(); };
  options.cache.spilled = [this] { return spill_files_.load(std::memory_order_relaxed); };
  cache_ = std::make_unique<lease::LeaseCache>(std::move(options.cache));
}

bool PoolCore::cut_off() const noexcept {
  return !can_fork_ && lease::fork_generation() != generation_;
}

const std::atomic<std::uint64_t>* PoolCore::forks() const noexcept {
  return can_fork_ ? nullptr : &lease::fork_count();
}

void PoolCore::add_consumer(std::shared_ptr<ConsumerState> consumer) {
  consumers_.add(std::move(consumer));
}

void PoolCore::remove_consumer(const ConsumerState& consumer) { consumers_.remove(consumer); }

std::vector<std::shared_ptr<ConsumerState>> PoolCore::consumers() const { return consumers_.all(); }

Bytes PoolCore::reclaimable() const {
  Bytes sum = 0;
  for (const auto& consumer : consumers()) sum += consumer->reclaimable();
  return sum;
}

// ---- waiting ----

void PoolCore::changed() {
  {
    const std::lock_guard lock(wait_.mutex);
    ++wait_.version;
  }
  wait_.condition.notify_all();
  if (borrows_) start_thread();
}

std::uint64_t PoolCore::version() {
  const std::lock_guard lock(wait_.mutex);
  return wait_.version;
}

bool PoolCore::stopping() {
  const std::lock_guard lock(wait_.mutex);
  return wait_.stopping;
}

void PoolCore::wait_change(std::uint64_t seen, Instant until) {
  Millis left = until - now_();
  if (virtual_time_) left = std::min(left, kVirtualTimeSlice);
  std::unique_lock lock(wait_.mutex);
  const auto woken = [&] { return wait_.version != seen || wait_.stopping; };
  if (left > std::chrono::milliseconds(std::chrono::hours(24)).count()) {
    wait_.condition.wait(lock, woken);
  } else if (left > 0) {
    wait_.condition.wait_for(lock, std::chrono::milliseconds(left), woken);
  }
}

Instant PoolCore::at(Deadline deadline) const {
  if (deadline.at == Deadline::Clock::time_point::max()) return Instant::never();
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline.at - Deadline::Clock::now());
  return now_() + std::max<Millis>(0, left.count());
}

Status PoolCore::try_grow(ReservationState& reservation, Bytes n, Refused& refused) {
  if (cache_->take(reservation, n)) return {};
  refused = {&reservation, n, false, {}};
  lease::LeaseWaiter waiter;
  waiter.shard = &reservation;
  waiter.min = waiter.want = n;
  waiter.brief = true;
  waiter.deadline = now_() + lease::LeaseCache::kBriefWait;
  const InsideCall inside(*reservation.consumer, false);
  for (;;) {
    const std::uint64_t seen = version();
    lease::WaitStep step = cache_->poll(waiter);
    if (step.state == lease::WaitState::kDone) return {};
    if (step.state == lease::WaitState::kRefused) {
      refused.why = std::move(step.refusal);
      return fail(refused.why.code, {});
    }
    wait_change(seen, step.look_again);
  }
}

std::optional<Bytes> PoolCore::acquire(ReservationState& reservation, Bytes min, Bytes want,
                                       Deadline deadline, const AcquireOptions& options,
                                       Refused& refused) {
  if (cache_->take(reservation, want)) return want;
  refused = {&reservation, min, true, {}};
  lease::LeaseWaiter waiter;
  waiter.shard = &reservation;
  waiter.min = min;
  waiter.want = want;
  waiter.deadline = at(deadline);
  waiter.priority = options.priority;
  std::optional<InsideCall> inside;
  if (!options.spillable_while_waiting) inside.emplace(*reservation.consumer, true);
  for (;;) {
    const std::uint64_t seen = version();
    lease::WaitStep step = cache_->poll(waiter);
    if (step.state == lease::WaitState::kDone) return step.granted;
    if (step.state == lease::WaitState::kRefused) {
      refused.why = std::move(step.refusal);
      return std::nullopt;
    }
    start_thread();
    wait_change(seen, step.look_again);
  }
}

Result<Bytes> PoolCore::take_workspace(ReservationState& reservation, Deadline deadline) {
  const Instant until = at(deadline);
  for (;;) {
    const std::uint64_t seen = version();
    const lease::WorkspaceStep step = cache_->poll_workspace(reservation);
    if (step.refusal) return fail(*step.refusal);
    if (!step.wait) {
      if (step.granted > 0 || step.to_acquire > 0) return step.to_acquire;
      return fail(ErrorCode::kInvalid, "the lease was opened without a spill workspace (floor 0)");
    }
    if (now_() >= until) {
      return fail(ErrorCode::kTimeout, "the spill workspace is not there yet: " +
                                           (step.why ? step.why->message()
                                                     : "others hold all memory, and what is asked "
                                                       "back from them has not come"));
    }
    start_thread();
    wait_change(seen, until);
  }
}

// ---- acquire_async ----

void PoolCore::start(const std::shared_ptr<AsyncAcquire>& request, Deadline deadline) {
  request->waiter.deadline = at(deadline);
  {
    const std::lock_guard lock(async_mutex_);
    async_.push_back(request);
  }
  start_thread();
  changed();
}

void PoolCore::start_here(AsyncAcquire& request, Deadline deadline) {
  request.waiter.deadline = at(deadline);
  for (;;) {
    const std::uint64_t seen = version();
    Instant look_again = Instant::never();
    if (auto answer = poll(request, look_again)) return request.done(*std::move(answer));
    start_thread();
    wait_change(seen, look_again);
  }
}

void PoolCore::cancel(const std::shared_ptr<AsyncAcquire>& request, const Error& why) {
  {
    const std::lock_guard lock(async_mutex_);
    const auto found = std::find(async_.begin(), async_.end(), request);
    if (found == async_.end()) return;
    cache_->cancel(request->waiter);
    async_.erase(found);
  }
  request->done(fail(why));
}

void PoolCore::cancel_soon(AsyncAcquire& request) {
  request.cancelled.store(true);
  changed();
}

void PoolCore::cancel_of(ReservationState& reservation) {
  for (;;) {
    std::shared_ptr<AsyncAcquire> request;
    {
      const std::lock_guard lock(async_mutex_);
      const auto found = std::find_if(async_.begin(), async_.end(), [&](const auto& other) {
        return other->reservation == &reservation;
      });
      if (found == async_.end()) return;
      request = *found;
    }
    cancel(request, Error(ErrorCode::kCancelled, "the reservation was destroyed"));
  }
}

// The answer; or nothing, and `look_again` is lowered to when it is to be polled again.
std::optional<Result<std::int64_t>> PoolCore::poll(AsyncAcquire& request, Instant& look_again) {
  if (request.cancelled.load()) {
    cache_->cancel(request.waiter);
    return Result<std::int64_t>(fail(ErrorCode::kCancelled, "it is not needed any more"));
  }
  lease::WaitStep step = cache_->poll(request.waiter);
  switch (step.state) {
    case lease::WaitState::kDone: return Result<std::int64_t>(step.granted);
    case lease::WaitState::kRefused:
      return Result<std::int64_t>(
          fail(describe({request.reservation, request.waiter.min, true, std::move(step.refusal)})));
    case lease::WaitState::kWait: look_again = std::min(look_again, step.look_again);
  }
  return std::nullopt;
}

// Returns when to do it again, if changed() was not called before.
Instant PoolCore::poll_async() {
  Instant look_again = Instant::never();
  std::vector<std::pair<std::shared_ptr<AsyncAcquire>, Result<std::int64_t>>> ended;
  {
    const std::lock_guard lock(async_mutex_);
    for (auto request = async_.begin(); request != async_.end();) {
      // A refusal is in words by now: its reservation may end as soon as it is not in the list.
      if (auto answer = poll(**request, look_again)) {
        ended.emplace_back(*request, *std::move(answer));
        request = async_.erase(request);
      } else {
        ++request;
      }
    }
  }
  for (auto& [request, result] : ended) request->done(std::move(result));
  return look_again;
}

// ---- the thread ----

void PoolCore::start_thread() {
  const std::lock_guard lock(thread_mutex_);
  if (thread_started_ || stopping()) return;
  try {
    thread_ = std::thread([self = shared_from_this()] { self->run(); });
    thread_started_ = true;
  } catch (const std::system_error&) {
    // No thread to be had: nobody spills for now, every wait still ends at its deadline, and the
    // next call tries again.
  }
}

void PoolCore::stop() {
  {
    const std::lock_guard lock(wait_.mutex);
    wait_.stopping = true;
  }
  wait_.condition.notify_all();
  std::thread ending;
  {
    const std::lock_guard lock(thread_mutex_);
    ending = std::move(thread_);
  }
  if (!ending.joinable()) return;
  if (ending.get_id() == std::this_thread::get_id()) {
    ending.detach();  // it holds a reference to this and ends soon
  } else {
    ending.join();
  }
}

void PoolCore::run() {
  while (!stopping()) {
    const std::uint64_t seen = version();
    const Instant look_again = poll_async();
    if (const auto need = cache_->spill_need()) {
      spill_for(*need);
      continue;
    }
    wait_change(seen, std::min(look_again, cache_->tick()));
  }
}

}  // namespace membroker::detail
