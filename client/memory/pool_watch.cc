#include "membroker/pool_watch.h"

#include <algorithm>
#include <utility>

#include "client/memory/pool_core.h"
#include "client/memory/refusal.h"
#include "client/memory/watch_state.h"

namespace membroker {
namespace detail {

void WatchState::add_pool(const std::shared_ptr<PoolCore>& core) {
  if (core == nullptr || given_) return;
  const std::lock_guard lock(mutex_);
  std::erase_if(cores_, [](const auto& other) { return other.expired(); });
  const bool known = std::any_of(cores_.begin(), cores_.end(),
                                 [&](const auto& other) { return other.lock() == core; });
  if (!known) cores_.push_back(core);
}

std::int64_t WatchState::allocated() const {
  if (given_) return given_();
  std::vector<std::weak_ptr<PoolCore>> cores;
  {
    const std::lock_guard lock(mutex_);
    cores = cores_;
  }
  std::int64_t sum = 0;
  for (const auto& weak : cores) {
    if (const auto core = weak.lock()) sum += core->allocated();
  }
  return sum;
}

void WatchState::note(std::int64_t change, const std::string& consumer, const MemoryPool& pool) {
  const std::int64_t allocated_now = allocated();
  const std::string pool_name = pool.name();
  const std::lock_guard lock(mutex_);
  seen_.reserved_bytes += change;
  seen_.peak_bytes = std::max(seen_.peak_bytes, seen_.reserved_bytes);
  seen_.max_bytes = std::max(seen_.max_bytes, seen_.reserved_bytes);
  const std::int64_t drift = allocated_now - seen_.reserved_bytes;
  if (drift_seen_ && drift <= seen_.peak_drift_bytes) return;
  drift_seen_ = true;
  seen_.peak_drift_bytes = drift;
  seen_.peak_drift_reserved_bytes = seen_.reserved_bytes;
  seen_.peak_drift_consumer = consumer;
  seen_.peak_drift_pool = pool_name;
}

WatchReport WatchState::report() const {
  const std::int64_t allocated_now = allocated();
  const std::lock_guard lock(mutex_);
  WatchReport report = seen_;
  report.allocated_bytes = allocated_now;
  report.drift_bytes = allocated_now - report.reserved_bytes;
  return report;
}

void WatchState::reset_peaks() {
  const std::lock_guard lock(mutex_);
  seen_.peak_bytes = seen_.reserved_bytes;
  drift_seen_ = false;
  seen_.peak_drift_bytes = 0;
  seen_.peak_drift_reserved_bytes = 0;
  seen_.peak_drift_consumer.clear();
  seen_.peak_drift_pool.clear();
}

}  // namespace detail

using detail::readable_size;

std::string WatchReport::to_string() const {
  std::string text = "reserved " + readable_size(reserved_bytes) + ", peak " +
                     readable_size(peak_bytes) + "; allocated " + readable_size(allocated_bytes) +
                     "; drift " + readable_size(drift_bytes);
  if (peak_drift_pool.empty()) return text;
  return text + ", " + readable_size(peak_drift_bytes) + " at its peak, by " + peak_drift_consumer +
         " of " + peak_drift_pool + " with " + readable_size(peak_drift_reserved_bytes) +
         " reserved";
}

const std::shared_ptr<detail::WatchState>& detail::PoolAccess::state(const PoolWatch& watch) {
  return watch.state_;
}

std::shared_ptr<PoolWatch> PoolWatch::make(std::function<std::int64_t()> allocated) {
  return std::shared_ptr<PoolWatch>(
      new PoolWatch(std::make_shared<detail::WatchState>(std::move(allocated))));
}

PoolWatch::PoolWatch(std::shared_ptr<detail::WatchState> state) : state_(std::move(state)) {}
PoolWatch::~PoolWatch() = default;

WatchReport PoolWatch::report() const { return state_->report(); }
void PoolWatch::reset_peaks() { state_->reset_peaks(); }

}  // namespace membroker
