#include "client/memory/tracked_pool.h"

#include <utility>

#include "client/memory/holders.h"
#include "client/memory/pool_core.h"
#include "client/memory/refusal.h"
#include "shared/format.h"

namespace membroker::detail {

TrackedPool::TrackedPool(std::shared_ptr<MemoryPool> inner, std::size_t top_n,
                         const std::shared_ptr<PoolWatch>& watch)
    : inner_(std::move(inner)),
      top_n_(top_n),
      watch_(watch == nullptr ? nullptr : PoolAccess::state(*watch)) {
  if (PoolCore* core = core_of(*inner_); watch_ != nullptr && core != nullptr) {
    watch_->add_pool(core->shared_from_this());
  }
}

const MemoryPool& tracked_in(const MemoryPool& pool) {
  const auto* tracked = dynamic_cast<const TrackedPool*>(&pool);
  return tracked == nullptr ? pool : tracked_in(tracked->inner());
}

std::vector<std::shared_ptr<WatchState>> watches_of(MemoryPool& pool) {
  std::vector<std::shared_ptr<WatchState>> watches;
  const auto* tracked = dynamic_cast<const TrackedPool*>(&pool);
  while (tracked != nullptr) {
    if (tracked->watch() != nullptr) watches.push_back(tracked->watch());
    tracked = dynamic_cast<const TrackedPool*>(&tracked->inner());
  }
  return watches;
}

std::string TrackedPool::describe() const {
  return "track_consumers(inner_pool: " + inner_->describe() +
         strf(", num_of_top_consumers: %zu)", top_n_);
}

PoolMetrics TrackedPool::metrics() const {
  PoolMetrics metrics = inner_->metrics();
  metrics.name = name();
  metrics.consumers = consumer_metrics(consumers_.all(), nullptr);
  return metrics;
}

std::vector<PoolHolder> TrackedPool::holders() const {
  std::vector<PoolHolder> holders;
  add_holders(consumers_.all(), "", holders);
  return in_order(std::move(holders));
}

Error TrackedPool::named(const Error& error) const {
  if (error.code() != ErrorCode::kResourcesExhausted) return error;
  return with_top(error, consumer_metrics(consumers_.all(), nullptr, top_n_), top_n_);
}

Status TrackedPool::try_grow(MemoryReservation& reservation, std::int64_t n) {
  auto grown = inner_->try_grow(reservation, n);
  if (!grown) return fail(named(grown.error()));
  return grown;
}

void TrackedPool::grow(MemoryReservation& reservation, std::int64_t n) {
  inner_->grow(reservation, n);
}

void TrackedPool::shrink(MemoryReservation& reservation, std::int64_t n) {
  inner_->shrink(reservation, n);
}

Result<std::int64_t> TrackedPool::acquire(MemoryReservation& reservation, std::int64_t min,
                                          std::int64_t want, Deadline deadline,
                                          const AcquireOptions& options) {
  auto got = inner_->acquire(reservation, min, want, deadline, options);
  if (!got) return fail(named(got.error()));
  return got;
}

void TrackedPool::register_consumer(const MemoryConsumer& consumer) {
  inner_->register_consumer(consumer);
  consumers_.add(PoolAccess::state(consumer));
}

void TrackedPool::unregister_consumer(const MemoryConsumer& consumer) {
  consumers_.remove(*PoolAccess::state(consumer));
  inner_->unregister_consumer(consumer);
}

MemoryLimit TrackedPool::limit_for(const MemoryConsumer& consumer) const {
  return inner_->limit_for(consumer);
}

}  // namespace membroker::detail
