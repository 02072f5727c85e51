#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "client/memory/consumer_list.h"
#include "client/memory/consumer_state.h"
#include "client/memory/pool_core.h"
#include "membroker/memory_pool.h"
#include "shared/bytes.h"

namespace membroker::detail {

/// An acquire under way in a nested pool. All is guarded by the pool's mutex.
struct NestedWaiter {
  std::shared_ptr<ConsumerState> consumer;  // whose call it is
  ReservationState* reservation = nullptr;
  bool adds = false;  // the reservation grows by what is granted here, not by the caller
  Bytes min = 0;
  Bytes want = 0;
  std::int32_t priority = 0;
  Deadline deadline = Deadline::never();
  AcquireCallback done;

  Bytes got = 0;
  std::shared_ptr<AsyncAcquire> asked;  // at the parent; shared with it
  bool stale = false;                   // it got bytes here since it asked there
  bool unneeded = false;                // the caller has enough
  std::optional<Error> cancelled;       // by the caller, and why
};

/// See NestedPool. Its consumer in the parent stands for its own: the parent's spilling reaches
/// them, and counts them as spillable while any of them is. Thread-safe; the parent is called with
/// the mutex released, and what it granted is in `held_` before anybody may have it.
class Nested final : public NestedPool, public InnerConsumers {
 public:
  static std::shared_ptr<Nested> make(std::shared_ptr<MemoryPool> parent, std::string name,
                                      Bytes retained);
  Nested(std::shared_ptr<MemoryPool> parent, std::string name, Bytes retained);

  std::string describe() const override;
  MemoryPool& parent() const { return *parent_; }

  std::string name() const override { return name_; }
  MemoryLimit limit() const override { return parent_->limit(); }
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

  void retain(std::int64_t bytes) override;
  Loan borrow(std::int64_t n) override;
  void release_unused() override;

  // ---- acquire_async ----

  /// Calls back with the answer, by the deadline; maybe before it returns, and on this thread if it
  /// `blocks`.
  void start(const std::shared_ptr<NestedWaiter>& waiter, bool blocks);
  /// Ends it with the error, unless it has ended. `soon`: by a library thread.
  void cancel(const std::shared_ptr<NestedWaiter>& waiter, const Error& why, bool soon);
  /// Before a reservation ends.
  void cancel_of(const ReservationState& reservation);

  // ---- InnerConsumers ----

  void add_spill_leaves(bool for_asker, Bytes most, std::vector<SpillLeaf>& leaves) override;
  Bytes reclaimable() override;
  std::string spill_error() override;
  Bytes add_holders(const std::string& within, std::vector<PoolHolder>& holders) override;

 private:
  // What is to be done with the mutex released.
  struct After {
    Bytes give_back = 0;
    std::vector<std::shared_ptr<AsyncAcquire>> stale;
  };

  void end_loan(std::int64_t bytes) override;
  void count_spillable(int change);
  Bytes spare() const { return held_bytes_ - used_ - lent_ - claimed_; }
  Bytes may_give() const;
  After settle();
  void carry_out(After after);
  void ask_parent(const std::shared_ptr<NestedWaiter>& waiter, bool blocks);
  bool ask_once(const std::shared_ptr<NestedWaiter>& waiter, bool blocks);
  bool answered(const std::shared_ptr<NestedWaiter>& waiter, Result<std::int64_t> answer);
  Error refused(ConsumerState& consumer, Bytes asked, bool acquiring, const Error& cause);

  const std::shared_ptr<MemoryPool> parent_;  // shared: it outlives its children
  const std::string name_;
  MemoryReservation held_;    // in the parent; at least held_bytes_
  mutable std::mutex mutex_;  // guards the rest
  Bytes held_bytes_ = 0;      // >= used + lent + claimed, but while grow() is at the parent
  Bytes used_ = 0;
  Bytes lent_ = 0;
  Bytes claimed_ = 0;  // got by waiters
  Bytes retained_ = 0;
  int spillable_ = 0;  // consumers; while there are any it counts as such in the parent
  std::uint64_t refusals_ = 0;
  std::deque<std::shared_ptr<NestedWaiter>> waiters_;  // by priority and arrival; shared with calls
  ConsumerList consumers_;
};

}  // namespace membroker::detail
