#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "client/lease/lease_cache.h"
#include "client/memory/consumer_list.h"
#include "client/memory/consumer_state.h"
#include "client/memory/spill_choice.h"
#include "membroker/memory_pool.h"

/// \file
/// What is behind every pool that hands out credit: the lease cache, the consumers registered, the
/// waiting, and one thread for spilling, revocations, idle memory and acquire_async.
///
/// Locks: async_mutex_, then a consumer's or the list of consumers', then the cache's and with it
/// the source's, then the wait's. None is held over a consumer's or caller's call-back.

namespace membroker::detail {

/// An acquire_async under way.
struct AsyncAcquire : std::enable_shared_from_this<AsyncAcquire> {
  lease::LeaseWaiter waiter;
  ReservationState* reservation = nullptr;
  AcquireOptions options;
  AcquireCallback done;
  std::weak_ptr<PoolCore> core;
  std::atomic<bool> cancelled{false};  // not needed any more: the pool's thread ends it
  std::function<void(Deadline, bool blocks)> start;  // of a pool without a core
  std::function<void(bool soon)> cancel;             // of a pool without a core
};

struct PoolCoreOptions {
  lease::LeaseCacheOptions cache;
  bool virtual_time = false;  // `cache.now` is not the steady clock: look at it often
  bool can_fork = true;       // false: of the daemon's lease, cut off in a forked child
};

/// A refusal before it is put into words.
struct Refused {
  ReservationState* reservation = nullptr;
  Bytes asked = 0;
  bool acquiring = false;
  lease::LeaseRefusal why;
};

/// Who spills next.
struct ChosenSpill {
  SpillClaim claim;
  bool is_asker = false;
};

class PoolCore : public std::enable_shared_from_this<PoolCore> {
 public:
  static std::shared_ptr<PoolCore> make(PoolCoreOptions options);

  lease::LeaseCache& cache() { return *cache_; }
  const lease::LeaseCache& cache() const { return *cache_; }

  void add_consumer(std::shared_ptr<ConsumerState> consumer);
  void remove_consumer(const ConsumerState& consumer);
  std::vector<std::shared_ptr<ConsumerState>> consumers() const;
  /// Used by consumers that could spill it now.
  Bytes reclaimable() const;

  /// True in a forked child of the process whose lease this is: nothing of it may be touched.
  bool cut_off() const noexcept;
  /// For the shards to see it by; null: they never are.
  const std::atomic<std::uint64_t>* forks() const noexcept;

  /// The two calls that may wait.
  Status try_grow(ReservationState& reservation, Bytes n, Refused& refused);
  std::optional<Bytes> acquire(ReservationState& reservation, Bytes min, Bytes want,
                               Deadline deadline, const AcquireOptions& options, Refused& refused);
  /// The workspace goes to the reservation: 0. Or how many bytes of it are to be acquired.
  Result<Bytes> take_workspace(ReservationState& reservation, Deadline deadline);
  void start(const std::shared_ptr<AsyncAcquire>& request, Deadline deadline);
  /// The same, but answered on this thread before it returns.
  void start_here(AsyncAcquire& request, Deadline deadline);
  void cancel(const std::shared_ptr<AsyncAcquire>& request, const Error& why);
  /// The same by the thread that polls it, which calls back with no lock of the caller's held.
  void cancel_soon(AsyncAcquire& request);
  /// Before a reservation ends.
  void cancel_of(ReservationState& reservation);

  /// Called by the cache: somebody has something to look at.
  void changed();
  /// Ends the thread and waits for it, unless called on it.
  void stop();

  std::uint64_t refusals() const { return refusals_.load(std::memory_order_relaxed); }
  void count_refusal() { refusals_.fetch_add(1, std::memory_order_relaxed); }
  std::uint64_t spills() const { return spills_.load(std::memory_order_relaxed); }
  Bytes spilled() const { return spilled_.load(std::memory_order_relaxed); }
  Bytes overdraft() const { return cache_->debt(); }

  // ---- told by who uses what is reserved ----

  /// By pages and by allocators that charge this pool.
  Bytes allocated() const { return allocated_.load(std::memory_order_relaxed); }
  void count_allocated(Bytes change) { allocated_.fetch_add(change, std::memory_order_relaxed); }
  void count_spill_files(Bytes written) {
    spill_files_.fetch_add(written, std::memory_order_relaxed);
  }

  /// How a refusal of `request` reads: set by the pool. Used for asynchronous ones.
  std::function<Error(const Refused&)> describe;

 private:
  struct Wait {
    std::mutex mutex;
    std::condition_variable condition;
    std::uint64_t version = 0;  // guarded by mutex
    bool stopping = false;      // guarded by mutex
  };

  explicit PoolCore(PoolCoreOptions options);

  std::uint64_t version();
  /// Until changed() has been called since `seen`, or `until` has come.
  void wait_change(std::uint64_t seen, Instant until);
  Instant at(Deadline deadline) const;
  void start_thread();

  void run();
  std::optional<Result<std::int64_t>> poll(AsyncAcquire& request, Instant& look_again);
  Instant poll_async();
  void spill_for(const lease::SpillNeed& need);
  std::vector<SpillLeaf> spill_leaves(const lease::SpillNeed& need) const;
  std::optional<ChosenSpill> choose(const lease::SpillNeed& need,
                                    const std::vector<std::uint64_t>& skipped, bool& busy);
  std::optional<lease::SpillNeed> same_need(const lease::SpillNeed& need);
  Bytes spill_one(const ChosenSpill& chosen, const lease::SpillNeed& need);
  Bytes ask_cooperative(ConsumerState& consumer, const lease::SpillNeed& need);
  std::string why_nobody(const lease::SpillNeed& need);
  bool stopping();

  const std::function<Instant()> now_;
  const bool virtual_time_;
  const bool borrows_;
  const bool can_fork_;
  const std::uint64_t generation_;  // of the process that made it
  std::unique_ptr<lease::LeaseCache> cache_;

  ConsumerList consumers_;

  std::mutex async_mutex_;
  std::list<std::shared_ptr<AsyncAcquire>> async_;  // guarded by async_mutex_

  Wait wait_;
  std::atomic<std::uint64_t> refusals_{0};
  std::atomic<std::uint64_t> spills_{0};
  std::atomic<Bytes> spilled_{0};      // freed by call-backs
  std::atomic<Bytes> spill_files_{0};  // written to files
  alignas(64) std::atomic<Bytes> allocated_{0};
  std::mutex thread_mutex_;
  std::thread thread_;           // guarded by thread_mutex_
  bool thread_started_ = false;  // guarded by thread_mutex_
};

}  // namespace membroker::detail
