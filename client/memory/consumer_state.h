#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "client/lease/shard_book.h"
#include "membroker/memory_pool.h"

/// \file
/// What stands behind a MemoryConsumer and a MemoryReservation.

namespace membroker::detail {

class PoolCore;
class WatchState;
struct ConsumerState;

/// One that could be asked to spill.
struct SpillLeaf {
  std::shared_ptr<ConsumerState> consumer;  // kept alive while it is chosen from
  std::int64_t used = 0;                    // as far as whoever asks would get it
  bool is_asker = false;
};

/// What a nested pool's consumer stands for in the parent: the nested pool's own. Thread-safe;
/// called with no lock held.
class InnerConsumers {
 public:
  virtual ~InnerConsumers() = default;
  /// Adds those that can spill for the parent, of `most` bytes at most. `for_asker`: for a call on
  /// the nested pool itself.
  virtual void add_spill_leaves(bool for_asker, std::int64_t most,
                                std::vector<SpillLeaf>& leaves) = 0;
  /// Held by those that could spill it now, as far as the parent would get it.
  virtual std::int64_t reclaimable() = 0;
  virtual std::string spill_error() = 0;
  /// See holders.h. `within` names the nested pool too. Returns what they hold in all.
  virtual std::int64_t add_holders(const std::string& within, std::vector<PoolHolder>& holders) = 0;
};

/// One reservation. Owned by its MemoryReservation.
struct ReservationState : lease::LeaseShard {
  ReservationState(std::shared_ptr<ConsumerState> its_consumer,
                   std::shared_ptr<MemoryPool> its_pool, PoolCore* its_core) noexcept;

  const std::shared_ptr<ConsumerState> consumer;  // shared with handles and siblings
  std::shared_ptr<MemoryPool> pool;               // keeps the pool alive
  PoolCore* const payer;  // whose bytes they are, maybe through nested pools; may be null
  PoolCore* const core;   // of a pool that hands out credit; null: a plain one. The pool's
  std::vector<std::shared_ptr<WatchState>> watches;  // shared with the tracked pools. Fixed

  /// Tells the watches that its size has changed.
  void note(std::int64_t change) {
    if (!watches.empty() && change != 0) note_watched(change);
  }

 private:
  void note_watched(std::int64_t change);
};

struct ConsumerState : std::enable_shared_from_this<ConsumerState> {
  // Fixed when registered.
  std::string name;
  std::uint64_t id = 0;
  SpillFunction spill;
  std::int32_t spill_priority = 0;
  std::int64_t page_size = std::int64_t{1} << 20;

  static constexpr std::int64_t kNoSpillAsked = INT64_MAX;

  SharedUse shared;
  lease::ShardAccount account;
  std::atomic<bool> can_spill{false};   // fixed, but for the one that stands for a nested pool
  bool stands_for_pool = false;         // fixed when registered
  std::weak_ptr<InnerConsumers> inner;  // if it stands for a pool. Fixed when registered
  std::atomic<bool> registered{false};
  std::atomic<int> no_spill_sections{0};
  // Threads waiting in a call that did not allow spilling: in any, and in acquire().
  std::atomic<int> threads_inside{0};
  std::atomic<int> threads_acquiring{0};
  std::atomic<bool> spilling{false};                       // a SpillClaim lives
  std::atomic<bool> calling{false};                        // its call-back runs
  std::atomic<std::int64_t> spill_down_to{kNoSpillAsked};  // of a cooperative consumer

  std::mutex mutex;  // guards the rest; taken before a pool's
  std::vector<ReservationState*> reservations;
  int unended = 0;          // reservations that nobody has begun to end
  bool use_shared = false;  // `shared` counts: of a plain pool, or a tracked one's several
  bool several = false;     // reservations of credit, now or earlier, that `shared` does not count
  std::map<void*, MemoryReservation> pages;  // what pays for each
  std::string spill_error;                   // why the last call-back failed; empty if it did not

  /// False: it is registered, or its last registration has not quite ended. Changes the account.
  bool begin_registration();
  /// While others use it an approximation, if there are several reservations.
  std::int64_t used();
  /// Of several reservations with their unused credit, unless `shared` counts.
  std::int64_t peak();
  void reset_peak();
  /// Its reservations are the core's own, not of a pool that wraps it.
  bool is_of(const PoolCore& owner);
  /// Used, if it could be spilled now.
  std::int64_t reclaimable();
  void attach(ReservationState& reservation);
  /// A reservation begins to end, the last one or another: waits for the call-back that runs now,
  /// if this is not its thread, for it may use the reservation. None begins after the last one's.
  void quiesce();
  /// True: that was the last one.
  bool detach(ReservationState& reservation);

 private:
  void note_peak(const ReservationState& reservation);
};

/// While it lives its consumer is not chosen for spilling.
class InsideCall {
 public:
  InsideCall(ConsumerState& consumer, bool acquires) : consumer_(consumer), acquires_(acquires) {
    consumer_.threads_inside.fetch_add(1);
    if (acquires_) consumer_.threads_acquiring.fetch_add(1);
  }
  InsideCall(const InsideCall&) = delete;
  InsideCall& operator=(const InsideCall&) = delete;
  ~InsideCall() {
    if (acquires_) consumer_.threads_acquiring.fetch_sub(1);
    consumer_.threads_inside.fetch_sub(1);
  }

 private:
  ConsumerState& consumer_;
  const bool acquires_;
};

/// The right to run the consumer's call-back, or to raise its flag. Empty if another has it.
class SpillClaim {
 public:
  explicit SpillClaim(std::shared_ptr<ConsumerState> consumer);
  SpillClaim(SpillClaim&& other) noexcept = default;
  SpillClaim& operator=(SpillClaim&& other) noexcept = default;
  ~SpillClaim();

  explicit operator bool() const { return consumer_ != nullptr; }
  ConsumerState& consumer() const { return *consumer_; }

 private:
  std::shared_ptr<ConsumerState> consumer_;  // kept alive while it spills
};

/// Adds the consumer, or those that it stands for, if they can spill.
void add_spill_leaf(const std::shared_ptr<ConsumerState>& consumer, bool is_asker,
                    std::int64_t most, std::vector<SpillLeaf>& leaves);

/// Runs the consumer's call-back on this thread. Returns what it freed, measured by what the
/// consumer uses, or by its word where that is less. If it threw: 0, and the reason is kept.
/// The caller holds its SpillClaim.
std::int64_t run_spill(ConsumerState& consumer, const SpillRequest& request);

/// True on a thread that runs a spill call-back.
bool inside_spill() noexcept;

/// The library's way into the public classes.
struct PoolAccess {
  static const std::shared_ptr<ConsumerState>& state(const MemoryConsumer& consumer) {
    return consumer.state_;
  }
  static ReservationState* state(const MemoryReservation& reservation) {
    return static_cast<ReservationState*>(reservation.shard_);
  }
  static MemoryConsumer consumer(std::shared_ptr<ConsumerState> state) {
    return MemoryConsumer(std::move(state));
  }
  static const std::shared_ptr<WatchState>& state(const PoolWatch& watch);
  /// acquire_async() in two steps, of a pool with a core or a nested one.
  static std::shared_ptr<AsyncAcquire> prepare(MemoryReservation& reservation, std::int64_t min,
                                               std::int64_t want, AcquireCallback done,
                                               const AcquireOptions& options);
  /// `blocks`: it is answered, on this thread, before the call returns.
  static void launch(const std::shared_ptr<AsyncAcquire>& request, Deadline deadline, bool blocks);
  /// Not needed any more: a library thread ends it, or the one that it blocks.
  static void cancel_soon(AsyncAcquire& request);
  static MemoryReservation reservation(ReservationState* state) { return MemoryReservation(state); }
  /// A reservation of a registered consumer.
  static MemoryReservation make(const std::shared_ptr<ConsumerState>& consumer,
                                const std::shared_ptr<MemoryPool>& pool);
};

/// The core that serves a pool's reservations by credit; null for a plain pool.
PoolCore* core_of(MemoryPool& pool) noexcept;

/// The nested pool that serves a pool's reservations; null if none does.
class Nested;
Nested* nested_of(MemoryPool& pool) noexcept;

/// The core whose bytes a reservation's are, also through nested pools; null where none is known.
PoolCore* paying_core(MemoryPool& pool) noexcept;

/// The `most` largest, largest first, `hidden` left out while it holds nothing.
std::vector<ConsumerMetrics> consumer_metrics(
    const std::vector<std::shared_ptr<ConsumerState>>& consumers, const ConsumerState* hidden,
    std::size_t most = SIZE_MAX);
/// The reason of a call-back that failed, with the consumer's name; empty if none did.
std::string first_spill_error(const std::vector<std::shared_ptr<ConsumerState>>& consumers);

Error invalid_size(const char* call, std::int64_t n);
/// kGrowInSpill.
Error grow_in_spill();

}  // namespace membroker::detail
