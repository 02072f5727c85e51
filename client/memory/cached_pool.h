#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "client/memory/lease_pool.h"
#include "client/memory/pool_core.h"

namespace membroker::detail {

struct CachedPoolOptions {
  std::string name;       // "greedy"
  std::string described;  // how describe() names the size: "pool_size"
  PoolCoreOptions core;
};

/// The pools with a fast path: greedy, fair_spill, task_fair and the lease's. Thread-safe.
class CachedPool final : public LeasePool {
 public:
  explicit CachedPool(CachedPoolOptions options);
  ~CachedPool() override;

  PoolCore& core() { return *core_; }

  std::string describe() const override;
  std::string name() const override { return name_; }
  MemoryLimit limit() const override;
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

  lease::LeaseListener& listener() override { return core_->cache(); }
  void connect(std::shared_ptr<lease::LeaseSource> source) override;
  void close(Error why) override;
  Result<MemoryReservation> reserve_workspace(std::chrono::milliseconds timeout) override;
  LeaseStats stats() const override;

 private:
  ReservationState& shard_of(MemoryReservation& reservation);
  Status may_grow() const;
  Error describe_refusal(const Refused& refused) const;

  const std::string name_;
  const std::string described_;
  const bool borrows_;
  std::shared_ptr<PoolCore> core_;  // shared with its thread
  // Stands for the reservations of other pools that were handed here (a user's wrapper).
  std::shared_ptr<ConsumerState> strangers_;
  std::unique_ptr<ReservationState> stranger_;
};

std::string described_size(const std::string& name, Bytes used, const std::string& what,
                           Bytes size);

}  // namespace membroker::detail
