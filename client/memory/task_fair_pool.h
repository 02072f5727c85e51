#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "client/memory/cached_pool.h"
#include "client/memory/consumer_list.h"

namespace membroker::detail {

CachedPoolOptions fixed_pool_options(std::string name, Bytes size,
                                     std::unique_ptr<lease::SharePolicy> policy);

/// One task's way into a TaskFair: the pool they share, and the account their shares are measured
/// by. Thread-safe.
class TaskPool final : public MemoryPool {
 public:
  TaskPool(std::shared_ptr<CachedPool> pool, std::uint64_t id) : pool_(std::move(pool)), id_(id) {}

  MemoryPool& shared() const { return *pool_; }
  const lease::TaskAccount& account() const { return account_; }

  std::string describe() const override;
  std::string name() const override;
  MemoryLimit limit() const override { return pool_->limit(); }
  /// Of this task.
  std::int64_t reserved() const override;
  PoolMetrics metrics() const override;
  std::vector<PoolHolder> holders() const override;
  Status try_grow(MemoryReservation& reservation, std::int64_t n) override;
  void grow(MemoryReservation& reservation, std::int64_t n) override;
  void shrink(MemoryReservation& reservation, std::int64_t n) override;
  Result<std::int64_t> acquire(MemoryReservation& reservation, std::int64_t min, std::int64_t want,
                               Deadline deadline, const AcquireOptions& options) override;
  void register_consumer(const MemoryConsumer& consumer) override;
  void unregister_consumer(const MemoryConsumer& consumer) override;
  MemoryLimit limit_for(const MemoryConsumer& consumer) const override;

 private:
  std::vector<std::shared_ptr<ConsumerState>> consumers() const;

  const std::shared_ptr<CachedPool> pool_;  // shared by the tasks
  const std::uint64_t id_;
  lease::TaskAccount account_;  // of the shared pool's cache
};

/// See MemoryPool::task_fair. Consumers registered here directly, not with a task, are bound by the
/// size only. Thread-safe.
class TaskFair final : public TaskFairPool {
 public:
  explicit TaskFair(Bytes size);

  std::shared_ptr<MemoryPool> task(std::uint64_t id) override;

  std::string describe() const override { return pool_->describe(); }
  std::string name() const override { return pool_->name(); }
  MemoryLimit limit() const override { return pool_->limit(); }
  std::int64_t reserved() const override { return pool_->reserved(); }
  PoolMetrics metrics() const override { return pool_->metrics(); }
  std::vector<PoolHolder> holders() const override;
  Status try_grow(MemoryReservation& reservation, std::int64_t n) override;
  void grow(MemoryReservation& reservation, std::int64_t n) override;
  void shrink(MemoryReservation& reservation, std::int64_t n) override;
  void register_consumer(const MemoryConsumer& consumer) override;
  void unregister_consumer(const MemoryConsumer& consumer) override;

 private:
  const std::shared_ptr<CachedPool> pool_;  // shared with the tasks' pools
  ConsumerList direct_;                     // with no task
  mutable std::mutex mutex_;
  std::map<std::uint64_t, std::weak_ptr<TaskPool>> tasks_;  // guarded by mutex_
};

}  // namespace membroker::detail
