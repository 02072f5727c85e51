#pragma once

#include <atomic>
#include <cstdint>

/// \file
/// Part of memory_pool.h; not for direct use.
///
/// Every reservation is a shard of its pool: the pool charges it `charged` bytes, of which it has
/// used `size` and still has `credit`. size = charged - credit. Growth out of the credit and
/// shrinking into it are one compare-and-swap on a line of the shard's own. Everything else, and
/// every move of bytes between shards, happens under the pool's mutex.

namespace membroker::detail {

/// Bytes used by a consumer of a pool without credit, or with several reservations in a tracked
/// one; and the largest use of its reservations that have ended.
struct SharedUse {
  std::atomic<std::int64_t> used{0};
  std::atomic<std::int64_t> peak{0};

  void add(std::int64_t bytes) noexcept {
    raise(peak, used.fetch_add(bytes, std::memory_order_relaxed) + bytes);
  }
  static void raise(std::atomic<std::int64_t>& peak, std::int64_t value) noexcept {
    std::int64_t seen = peak.load(std::memory_order_relaxed);
    while (seen < value && !peak.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
    }
  }
};

/// Thread-safe: take, give, size, peak. The rest: under the pool's mutex.
class alignas(64) CreditShard {
 public:
  // The word: credit in the low 40 bits, flags, and above them a count of the edits, so that a
  // compare-and-swap begun before an edit fails after it. 2^21 edits would have to fall into one.
  static constexpr std::int64_t kCreditMax = (std::int64_t{1} << 40) - 1;
  static constexpr std::uint64_t kBusy = std::uint64_t{1} << 40;    // an edit is under way
  static constexpr std::uint64_t kSlow = std::uint64_t{1} << 41;    // every call goes to the pool
  static constexpr std::uint64_t kShared = std::uint64_t{1} << 42;  // SharedUse is kept
  static constexpr std::uint64_t kEdit = std::uint64_t{1} << 43;

  /// With a process's count of forks the shard works only while that stays what it is: of a lease,
  /// which a forked child must not use. Null: for ever.
  CreditShard(SharedUse* shared, const std::atomic<std::uint64_t>* forks) noexcept
      : shared_(shared),
        forks_(forks != nullptr ? forks : &no_forks_),
        born_(forks_->load(std::memory_order_relaxed)) {}
  CreditShard(const CreditShard&) = delete;
  CreditShard& operator=(const CreditShard&) = delete;

  /// Grows by n >= 0 out of the credit. False: nothing changed, ask the pool.
  bool take(std::int64_t n) noexcept {
    if (cut_off()) [[unlikely]] {
      return false;
    }
    std::uint64_t word = word_.load(std::memory_order_acquire);
    while ((word & (kBusy | kSlow)) == 0) {
      const std::int64_t credit = credit_of(word);
      if (n > credit) return false;
      // Valid if the swap succeeds: an edit changes the word first.
      const std::int64_t charged = charged_.load(std::memory_order_acquire);
      if (word_.compare_exchange_weak(word, word - static_cast<std::uint64_t>(n),
                                      std::memory_order_acq_rel, std::memory_order_acquire)) {
        const std::int64_t size = charged - credit + n;
        if (size > peak_.load(std::memory_order_relaxed)) SharedUse::raise(peak_, size);
        if ((word & kShared) != 0) shared_->add(n);
        return true;
      }
    }
    return false;
  }

  /// Shrinks by n >= 0 into the credit. False: nothing changed, ask the pool (which also finds out
  /// whether n is more than the size).
  bool give(std::int64_t n) noexcept {
    if (cut_off()) [[unlikely]] {
      return false;
    }
    std::uint64_t word = word_.load(std::memory_order_acquire);
    while ((word & (kBusy | kSlow)) == 0) {
      const std::int64_t credit = credit_of(word);
      const std::int64_t size = charged_.load(std::memory_order_acquire) - credit;
      if (n > size || n > credit_limit_.load(std::memory_order_relaxed) - credit) return false;
      if (word_.compare_exchange_weak(word, word + static_cast<std::uint64_t>(n),
                                      std::memory_order_acq_rel, std::memory_order_acquire)) {
        if ((word & kShared) != 0) shared_->used.fetch_sub(n, std::memory_order_relaxed);
        return true;
      }
    }
    return false;
  }

  std::int64_t size() const noexcept {
    for (;;) {
      const std::uint64_t before = word_.load(std::memory_order_acquire);
      const std::int64_t charged = charged_.load(std::memory_order_acquire);
      const bool steady = (before & kBusy) == 0 && word_.load(std::memory_order_relaxed) == before;
      // An edit under way at the fork never ends in the child.
      if (steady || cut_off()) return charged - credit_of(before);
    }
  }
  /// Largest size so far, or since reset_peak.
  std::int64_t peak() const noexcept { return peak_.load(std::memory_order_relaxed); }
  void reset_peak() noexcept { peak_.store(size(), std::memory_order_relaxed); }

  // ---- of a pool that hands out no credit: thread-safe, charged is the size ----

  void add_plain(std::int64_t n) noexcept {
    move_plain(n);
    shared_->add(n);
  }
  /// False: n is more than the size; nothing changed.
  bool sub_plain(std::int64_t n) noexcept {
    if (!take_plain(n)) return false;
    shared_->used.fetch_sub(n, std::memory_order_relaxed);
    return true;
  }
  // The same between two reservations of one consumer.
  void move_plain(std::int64_t n) noexcept {
    SharedUse::raise(peak_, charged_.fetch_add(n, std::memory_order_acq_rel) + n);
  }
  bool take_plain(std::int64_t n) noexcept {
    std::int64_t size = charged_.load(std::memory_order_acquire);
    while (n <= size) {
      if (charged_.compare_exchange_weak(size, size - n, std::memory_order_acq_rel)) return true;
    }
    return false;
  }

  // ---- under the pool's mutex ----

  struct Contents {
    std::int64_t charged = 0;
    std::int64_t credit = 0;
    bool slow = false;
    bool shared = false;

    std::int64_t size() const { return charged - credit; }
  };

  /// Stops take and give; close() ends it. What is read is exact until then.
  Contents open() noexcept {
    const std::uint64_t word = word_.fetch_or(kBusy, std::memory_order_acq_rel);
    return {charged_.load(std::memory_order_relaxed), credit_of(word), (word & kSlow) != 0,
            (word & kShared) != 0};
  }
  /// Stores `now`, keeping peak and SharedUse in step with the change of size since `was`.
  void close(const Contents& was, const Contents& now) noexcept {
    if (now.size() > peak_.load(std::memory_order_relaxed)) SharedUse::raise(peak_, now.size());
    if (now.shared) shared_->add(now.size() - (was.shared ? was.size() : 0));
    charged_.store(now.charged, std::memory_order_release);
    const std::uint64_t edits = (word_.load(std::memory_order_relaxed) & ~(kEdit - 1)) + kEdit;
    word_.store(edits | static_cast<std::uint64_t>(now.credit) | (now.slow ? kSlow : 0) |
                    (now.shared ? kShared : 0),
                std::memory_order_release);
  }
  std::uint64_t word() const noexcept { return word_.load(std::memory_order_relaxed); }
  void set_credit_limit(std::int64_t bytes) noexcept {
    credit_limit_.store(bytes, std::memory_order_relaxed);
  }
  std::int64_t credit_limit() const noexcept {
    return credit_limit_.load(std::memory_order_relaxed);
  }

 private:
  bool cut_off() const noexcept { return forks_->load(std::memory_order_relaxed) != born_; }
  static std::int64_t credit_of(std::uint64_t word) noexcept {
    return static_cast<std::int64_t>(word & static_cast<std::uint64_t>(kCreditMax));
  }

  inline static constinit const std::atomic<std::uint64_t> no_forks_{0};

  std::atomic<std::uint64_t> word_{0};
  std::atomic<std::int64_t> charged_{0};
  std::atomic<std::int64_t> peak_{0};
  std::atomic<std::int64_t> credit_limit_{0};
  SharedUse* const shared_;  // of the consumer, which outlives its reservations
  const std::atomic<std::uint64_t>* const forks_;  // read only but for the fork's: no line moves
  const std::uint64_t born_;
};

}  // namespace membroker::detail
