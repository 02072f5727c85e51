#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "client/lease/lease_source.h"
#include "client/lease/lease_state.h"
#include "client/lease/shard_book.h"
#include "client/lease/share_policy.h"

/// \file
/// A lease shared by the reservations of one process. The shards serve themselves while their
/// credit lasts; what comes here takes the one mutex. It never waits and knows no clock but the one
/// handed in: who must wait polls a LeaseWaiter whenever `changed` was called.
///
/// Order of service for bytes that become free: debt, the open revocation, the workspace of a
/// client that was lent no floor, waiters by priority and arrival, then whoever comes.
///
/// Thread-safe. Neither the source nor a hook is called with the mutex held.

namespace membroker::lease {

/// As membroker::WhenAway.
enum class WhenAway { kFail, kWait, kKeep, kStandalone };

struct LeaseCacheOptions {
  bool borrows = true;  // false: a pool of its own `capacity`, no source will come
  Bytes capacity = 0;   // if it does not borrow
  Bytes floor = 0;      // to ask for
  Bytes workspace = 0;  // to be asked for and kept, where no floor is lent; 0: none
  WhenAway when_away = WhenAway::kWait;
  Bytes standalone = 0;  // what may be held then, if kStandalone
  std::int32_t priority = 0;
  std::unique_ptr<SharePolicy> policy = std::make_unique<GreedyPolicy>();
  std::function<Instant()> now;
  std::function<void()> changed;       // a waiter, the spiller or the ticker has something to do
  std::function<Bytes()> reclaimable;  // for figures(); each may be empty
  std::function<Bytes()> allocated;
  std::function<Bytes()> spilled;
};

/// Why bytes were not to be had.
struct LeaseRefusal {
  ErrorCode code = ErrorCode::kResourcesExhausted;
  std::string reason;
  Bytes available = 0;
  std::optional<Error> cause;  // the daemon's or the connection's word
};

enum class WaitState { kDone, kRefused, kWait };

/// One call that may wait. Filled in by the caller, who polls it until it is done or refused, or
/// cancels it; its shard must live as long.
struct LeaseWaiter {
  LeaseShard* shard = nullptr;
  Bytes min = 0;
  Bytes want = 0;
  Instant deadline = Instant::never();
  std::int32_t priority = 0;
  bool brief = false;  // try_grow: all or nothing, no spill, its request outlives it

  // The rest is the cache's.
  std::uint64_t id = 0;
  Bytes got = 0;  // reserved for it and charged to its account, not in its shard yet
  bool queued = false;
  bool asked = false;
  RequestId request;
  Instant ask_again;
  Bytes spill_target = 0;  // what `got` is to reach by local spilling
  bool spill_failed = false;
  std::optional<Error> last_denial;
  std::optional<LeaseRefusal> refusal;
};

struct WaitStep {
  WaitState state = WaitState::kWait;
  Bytes granted = 0;
  LeaseRefusal refusal;
  Instant look_again = Instant::never();  // poll then, if `changed` did not come before
};

/// What the spiller should free now.
struct SpillNeed {
  Bytes bytes = 0;
  Instant deadline;
  bool revocation = false;
  ShardAccount* asker = nullptr;  // of the waiter it is for
  TaskAccount* task = nullptr;    // only its consumers may be asked; null: all
  bool only_asker = false;        // others' bytes would not help: its share is the limit
  std::uint64_t id = 0;           // of the revocation or the waiter
};

/// A step on the way to the spill workspace.
struct WorkspaceStep {
  bool wait = false;         // poll again when `changed` was called
  Bytes granted = 0;         // now the shard's
  Bytes to_acquire = 0;      // as any caller does: the floor has room for it, or it was had before
  std::optional<Error> why;  // not there yet: what was last said against it
  std::optional<Error> refusal;  // it will not come
};

struct LeaseCounters {
  Bytes peak_held = 0;
  Bytes peak_reserved = 0;  // with the shards' credit: a sum of sizes would need a shared counter
  Bytes overdrawn_total = 0;
  std::uint64_t requests_asked = 0;
  std::uint64_t requests_granted = 0;
  std::uint64_t requests_denied = 0;
  std::uint64_t revocations_asked = 0;
  std::uint64_t revocations_answered = 0;
  std::uint64_t revocations_late = 0;
};

class LeaseCache final : public LeaseListener {
 public:
  /// How long a try_grow waits, and how long its request lives.
  static constexpr Millis kBriefWait = 50;
  static constexpr Millis kStandingWait = 5'000;
  /// A workspace with less is of no use.
  static constexpr Bytes kWorkspaceMin = kMiB;

  explicit LeaseCache(LeaseCacheOptions options);
  ~LeaseCache() override;

  void connect(std::shared_ptr<LeaseSource> source);
  void close(Error why);

  // ---- shards ----

  void add(LeaseShard& shard);
  /// Gives back what it holds, then forgets it.
  void remove(LeaseShard& shard);
  /// From now on its use is counted in its SharedUse too.
  void set_shared(LeaseShard& shard);
  /// The account counts as spillable in its pool from now on, or no longer. Calls nobody.
  void set_can_spill(ShardAccount& account, bool can_spill);

  /// From what this process has; no message. False: not now; nothing changed.
  bool take(LeaseShard& shard, Bytes n);
  /// Infallible; what is missing is overdrawn.
  void grow(LeaseShard& shard, Bytes n);
  /// False: n is more than the size; nothing changed.
  bool give(LeaseShard& shard, Bytes n);
  bool move(LeaseShard& from, LeaseShard& to, Bytes n);

  // ---- waiting ----

  WaitStep poll(LeaseWaiter& waiter);
  /// Ends a waiter that was neither done nor refused: what it got is free again.
  void cancel(LeaseWaiter& waiter);
  /// Once granted, the next call gives nothing but a hint to acquire.
  WorkspaceStep poll_workspace(LeaseShard& shard);

  // ---- for the pool's thread ----

  std::optional<SpillNeed> spill_need();
  /// Nobody (more) can spill for it. The revocation is answered, or the waiter refused.
  void spill_failed(const SpillNeed& need, const std::string& why);
  /// While any is under way every freed byte comes here.
  void begin_spill();
  void end_spill();
  /// Returns idle bytes; says when to call again (never: when `changed` is called).
  Instant tick();

  // ---- figures ----

  Bytes size() const;  // of the lease, or the capacity
  Bytes capacity() const { return options_.capacity; }
  Bytes used() const;
  Bytes debt() const;
  Bytes share(const ShardAccount& account);  // takes the shards' unused credit back first
  /// The most that the account's shards were charged, unused credit included, so far or since
  /// reset_peak().
  Bytes peak(const ShardAccount& account) const;
  /// Takes the unused credit of `shards`, all of the account's that have some, back first.
  void reset_peak(ShardAccount& account, std::span<LeaseShard* const> shards);
  LeaseCounters counters() const;

  LeaseFigures figures() override;
  LeaseTotals totals() const override;
  void on_attached(const LeaseTotals& daemon, Bytes floor, Bytes debt) override;
  void on_detached(const Error& why, bool final) override;
  void on_lease_set(const LeaseTotals& daemon, Bytes debt) override;
  void on_granted(RequestId id, Bytes bytes, Bytes granted_total) override;
  void on_denied(RequestId id, const Error& error) override;
  void on_revoke(const Revocation& revocation) override;
  void on_pulse(bool tight, Bytes chunk) override;

 private:
  class Turn;  // holds the mutex; at its end settles, unlocks, then speaks to source and hooks
  struct Progress {
    RevocationId id;
    Bytes target = 0;
    RevokeState state = RevokeState::kWorking;
    std::string reason;
  };

  Instant now() const { return options_.now(); }
  bool is_away() const;
  bool frozen() const;
  bool alone() const;
  bool waits_for_daemon() const;
  Bytes room_beyond() const;
  void claim(Bytes n);
  LeaseRefusal away_refusal(Bytes asked) const;
  Bytes room(const ShardAccount& account) const;
  bool take_locked(LeaseShard& shard, Bytes n, Turn& turn);
  Bytes release(LeaseShard& shard, Bytes n);
  void hold(LeaseWaiter& waiter, Bytes n);
  void drop_hold(LeaseWaiter& waiter);
  bool someone_lacks() const;
  bool someone_is_next() const;
  Bytes due(const LeaseWaiter& waiter) const;

  void settle(Turn& turn);
  bool return_owed(Turn& turn);
  bool serve_waiters(Turn& turn);
  bool update_mode();
  void count_revocation();

  bool fetch_answer(LeaseWaiter& waiter);
  void note_denial(LeaseWaiter& waiter, const Error& error);
  Bytes to_free_for(const LeaseWaiter& waiter, const Denial& denial) const;
  WaitStep poll_brief(LeaseWaiter& waiter, Turn& turn);
  WaitStep poll_acquire(LeaseWaiter& waiter, Turn& turn);
  void ask(LeaseWaiter& waiter, Turn& turn);
  void ask_for_less(LeaseWaiter& waiter, Turn& turn);
  void ask_for_spill(LeaseWaiter& waiter);
  void lower_requests(bool floor_came, Turn& turn);
  WaitStep finish(LeaseWaiter& waiter);
  WaitStep refuse(LeaseWaiter& waiter, LeaseRefusal refusal);
  WaitStep refuse_finally(LeaseWaiter& waiter, Turn& turn);
  void forget(LeaseWaiter& waiter);
  bool standing_open() const;
  void prefetch(Turn& turn);
  LeaseRequest open(Bytes min, Bytes want, Instant deadline, Turn& turn);

  Bytes workspace_min() const;
  void decide_workspace(Bytes floor);
  bool serve_workspace(Turn& turn);
  bool fetch_workspace_answer();
  void end_workspace(Turn& turn);
  bool drop_workspace();

  struct Workspace {
    bool wanted = false;  // not all there: callers' requests are not sent
    bool alone = false;   // left to be acquired while the daemon was away
    Bytes held = 0;       // reserved, and in no shard yet
    RequestId request;
    Instant ask_again;
    std::optional<Error> denied;
  };

  const LeaseCacheOptions options_;
  mutable std::mutex mutex_;  // guards all below
  LeaseState state_;
  ShardBook book_;
  std::vector<LeaseWaiter*> waiters_;    // acquires, in order of service
  std::shared_ptr<LeaseSource> source_;  // shared: a call may be under way when it is replaced
  bool attached_ = false;
  bool ever_attached_ = false;
  std::optional<Error> away_;    // why not attached
  std::optional<Error> final_;   // the connection's last word
  std::optional<Error> closed_;  // why nothing grows any more
  std::uint64_t last_waiter_ = 0;
  Workspace workspace_;
  RequestId standing_;  // the request of a try_grow, or a prefetch
  Instant standing_since_;
  bool standing_is_prefetch_ = false;
  Instant prefetch_after_;
  bool short_ = false;  // a refusal or a sweep was needed lately: credit would strand bytes
  int spills_ = 0;
  bool ticking_ = false;  // the pool's thread calls tick() by time
  Instant tick_due_;
  RevocationId counted_;  // the open revocation, until it ends
  Instant counted_deadline_;
  LeaseCounters counters_;
};

}  // namespace membroker::lease
