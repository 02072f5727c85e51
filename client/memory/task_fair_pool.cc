#include "client/memory/task_fair_pool.h"

#include <utility>

#include "client/memory/holders.h"
#include "shared/format.h"

namespace membroker::detail {

std::string TaskPool::name() const {
  return strf("task %llu", static_cast<unsigned long long>(id_));
}

std::string TaskPool::describe() const { return name() + " of " + pool_->describe(); }

PoolMetrics TaskPool::metrics() const {
  PoolMetrics metrics = pool_->metrics();
  metrics.name = name();
  metrics.consumers = consumer_metrics(consumers(), nullptr);
  metrics.reserved_bytes = 0;
  for (const ConsumerMetrics& consumer : metrics.consumers) {
    metrics.reserved_bytes += consumer.reserved_bytes;
  }
  return metrics;
}

std::vector<std::shared_ptr<ConsumerState>> TaskPool::consumers() const {
  std::vector<std::shared_ptr<ConsumerState>> own;
  for (const auto& consumer : pool_->core().consumers()) {
    if (consumer->account.task == &account_) own.push_back(consumer);
  }
  return own;
}

std::vector<PoolHolder> TaskPool::holders() const {
  std::vector<PoolHolder> holders;
  add_holders(consumers(), "", holders);
  return in_order(std::move(holders));
}

std::int64_t TaskPool::reserved() const { return metrics().reserved_bytes; }

Status TaskPool::try_grow(MemoryReservation& reservation, std::int64_t n) {
  return pool_->try_grow(reservation, n);
}
void TaskPool::grow(MemoryReservation& reservation, std::int64_t n) { pool_->grow(reservation, n); }
void TaskPool::shrink(MemoryReservation& reservation, std::int64_t n) {
  pool_->shrink(reservation, n);
}

Result<std::int64_t> TaskPool::acquire(MemoryReservation& reservation, std::int64_t min,
                                       std::int64_t want, Deadline deadline,
                                       const AcquireOptions& options) {
  return pool_->acquire(reservation, min, want, deadline, options);
}

void TaskPool::register_consumer(const MemoryConsumer& consumer) {
  PoolAccess::state(consumer)->account.task = &account_;
  pool_->register_consumer(consumer);
}

void TaskPool::unregister_consumer(const MemoryConsumer& consumer) {
  pool_->unregister_consumer(consumer);
}

MemoryLimit TaskPool::limit_for(const MemoryConsumer& consumer) const {
  return pool_->limit_for(consumer);
}

TaskFair::TaskFair(Bytes size)
    : pool_(std::make_shared<CachedPool>(
          fixed_pool_options("task_fair", size, std::make_unique<lease::TaskFairPolicy>()))) {}

std::shared_ptr<MemoryPool> TaskFair::task(std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  if (auto existing = tasks_[id].lock()) return existing;
  std::erase_if(tasks_,
                [&](const auto& entry) { return entry.first != id && entry.second.expired(); });
  auto made = std::make_shared<TaskPool>(pool_, id);
  tasks_[id] = made;
  return made;
}

std::vector<PoolHolder> TaskFair::holders() const {
  std::map<const lease::TaskAccount*, std::string> names;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, weak] : tasks_) {
      if (const auto task = weak.lock()) names[&task->account()] = task->name();
    }
  }
  std::vector<PoolHolder> holders;
  Bytes named = add_holders(direct_.all(), "", holders);
  for (const auto& consumer : pool_->core().consumers()) {
    const auto task = names.find(consumer->account.task);
    if (task != names.end()) named += add_holders(consumer, task->second, holders);
  }
  add_unnamed("wrapping pools", reserved() - named, holders);
  return in_order(std::move(holders));
}

Status TaskFair::try_grow(MemoryReservation& reservation, std::int64_t n) {
  return pool_->try_grow(reservation, n);
}
void TaskFair::grow(MemoryReservation& reservation, std::int64_t n) { pool_->grow(reservation, n); }
void TaskFair::shrink(MemoryReservation& reservation, std::int64_t n) {
  pool_->shrink(reservation, n);
}

void TaskFair::register_consumer(const MemoryConsumer& consumer) {
  direct_.add(PoolAccess::state(consumer));
}
void TaskFair::unregister_consumer(const MemoryConsumer& consumer) {
  direct_.remove(*PoolAccess::state(consumer));
}

}  // namespace membroker::detail
