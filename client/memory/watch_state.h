#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "membroker/memory_pool.h"
#include "membroker/pool_watch.h"

namespace membroker::detail {

class PoolCore;

/// See PoolWatch. Thread-safe; `allocated` is called with no lock held.
class WatchState {
 public:
  explicit WatchState(std::function<std::int64_t()> allocated) : given_(std::move(allocated)) {}

  /// A pool is tracked with it. Null for one without a core: nothing charges that.
  void add_pool(const std::shared_ptr<PoolCore>& core);
  /// A reservation of the consumer has changed by `change`.
  void note(std::int64_t change, const std::string& consumer, const MemoryPool& pool);
  WatchReport report() const;
  void reset_peaks();

 private:
  std::int64_t allocated() const;

  const std::function<std::int64_t()> given_;
  mutable std::mutex mutex_;
  std::vector<std::weak_ptr<PoolCore>> cores_;  // guarded by mutex_, as is the rest
  WatchReport seen_;
  bool drift_seen_ = false;
};

/// The pool itself, or the one that it does no more than track.
const MemoryPool& tracked_in(const MemoryPool& pool);

/// The watches of a pool and of those it tracks.
std::vector<std::shared_ptr<WatchState>> watches_of(MemoryPool& pool);

}  // namespace membroker::detail
