#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "membroker/deadline.h"
#include "membroker/detail/credit_shard.h"
#include "membroker/error.h"
#include "membroker/pool_metrics.h"

/// \file
/// Accounting: who in this process may have how much, and who spills when it is not enough.
///
///     auto reservation = MemoryConsumer("sort")
///                            .with_spill([&](const SpillRequest& r) { return spill(r.bytes); })
///                            .register_with(client.pool());
///     if (!reservation.try_grow(n)) spill_myself();   // its error says who holds what
///     reservation.shrink(n);                          // or let it go out of scope
///
/// A pool accounts and allocates nothing; see membroker/allocator.h for memory. Bytes are int64_t;
/// a negative size is kInvalid and changes nothing.
///
/// Thread safety: pools, consumers and all calls on one reservation but moving and destroying it.

namespace membroker {

class MemoryPool;
class MemoryReservation;
class NestedPool;
class PoolWatch;
class TaskFairPool;

namespace detail {
struct ConsumerState;
struct AsyncAcquire;
struct PoolAccess;
}  // namespace detail

enum class SpillTrigger {
  kRevocation,  ///< The daemon wants bytes back.
  kOther,       ///< Another consumer of this process needs them.
  kSelf,        ///< The consumer itself is acquiring and nobody else could help.
  kExplicit,    ///< MemoryConsumer::spill() was called.
};

struct SpillRequest {
  std::int64_t bytes = 0;  ///< Wanted. More may be freed, or less, or nothing.
  Deadline deadline = Deadline::never();
  SpillTrigger trigger = SpillTrigger::kExplicit;
};

/// Frees memory, gives it back by shrink() or free(), and returns the bytes freed; 0: cannot now.
/// Runs on a library thread with no library lock held (spill() runs it on the caller's). From
/// inside it try_grow() and acquire() fail with kGrowInSpill and grow() is a counted overdraft. If
/// it throws it freed 0, and the reason is kept for the next refusal. Not called twice at once for
/// a consumer.
using SpillFunction = std::function<std::int64_t(const SpillRequest&)>;

struct AcquireOptions {
  /// Among the requests of this process and, clamped to the tenant's maximum, at the daemon.
  std::int32_t priority = 0;
  /// The asker's own spill call-back may be run (on a library thread) while it waits.
  bool spillable_while_waiting = false;
};

/// Called once with the bytes granted or the error, on a library thread without locks.
using AcquireCallback = std::function<void(Result<std::int64_t>)>;

/// An acquire_async() under way. Dropping it does not cancel.
class AcquireTicket {
 public:
  AcquireTicket() = default;
  explicit AcquireTicket(std::shared_ptr<detail::AsyncAcquire> request)
      : request_(std::move(request)) {}
  /// The call-back is called with kCancelled, unless it has been or is being called.
  void cancel();

 private:
  friend struct detail::PoolAccess;
  std::shared_ptr<detail::AsyncAcquire> request_;  // shared with the pool's thread
};

/// Bytes of memory charged to a consumer; 64-byte aligned.
struct Page {
  void* data = nullptr;
  std::int64_t bytes = 0;
};

/// Something that reserves memory, and may be able to spill. A cheap handle: copies are the same
/// consumer; equality is by id.
class MemoryConsumer {
 public:
  explicit MemoryConsumer(std::string name);

  // Before registering only; later they change nothing.

  /// true without a call-back: a cooperative consumer, which polls spill_requested().
  MemoryConsumer& with_can_spill(bool can_spill);
  /// Implies with_can_spill(true).
  MemoryConsumer& with_spill(SpillFunction spill);
  /// Higher is asked first (a cache before a hash table). Default 0.
  MemoryConsumer& with_spill_priority(std::int32_t priority);
  /// What allocate_page() asks for when less is required. Default 1 MiB.
  MemoryConsumer& with_page_size(std::int64_t bytes);

  /// Registers with `pool` and returns an empty reservation; the registration ends with the last
  /// of the consumer's reservations and handles' pages. A consumer that is registered already is
  /// left alone: the reservation is of a clone_with_new_id().
  MemoryReservation register_with(const std::shared_ptr<MemoryPool>& pool);

  const std::string& name() const noexcept;
  std::uint64_t id() const noexcept;  ///< Unique in the process.
  bool can_spill() const noexcept;
  std::int32_t spill_priority() const noexcept;
  /// Bytes reserved, over all its reservations.
  std::int64_t used() const noexcept;
  /// The largest used() so far. Exact while there never was more than one reservation at a time,
  /// and in a tracked() pool. Else never too low, and too high by what reservations had been given
  /// and not used yet: about half of the pool at most, and 2 MiB each (16 in a large pool).
  std::int64_t peak() const noexcept;
  void reset_peak() noexcept;  ///< To what is used now.
  /// Runs the spill call-back now, on this thread; returns the bytes freed. kUnsupported without a
  /// call-back; kResourcesExhausted with the reason if it threw or is running already.
  Result<std::int64_t> spill(std::int64_t bytes = INT64_MAX);
  /// Same name and settings, another id, not registered.
  MemoryConsumer clone_with_new_id() const;

  /// Memory of at least `required` bytes and, where to be had, the page size. Charged before it is
  /// allocated, as by acquire() with 5 s: may spill others, and the consumer itself at the last.
  /// Error kResourcesExhausted: "Unable to acquire N bytes of memory, got M".
  Result<Page> allocate_page(std::int64_t required);
  /// A page of `elements` * 8 bytes.
  Result<Page> allocate_array(std::int64_t elements);
  /// kInvalid, and nothing changed, for a page that is not this consumer's or was freed before.
  Status free_page(const Page& page);

  friend bool operator==(const MemoryConsumer& a, const MemoryConsumer& b) noexcept {
    return a.state_ == b.state_;
  }

 private:
  friend struct detail::PoolAccess;
  explicit MemoryConsumer(std::shared_ptr<detail::ConsumerState> state)
      : state_(std::move(state)) {}

  std::shared_ptr<detail::ConsumerState> state_;  // shared with its reservations
};

/// Bytes reserved by a consumer in a pool. Move-only; destroying it gives them back. A
/// default-constructed or moved-from one is of no pool: it holds 0 and grows by 0 only.
class MemoryReservation {
 public:
  MemoryReservation() noexcept = default;
  MemoryReservation(MemoryReservation&& other) noexcept
      : shard_(std::exchange(other.shard_, nullptr)) {}
  MemoryReservation& operator=(MemoryReservation&& other) noexcept {
    if (this != &other) {
      if (shard_ != nullptr) destroy();
      shard_ = std::exchange(other.shard_, nullptr);
    }
    return *this;
  }
  ~MemoryReservation() {
    if (shard_ != nullptr) destroy();
  }

  /// All or nothing; on error nothing has changed. Waits for the daemon at most 50 ms and never for
  /// a spill. Errors: kResourcesExhausted (with Denial), kGrowInSpill, kClosed, kForked, kInvalid.
  Status try_grow(std::int64_t n) {
    if (fast(n) && shard_->take(n)) [[likely]] {
      return {};
    }
    return try_grow_slowly(n);
  }
  /// Never refused: what the pool does not have is an overdraft, visible to the daemon at once and
  /// repaid first. Errors: kInvalid, kForked.
  Status grow(std::int64_t n) {
    if (fast(n) && shard_->take(n)) [[likely]] {
      return {};
    }
    return grow_slowly(n);
  }
  /// Gives n bytes back; their memory must be free already. kInvalid if n > size(): nothing
  /// changes.
  Status shrink(std::int64_t n) {
    if (fast(n) && shard_->give(n)) [[likely]] {
      return {};
    }
    return shrink_slowly(n);
  }
  /// shrink(), and the size after it.
  Result<std::int64_t> try_shrink(std::int64_t n);
  /// Grows (by grow) or shrinks to n. Not atomic as a whole.
  Status resize(std::int64_t n);
  /// Grows (by try_grow) or shrinks to n. Not atomic as a whole.
  Status try_resize(std::int64_t n);
  /// Gives all back and returns how much that was; 0 the second time.
  std::int64_t free();
  /// Moves n bytes to a new reservation of the same consumer; the pool sees no change.
  /// kInvalid if n > size(): nothing changes.
  Result<MemoryReservation> split(std::int64_t n);
  /// An empty reservation of the same consumer.
  MemoryReservation new_empty() const;
  /// Moves all to a new reservation of the same consumer.
  MemoryReservation take();
  std::int64_t size() const noexcept;

  /// Grows by as much as can be had up to `want`, at least `min`, and returns how much. May wait
  /// for the daemon, for others' releases and for this process's consumers to spill, until
  /// `deadline`. Neither this nor try_grow() may be called holding a lock that a spill call-back
  /// takes. 0 <= min <= want; with min 0 nothing to be had is the answer 0, not an error. On error
  /// nothing has changed: kResourcesExhausted, kTimeout, kGrowInSpill, kClosed, kForked, kInvalid.
  Result<std::int64_t> acquire(std::int64_t min, std::int64_t want, Deadline deadline,
                               const AcquireOptions& options = {});
  /// acquire() without blocking. `done` may be called before this returns.
  AcquireTicket acquire_async(std::int64_t min, std::int64_t want, Deadline deadline,
                              AcquireCallback done, const AcquireOptions& options = {});
  /// For cooperative consumers: bytes it should spill and give back at its next safe point; 0:
  /// none.
  std::int64_t spill_requested() const noexcept;

  /// The consumer it belongs to. Not of a default-constructed one.
  MemoryConsumer consumer() const;
  /// Null for a default-constructed one.
  std::shared_ptr<MemoryPool> pool() const;
  explicit operator bool() const noexcept { return shard_ != nullptr; }

 private:
  friend struct detail::PoolAccess;
  explicit MemoryReservation(detail::CreditShard* shard) noexcept : shard_(shard) {}

  bool fast(std::int64_t n) const noexcept { return shard_ != nullptr && n >= 0; }
  Status try_grow_slowly(std::int64_t n);
  Status grow_slowly(std::int64_t n);
  Status shrink_slowly(std::int64_t n);
  void destroy() noexcept;

  detail::CreditShard* shard_ = nullptr;  // owned; the library knows the rest of it
};

/// While one lives, its consumer is not chosen for spilling. A call-back that runs already is not
/// stopped: the consumer's own lock orders the two.
class NoSpillSection {
 public:
  explicit NoSpillSection(const MemoryConsumer& consumer) noexcept;
  explicit NoSpillSection(const MemoryReservation& reservation) noexcept;
  NoSpillSection(const NoSpillSection&) = delete;
  NoSpillSection& operator=(const NoSpillSection&) = delete;
  ~NoSpillSection();

 private:
  std::shared_ptr<detail::ConsumerState> consumer_;
};

/// A budget that reservations share. Always owned by shared_ptr: reservations keep their pool
/// alive.
///
/// A program may derive its own: override name, limit, reserved, try_grow, grow and shrink, and
/// where wanted register_consumer, unregister_consumer and limit_for. They are called concurrently,
/// try_grow and grow before the reservation's size changes and shrink after, n > 0.
class MemoryPool : public std::enable_shared_from_this<MemoryPool> {
 public:
  /// Grants everything.
  static std::shared_ptr<MemoryPool> unbounded();
  /// First come, first served. A negative size is 0.
  static std::shared_ptr<MemoryPool> greedy(std::int64_t size_bytes);
  /// Of what unspillable consumers leave, each spillable one may have an equal part. Counted are
  /// those that hold or want memory; a consumer's reservations count together; the sum never passes
  /// the size (but by grow).
  static std::shared_ptr<MemoryPool> fair_spill(std::int64_t size_bytes);
  /// Between tasks: each of N active ones may have at most 1/N, and at least 1/2N before it is told
  /// to spill, for which acquire() waits. Consumers register with `task(id)`.
  static std::shared_ptr<TaskFairPool> task_fair(std::int64_t size_bytes);

  /// The same pool; its refusals list the `top_n` largest consumers registered through this handle,
  /// whose peaks are exact, which costs those with several reservations a shared counter.
  /// With a watch (membroker/pool_watch.h) it also sees their peaks and what they really allocate.
  std::shared_ptr<MemoryPool> tracked(std::size_t top_n = 5,
                                      std::shared_ptr<PoolWatch> watch = nullptr);
  /// A child that keeps up to `retained_bytes` once it has them. Here it counts as one consumer,
  /// spillable while one of its own is; who spills is chosen among them as if they were this
  /// pool's.
  std::shared_ptr<NestedPool> nested(std::string name, std::int64_t retained_bytes = 0);

  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;
  virtual ~MemoryPool();

  /// For people: "greedy(used: 50.0 B, pool_size: 100.0 B)".
  virtual std::string describe() const;
  virtual std::string name() const = 0;
  virtual MemoryLimit limit() const = 0;
  virtual std::int64_t reserved() const = 0;
  virtual PoolMetrics metrics() const;
  /// One line per consumer, the k largest, as in refusals.
  std::string report_top(std::size_t k) const;

  virtual Status try_grow(MemoryReservation& reservation, std::int64_t n) = 0;
  virtual void grow(MemoryReservation& reservation, std::int64_t n) = 0;
  virtual void shrink(MemoryReservation& reservation, std::int64_t n) = 0;
  /// See MemoryReservation::acquire, arguments checked. By default: try_grow with want, then min.
  virtual Result<std::int64_t> acquire(MemoryReservation& reservation, std::int64_t min,
                                       std::int64_t want, Deadline deadline,
                                       const AcquireOptions& options);
  virtual void register_consumer(const MemoryConsumer& consumer);
  /// All its bytes have been given back before.
  virtual void unregister_consumer(const MemoryConsumer& consumer);
  virtual MemoryLimit limit_for(const MemoryConsumer& consumer) const;
  /// Who holds how much, the largest first, those with nothing left out; down to the consumers
  /// inside nested pools, where what a nested pool keeps or lends is by its own name. In all it is
  /// what is reserved, if not through a tracked pool, and what nested pools lend. By default: the
  /// consumers of metrics(), and the rest by the pool's name.
  virtual std::vector<PoolHolder> holders() const;

 protected:
  MemoryPool() = default;

 private:
  friend struct detail::PoolAccess;
};

/// See MemoryPool::task_fair.
class TaskFairPool : public MemoryPool {
 public:
  /// The task's pool, the same object for the same id while somebody holds it.
  virtual std::shared_ptr<MemoryPool> task(std::uint64_t id) = 0;
};

/// A child pool over one reservation in its parent. It asks the parent only for what it lacks, and
/// gives back what is free above the retained bytes.
class NestedPool : public MemoryPool {
 public:
  /// Bytes of the workspace lent out by borrow(); they return when it is dropped. Move-only.
  class Loan {
   public:
    Loan() = default;
    Loan(std::shared_ptr<NestedPool> pool, std::int64_t bytes) noexcept
        : pool_(std::move(pool)), bytes_(bytes) {}
    Loan(Loan&& other) noexcept
        : pool_(std::move(other.pool_)), bytes_(std::exchange(other.bytes_, 0)) {}
    Loan& operator=(Loan&& other) noexcept;
    ~Loan();
    std::int64_t bytes() const noexcept { return bytes_; }

   private:
    std::shared_ptr<NestedPool> pool_;  // the loan keeps its pool alive
    std::int64_t bytes_ = 0;
  };

  /// The floor under what is given back to the parent. Takes nothing by itself.
  virtual void retain(std::int64_t bytes) = 0;
  /// Up to n bytes the child holds unused, without asking the parent; maybe 0.
  virtual Loan borrow(std::int64_t n) = 0;
  /// Ends the retaining: gives all unused bytes back to the parent, and the others when free.
  virtual void release_unused() = 0;

 private:
  friend class Loan;
  virtual void end_loan(std::int64_t bytes) = 0;
};

}  // namespace membroker
