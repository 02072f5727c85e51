#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "client/memory/consumer_list.h"
#include "client/memory/consumer_state.h"
#include "client/memory/watch_state.h"
#include "membroker/memory_pool.h"

namespace membroker::detail {

/// Another pool, whose refusals name its largest consumers. Reservations keep the inner pool's fast
/// path, unless there is a watch. Thread-safe.
class TrackedPool final : public MemoryPool {
 public:
  TrackedPool(std::shared_ptr<MemoryPool> inner, std::size_t top_n,
              const std::shared_ptr<PoolWatch>& watch);

  MemoryPool& inner() const { return *inner_; }
  /// Null: none.
  const std::shared_ptr<WatchState>& watch() const { return watch_; }

  std::string describe() const override;
  std::string name() const override { return "track_consumers"; }
  MemoryLimit limit() const override { return inner_->limit(); }
  std::int64_t reserved() const override { return inner_->reserved(); }
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
  Error named(const Error& error) const;

  const std::shared_ptr<MemoryPool> inner_;  // shared: others may use it too
  const std::size_t top_n_;
  const std::shared_ptr<WatchState> watch_;  // shared by the pools it watches
  ConsumerList consumers_;
};

}  // namespace membroker::detail
