#include "membroker/memory_pool.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>

#include "client/memory/cached_pool.h"
#include "client/memory/consumer_list.h"
#include "client/memory/consumer_state.h"
#include "client/memory/holders.h"
#include "client/memory/nested_pool.h"
#include "client/memory/refusal.h"
#include "client/memory/task_fair_pool.h"
#include "client/memory/tracked_pool.h"

namespace membroker {

using detail::PoolAccess;

namespace {

/// Grants everything. Thread-safe.
class UnboundedPool final : public MemoryPool {
 public:
  std::string describe() const override {
    return "unbounded(used: " + detail::readable_size(reserved()) + ")";
  }
  std::string name() const override { return "unbounded"; }
  MemoryLimit limit() const override { return MemoryLimit::infinite(); }
  std::int64_t reserved() const override { return reserved_.load(std::memory_order_relaxed); }
  PoolMetrics metrics() const override {
    PoolMetrics metrics = MemoryPool::metrics();
    metrics.consumers = detail::consumer_metrics(consumers_.all(), nullptr);
    return metrics;
  }
  std::vector<PoolHolder> holders() const override {
    std::vector<PoolHolder> holders;
    const std::int64_t named = detail::add_holders(consumers_.all(), "", holders);
    detail::add_unnamed("wrapping pools", reserved() - named, holders);
    return detail::in_order(std::move(holders));
  }
  Status try_grow(MemoryReservation&, std::int64_t n) override {
    // Bytes are 64 bits: a sum that does not fit is refused even here.
    std::int64_t seen = reserved_.load(std::memory_order_relaxed);
    do {
      if (!checked_add(seen, n)) {
        return fail(ErrorCode::kResourcesExhausted, "the sum of all reservations would overflow");
      }
    } while (!reserved_.compare_exchange_weak(seen, seen + n, std::memory_order_relaxed));
    return {};
  }
  void grow(MemoryReservation&, std::int64_t n) override { reserved_.fetch_add(n); }
  void shrink(MemoryReservation&, std::int64_t n) override { reserved_.fetch_sub(n); }
  void register_consumer(const MemoryConsumer& consumer) override {
    consumers_.add(PoolAccess::state(consumer));
  }
  void unregister_consumer(const MemoryConsumer& consumer) override {
    consumers_.remove(*PoolAccess::state(consumer));
  }

 private:
  std::atomic<std::int64_t> reserved_{0};
  detail::ConsumerList consumers_;
};

std::shared_ptr<MemoryPool> fixed_pool(std::string name, std::int64_t size,
                                       std::unique_ptr<lease::SharePolicy> policy) {
  return std::make_shared<detail::CachedPool>(
      detail::fixed_pool_options(std::move(name), size, std::move(policy)));
}

}  // namespace

namespace detail {

CachedPoolOptions fixed_pool_options(std::string name, Bytes size,
                                     std::unique_ptr<lease::SharePolicy> policy) {
  CachedPoolOptions options;
  options.name = std::move(name);
  options.described = "pool_size";
  options.core.cache.borrows = false;
  options.core.cache.capacity = std::max<Bytes>(0, size);
  options.core.cache.policy = std::move(policy);
  options.core.cache.now = monotonic_now;
  return options;
}

PoolCore* core_of(MemoryPool& pool) noexcept {
  if (auto* cached = dynamic_cast<CachedPool*>(&pool)) return &cached->core();
  if (auto* tracked = dynamic_cast<TrackedPool*>(&pool)) return core_of(tracked->inner());
  if (auto* task = dynamic_cast<TaskPool*>(&pool)) return core_of(task->shared());
  return nullptr;
}

Nested* nested_of(MemoryPool& pool) noexcept {
  if (auto* tracked = dynamic_cast<TrackedPool*>(&pool)) return nested_of(tracked->inner());
  return dynamic_cast<Nested*>(&pool);
}

PoolCore* paying_core(MemoryPool& pool) noexcept {
  if (auto* nested = dynamic_cast<Nested*>(&pool)) return paying_core(nested->parent());
  if (auto* tracked = dynamic_cast<TrackedPool*>(&pool)) return paying_core(tracked->inner());
  return core_of(pool);
}

}  // namespace detail

std::shared_ptr<MemoryPool> MemoryPool::unbounded() { return std::make_shared<UnboundedPool>(); }

std::shared_ptr<MemoryPool> MemoryPool::greedy(std::int64_t size_bytes) {
  return fixed_pool("greedy", size_bytes, std::make_unique<lease::GreedyPolicy>());
}

std::shared_ptr<MemoryPool> MemoryPool::fair_spill(std::int64_t size_bytes) {
  return fixed_pool("fair", size_bytes, std::make_unique<lease::FairSpillPolicy>());
}

std::shared_ptr<TaskFairPool> MemoryPool::task_fair(std::int64_t size_bytes) {
  return std::make_shared<detail::TaskFair>(size_bytes);
}

std::shared_ptr<MemoryPool> MemoryPool::tracked(std::size_t top_n,
                                                std::shared_ptr<PoolWatch> watch) {
  return std::make_shared<detail::TrackedPool>(shared_from_this(), top_n, watch);
}

std::shared_ptr<NestedPool> MemoryPool::nested(std::string name, std::int64_t retained_bytes) {
  return detail::Nested::make(shared_from_this(), std::move(name), retained_bytes);
}

MemoryPool::~MemoryPool() = default;

std::string MemoryPool::describe() const { return name(); }

PoolMetrics MemoryPool::metrics() const {
  PoolMetrics metrics;
  metrics.name = name();
  metrics.limit = limit();
  metrics.reserved_bytes = reserved();
  if (metrics.limit.kind == MemoryLimit::Kind::kFinite) {
    metrics.overdraft_bytes =
        std::max<std::int64_t>(0, metrics.reserved_bytes - metrics.limit.bytes);
  }
  return metrics;
}

std::string MemoryPool::report_top(std::size_t k) const {
  return detail::top_lines(metrics().consumers, k);
}

Result<std::int64_t> MemoryPool::acquire(MemoryReservation& reservation, std::int64_t min,
                                         std::int64_t want, Deadline, const AcquireOptions&) {
  if (try_grow(reservation, want)) return want;
  if (min == 0) return 0;
  if (auto grown = try_grow(reservation, min); !grown) return fail(grown.error());
  return min;
}

void MemoryPool::register_consumer(const MemoryConsumer&) {}
void MemoryPool::unregister_consumer(const MemoryConsumer&) {}
std::vector<PoolHolder> MemoryPool::holders() const {
  const PoolMetrics now = metrics();
  std::vector<PoolHolder> holders;
  std::int64_t rest = now.reserved_bytes;
  for (const ConsumerMetrics& consumer : now.consumers) {
    rest -= consumer.reserved_bytes;
    if (consumer.reserved_bytes == 0) continue;
    holders.push_back(
        {consumer.name, consumer.id, consumer.reserved_bytes, consumer.can_spill, {}});
  }
  detail::add_unnamed(now.name, rest, holders);
  return detail::in_order(std::move(holders));
}

MemoryLimit MemoryPool::limit_for(const MemoryConsumer&) const { return limit(); }

}  // namespace membroker
