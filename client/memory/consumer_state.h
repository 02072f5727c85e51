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
struct ConsumerState;

/// One reservation. Owned by its MemoryReservation.
struct ReservationState : lease::LeaseShard {
  ReservationState(std::shared_ptr<ConsumerState> its_consumer,
                   std::shared_ptr<MemoryPool> its_pool, PoolCore* its_core) noexcept;

  const std::shared_ptr<ConsumerState> consumer;  // shared with handles and siblings
  std::shared_ptr<MemoryPool> pool;               // keeps the pool alive
  PoolCore* const core;  // of a pool that hands out credit; null: a plain one. The pool's
};

struct ConsumerState : std::enable_shared_from_this<ConsumerState> {
  // Fixed when registered.
  std::string name;
  std::uint64_t id = 0;
  bool can_spill = false;
  SpillFunction spill;
  std::int32_t spill_priority = 0;
  std::int64_t page_size = std::int64_t{1} << 20;

  static constexpr std::int64_t kNoSpillAsked = INT64_MAX;

  SharedUse shared;
  lease::ShardAccount account;
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
  bool use_shared = false;  // several reservations, now or earlier: `shared` counts
  std::map<void*, MemoryReservation> pages;  // what pays for each
  std::string spill_error;                   // why the last call-back failed; empty if it did not

  std::int64_t used();
  std::int64_t peak();
  void reset_peak();
  /// Of the pages allocated.
  std::int64_t page_bytes();
  void attach(ReservationState& reservation);
  /// Before a reservation ends, the last one or another: waits for the call-back that runs now, if
  /// this is not its thread, for it may use the reservation. None begins after the last one's.
  void quiesce();
  /// True: that was the last one.
  bool detach(ReservationState& reservation);
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
  static MemoryReservation reservation(ReservationState* state) { return MemoryReservation(state); }
  /// A reservation of a registered consumer.
  static MemoryReservation make(const std::shared_ptr<ConsumerState>& consumer,
                                const std::shared_ptr<MemoryPool>& pool);
};

/// The core that serves a pool's reservations by credit; null for a plain pool.
PoolCore* core_of(MemoryPool& pool) noexcept;

/// The core whose bytes a reservation's are, also through nested pools; null where none is known.
PoolCore* paying_core(MemoryPool& pool) noexcept;

/// Largest first, `hidden` left out while it holds nothing.
std::vector<ConsumerMetrics> consumer_metrics(
    const std::vector<std::shared_ptr<ConsumerState>>& consumers, const ConsumerState* hidden);
/// The reason of a call-back that failed, with the consumer's name; empty if none did.
std::string first_spill_error(const std::vector<std::shared_ptr<ConsumerState>>& consumers);

Error invalid_size(const char* call, std::int64_t n);

}  // namespace membroker::detail
