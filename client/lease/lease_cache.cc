#include "client/lease/lease_cache.h"

#include <algorithm>

#include "client/lease/lease_turn.h"
#include "shared/check.h"

namespace membroker::lease {

LeaseCache::LeaseCache(LeaseCacheOptions options) : options_(std::move(options)) {
  MB_CHECK(options_.now && options_.policy != nullptr);
  if (!options_.borrows) state_.on_attached({options_.capacity, 0, 0}, 0, 0);
}

LeaseCache::~LeaseCache() = default;

void LeaseCache::connect(std::shared_ptr<LeaseSource> source) {
  std::shared_ptr<LeaseSource> old;  // let go of after the lock
  {
    Turn turn(*this);
    old = std::exchange(source_, std::move(source));
  }
}

void LeaseCache::close(Error why) {
  Turn turn(*this);
  if (!closed_) closed_ = std::move(why);
  turn.notify = true;
}

void LeaseCache::add(LeaseShard& shard) {
  Turn turn(*this);
  book_.add(shard);
}

void LeaseCache::remove(LeaseShard& shard) {
  Turn turn(*this);
  MB_CHECK(release(shard, shard.size()) >= 0);
  state_.unreserve(book_.drain(shard));
  book_.remove(shard);
}

void LeaseCache::set_shared(LeaseShard& shard) {
  Turn turn(*this);
  book_.set_shared(shard);
}

void LeaseCache::set_can_spill(ShardAccount& account, bool can_spill) {
  const std::lock_guard lock(mutex_);
  book_.set_can_spill(account, can_spill);
}

// ---- taking and giving ----

Bytes LeaseCache::room(const ShardAccount& account) const {
  if (frozen()) return 0;
  const Bytes share = options_.policy->share(account, book_.sums(), state_.size());
  return std::max<Bytes>(0, std::min(state_.free() + room_beyond(), share - account.charged));
}

bool LeaseCache::someone_lacks() const {
  return std::any_of(waiters_.begin(), waiters_.end(),
                     [this](const LeaseWaiter* waiter) { return waiter->got < due(*waiter); });
}

// True: bytes that come free belong to a waiter. One at the end of its share holds nobody up.
bool LeaseCache::someone_is_next() const {
  return std::any_of(waiters_.begin(), waiters_.end(), [this](const LeaseWaiter* waiter) {
    const ShardAccount& account = *waiter->shard->account;
    return waiter->got < due(*waiter) &&
           options_.policy->share(account, book_.sums(), state_.size()) > account.charged;
  });
}

// What it must get before it is answered: what it needs, and what its task is sure of.
Bytes LeaseCache::due(const LeaseWaiter& waiter) const {
  const Bytes sure =
      options_.policy->guaranteed(*waiter.shard->account, book_.sums(), state_.size());
  return std::max(waiter.min, std::min(waiter.want, waiter.got + sure));
}

bool LeaseCache::take_locked(LeaseShard& shard, Bytes n, Turn& turn) {
  state_.unreserve(book_.drain(shard));
  if (!book_.slow() && options_.policy->moves_shares(*shard.account)) {
    state_.unreserve(book_.sweep());
  }
  if (room(*shard.account) < n && !book_.swept()) {
    // Credit of others may be what is missing. Slow at least until this is decided: bytes given
    // back to a shard already swept, while others take out of one not yet swept, would slip past.
    // If it was memory that is short, no credit is handed out afterwards either.
    short_ = short_ || state_.free() < n;
    book_.set_slow(true);
    state_.unreserve(book_.sweep());
    // What others gave back belongs first to those it is owed to.
    settle(turn);
  }
  const Bytes spare = room(*shard.account) - n;
  if (spare < 0) return false;
  const Bytes limit = shard.watched ? 0 : book_.credit_limit(state_.cap());
  const Bytes unused = std::max<Bytes>(0, state_.free() - n);  // no credit beyond the lease
  const Bytes credit = std::min({limit / 2, spare / 4, unused});
  claim(n + credit);
  book_.grow(shard, n, credit);
  shard.set_credit_limit(limit);
  return true;
}

bool LeaseCache::take(LeaseShard& shard, Bytes n) {
  Turn turn(*this);
  if (closed_ || someone_is_next() || !take_locked(shard, n, turn)) return false;
  prefetch(turn);
  return true;
}

void LeaseCache::hold(LeaseWaiter& waiter, Bytes n) {
  claim(n);
  book_.charge(*waiter.shard->account, n);
  waiter.got += n;
}

void LeaseCache::drop_hold(LeaseWaiter& waiter) {
  state_.unreserve(waiter.got);
  book_.charge(*waiter.shard->account, -waiter.got);
  waiter.got = 0;
}

void LeaseCache::grow(LeaseShard& shard, Bytes n) {
  Turn turn(*this);
  if (!closed_ && !someone_is_next() && take_locked(shard, n, turn)) return;
  state_.unreserve(book_.drain(shard));
  const Bytes missing = state_.overdraw(n);
  counters_.overdrawn_total += missing;
  book_.grow(shard, n, 0);
  counters_.peak_held = std::max(counters_.peak_held, state_.totals().held());
  counters_.peak_reserved = std::max(counters_.peak_reserved, state_.reserved());
  if (missing > 0) turn.tell(true);
}

// Returns what is no longer charged; below 0, and nothing changed, if n is more than the size.
Bytes LeaseCache::release(LeaseShard& shard, Bytes n) {
  const Bytes keep = std::min(book_.credit_limit(state_.cap()), shard.credit_limit()) / 2;
  const Bytes released = book_.shrink(shard, n, keep);
  if (released > 0) state_.unreserve(released);
  return released;
}

bool LeaseCache::give(LeaseShard& shard, Bytes n) {
  Turn turn(*this);
  return release(shard, n) >= 0;
}

bool LeaseCache::move(LeaseShard& from, LeaseShard& to, Bytes n) {
  Turn turn(*this);
  return book_.move(from, to, n);
}

// ---- after every entry ----

void LeaseCache::settle(Turn& turn) {
  while (return_owed(turn) || serve_workspace(turn) || serve_waiters(turn) || update_mode()) {
  }
  count_revocation();
  if (!ticking_ && options_.borrows && state_.free() > 0) {
    ticking_ = true;
    turn.notify = true;
  }
}

bool LeaseCache::return_owed(Turn& turn) {
  Bytes returned = state_.give_back();
  if (closed_ && options_.borrows) {
    const Bytes rest = state_.begin_return(state_.free());
    state_.finish_return(rest);
    returned += rest;
  }
  if (returned == 0) return false;
  if (!alone()) turn.tell(true);  // else the next Hello does
  turn.notify = true;
  return true;
}

bool LeaseCache::serve_waiters(Turn& turn) {
  bool served = false;
  for (LeaseWaiter* waiter : waiters_) {
    const Bytes missing = due(*waiter) - waiter->got;
    if (missing <= 0) continue;
    const Bytes given = std::min(missing, room(*waiter->shard->account));
    if (given == 0) continue;
    hold(*waiter, given);
    served = true;
  }
  turn.notify = turn.notify || served;
  return served;
}

// True if bytes came free by it.
bool LeaseCache::update_mode() {
  if (short_ && state_.free() > state_.cap() / kIdleKeepDivisor) short_ = false;
  const bool slow = closed_.has_value() || frozen() || short_ || spills_ > 0 || state_.debt() > 0 ||
                    state_.revocation() != nullptr || someone_lacks();
  book_.set_slow(slow);
  if (!slow || book_.swept()) return false;
  const Bytes swept = book_.sweep();
  state_.unreserve(swept);
  return swept > 0;
}

void LeaseCache::count_revocation() {
  if (!counted_) return;
  const LeaseState::OpenRevocation* open = state_.revocation();
  if (open != nullptr && open->asked.id == counted_) return;
  counted_ = {};
  ++counters_.revocations_answered;
  if (now() > counted_deadline_) ++counters_.revocations_late;
}

void LeaseCache::begin_spill() {
  Turn turn(*this);
  ++spills_;
}

void LeaseCache::end_spill() {
  Turn turn(*this);
  --spills_;
}

Instant LeaseCache::tick() {
  Turn turn(*this);
  const Instant at = now();
  const bool asks = workspace_.wanted && !workspace_.request && workspace_.ask_again > at;
  const Instant ask = asks ? workspace_.ask_again : Instant::never();
  if (!options_.borrows || !ticking_) return ask;
  if (at < tick_due_) return std::min(ask, tick_due_);
  state_.unreserve(book_.collect_idle());
  // While the daemon is away nobody could have it, and this client could not get it back.
  const Bytes idle = attached_ ? state_.idle(at) : 0;
  if (idle > 0) {
    const Bytes returned = state_.begin_return(idle);
    state_.finish_return(returned);
    turn.tell(false);
  }
  // Credit in use turns up here when it is idle, at the latest with the last shard's end.
  ticking_ = state_.free() > 0 || state_.reserved() > 0;
  tick_due_ = at + kIdleSoon;
  return ticking_ ? std::min(ask, tick_due_) : ask;
}

// ---- figures ----

Bytes LeaseCache::size() const {
  const std::lock_guard lock(mutex_);
  return state_.size();
}

Bytes LeaseCache::used() const {
  const std::lock_guard lock(mutex_);
  return book_.used();
}

Bytes LeaseCache::debt() const {
  const std::lock_guard lock(mutex_);
  return state_.debt();
}

Bytes LeaseCache::share(const ShardAccount& account) {
  Turn turn(*this);
  state_.unreserve(book_.sweep());
  settle(turn);
  return std::min(state_.size(), options_.policy->share(account, book_.sums(), state_.size()));
}

Bytes LeaseCache::peak(const ShardAccount& account) const {
  const std::lock_guard lock(mutex_);
  return account.peak;
}

void LeaseCache::reset_peak(ShardAccount& account, std::span<LeaseShard* const> shards) {
  Turn turn(*this);
  for (LeaseShard* shard : shards) state_.unreserve(book_.drain(*shard));
  account.peak = account.charged - account.on_its_way;
}

LeaseCounters LeaseCache::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

}  // namespace membroker::lease
