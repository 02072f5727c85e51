#pragma once

#include <cstddef>

#include "membroker/detail/credit_shard.h"
#include "shared/bytes.h"

/// \file
/// The shards of one pool: who is charged how much, and the one way to get unused credit back.
/// Under its owner's mutex; only the shards' own fast path runs beside it.

namespace membroker::lease {

/// What a task's consumers are charged together.
struct TaskAccount {
  Bytes charged = 0;
  int waiting = 0;  // acquires under way

  bool active() const { return charged > 0 || waiting > 0; }
};

/// A consumer's part.
struct ShardAccount {
  Bytes charged = 0;     // over all its shards, credit included, and what is on its way to them
  Bytes on_its_way = 0;  // gathered for a waiter, which may get none of it in the end
  Bytes peak = 0;        // of what its shards were charged
  bool can_spill = false;
  int waiting = 0;  // acquires under way
  TaskAccount* task = nullptr;

  bool active() const { return charged > 0 || waiting > 0; }
};

/// One reservation. The list and the account are the book's.
struct LeaseShard : detail::CreditShard {
  /// `forks` as of CreditShard.
  LeaseShard(detail::SharedUse* shared, ShardAccount& its_account,
             const std::atomic<std::uint64_t>* forks = nullptr) noexcept
      : CreditShard(shared, forks), account(&its_account) {}

  ShardAccount* const account;
  LeaseShard* next = nullptr;
  LeaseShard* previous = nullptr;
  std::uint64_t seen_word = 0;  // at the last collect_idle()
  bool watched = false;         // every call is to be seen: it gets no credit. Fixed when added
};

/// Sums over the accounts, for policies.
struct BookSums {
  Bytes spillable = 0;
  Bytes unspillable = 0;
  std::size_t spillable_active = 0;  // accounts that hold or want anything
  std::size_t tasks_active = 0;
};

class ShardBook {
 public:
  // One that goes up and down by less than half of it needs the pool only once.
  static constexpr Bytes kCreditUsual = 2 * kMiB;
  static constexpr Bytes kCreditLimitMax = 16 * kMiB;

  void add(LeaseShard& shard);
  /// The shard must be charged nothing.
  void remove(LeaseShard& shard);
  void set_shared(LeaseShard& shard);

  /// While slow, shards get no credit and send every call to the pool.
  void set_slow(bool slow);
  bool slow() const { return slow_; }
  /// True: no shard has credit, and none will before set_slow(false).
  bool swept() const { return swept_; }

  /// Takes all credit of all shards; returns how much it was, which is no longer charged.
  /// While slow it also makes every shard slow.
  Bytes sweep();
  /// The same for one shard.
  Bytes drain(LeaseShard& shard);
  /// Takes the credit of shards that were not used since the last call.
  Bytes collect_idle();

  /// Grows the shard by n; `credit` more becomes its new credit (beside what it uses of the old).
  /// Returns what was charged in addition: n + credit - old credit; may be below 0.
  Bytes grow(LeaseShard& shard, Bytes n, Bytes credit);
  /// Shrinks by n, keeping at most `credit` as credit. Returns what is no longer charged, or -1 and
  /// nothing changed if n is above the size.
  Bytes shrink(LeaseShard& shard, Bytes n, Bytes credit);
  /// Moves n from one shard to another of the same account. False: n is above the size.
  bool move(LeaseShard& from, LeaseShard& to, Bytes n);

  /// What each shard may keep as credit, of a lease of `cap`.
  Bytes credit_limit(Bytes cap) const;

  /// Charges bytes that are on their way to a shard of the account, or no longer (by < 0).
  void charge(ShardAccount& account, Bytes by);
  /// The account counts as spillable from now on, or no longer.
  void set_can_spill(ShardAccount& account, bool can_spill);
  /// An acquire of the account begins (by 1) or ends (by -1).
  void count_waiting(ShardAccount& account, int by);

  Bytes used() const;  // sum of sizes
  const BookSums& sums() const { return sums_; }

 private:
  void change(ShardAccount& account, Bytes bytes, int waiting);

  LeaseShard* first_ = nullptr;
  std::size_t count_ = 0;
  BookSums sums_;
  bool slow_ = false;
  bool swept_ = false;
};

}  // namespace membroker::lease
