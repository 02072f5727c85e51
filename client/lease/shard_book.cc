#include "client/lease/shard_book.h"

#include <algorithm>

#include "shared/check.h"

namespace membroker::lease {
namespace {

using Contents = detail::CreditShard::Contents;

void count(std::size_t& active, bool one_more) {
  if (one_more) {
    ++active;
  } else {
    --active;
  }
}

}  // namespace

void ShardBook::add(LeaseShard& shard) {
  shard.previous = nullptr;
  shard.next = first_;
  if (first_ != nullptr) first_->previous = &shard;
  first_ = &shard;
  ++count_;
  const Contents was = shard.open();
  Contents now = was;
  now.slow = slow_;
  shard.close(was, now);
}

void ShardBook::remove(LeaseShard& shard) {
  const Contents contents = shard.open();
  MB_CHECK(contents.charged == 0);
  shard.close(contents, contents);
  if (shard.previous != nullptr) shard.previous->next = shard.next;
  if (shard.next != nullptr) shard.next->previous = shard.previous;
  if (first_ == &shard) first_ = shard.next;
  shard.next = shard.previous = nullptr;
  --count_;
}

void ShardBook::set_shared(LeaseShard& shard) {
  const Contents was = shard.open();
  Contents now = was;
  now.shared = true;
  shard.close(was, now);
}

void ShardBook::set_slow(bool slow) {
  if (slow_ == slow) return;
  slow_ = slow;
  swept_ = false;  // shards leave slow mode one by one, at their next call
}

void ShardBook::charge(ShardAccount& account, Bytes by) {
  if (by == 0) return;
  account.on_its_way += by;
  change(account, by, 0);
}

void ShardBook::set_can_spill(ShardAccount& account, bool can_spill) {
  if (account.can_spill == can_spill) return;
  account.can_spill = can_spill;
  const Bytes moved = can_spill ? account.charged : -account.charged;
  sums_.spillable += moved;
  sums_.unspillable -= moved;
  if (account.active()) count(sums_.spillable_active, can_spill);
}

void ShardBook::count_waiting(ShardAccount& account, int by) { change(account, 0, by); }

void ShardBook::change(ShardAccount& account, Bytes bytes, int waiting) {
  if (TaskAccount* task = account.task; task != nullptr) {
    const bool was_active = task->active();
    task->charged += bytes;
    task->waiting += waiting;
    if (task->active() != was_active) count(sums_.tasks_active, !was_active);
  }
  const bool was_active = account.active();
  account.charged += bytes;
  account.peak = std::max(account.peak, account.charged - account.on_its_way);
  account.waiting += waiting;
  MB_CHECK(account.charged >= 0 && account.waiting >= 0);
  if (!account.can_spill) {
    sums_.unspillable += bytes;
    return;
  }
  sums_.spillable += bytes;
  if (account.active() != was_active) count(sums_.spillable_active, !was_active);
}

Bytes ShardBook::sweep() {
  if (swept_) return 0;
  Bytes collected = 0;
  for (LeaseShard* shard = first_; shard != nullptr; shard = shard->next) {
    collected += drain(*shard);
  }
  swept_ = slow_;
  return collected;
}

Bytes ShardBook::collect_idle() {
  Bytes collected = 0;
  for (LeaseShard* shard = first_; shard != nullptr; shard = shard->next) {
    const std::uint64_t word = shard->word();
    const bool has_credit = (word & static_cast<std::uint64_t>(LeaseShard::kCreditMax)) != 0;
    if (has_credit && word == shard->seen_word) collected += drain(*shard);
    shard->seen_word = shard->word();
  }
  return collected;
}

Bytes ShardBook::drain(LeaseShard& shard) {
  const Contents was = shard.open();
  Contents now = was;
  now.charged -= was.credit;
  now.credit = 0;
  now.slow = slow_;
  shard.close(was, now);
  change(*shard.account, -was.credit, 0);
  return was.credit;
}

Bytes ShardBook::grow(LeaseShard& shard, Bytes n, Bytes credit) {
  const Contents was = shard.open();
  Contents now = was;
  now.credit = credit;
  now.charged = was.size() + n + credit;
  now.slow = slow_;
  shard.close(was, now);
  change(*shard.account, now.charged - was.charged, 0);
  return now.charged - was.charged;
}

Bytes ShardBook::shrink(LeaseShard& shard, Bytes n, Bytes credit) {
  const Contents was = shard.open();
  if (n > was.size()) {
    shard.close(was, was);
    return -1;
  }
  Contents now = was;
  now.credit = std::min(was.credit + n, credit);
  now.charged = was.size() - n + now.credit;
  now.slow = slow_;
  shard.close(was, now);
  change(*shard.account, now.charged - was.charged, 0);
  return was.charged - now.charged;
}

bool ShardBook::move(LeaseShard& from, LeaseShard& to, Bytes n) {
  MB_CHECK(from.account == to.account);
  const Contents from_was = from.open();
  if (n > from_was.size()) {
    from.close(from_was, from_was);
    return false;
  }
  // A size on its way is in neither shard for a moment: the sum is never too high, so no peak is
  // seen that was not there.
  Contents from_now = from_was;
  from_now.charged -= n;
  from.close(from_was, from_now);
  const Contents to_was = to.open();
  Contents to_now = to_was;
  to_now.charged += n;
  to.close(to_was, to_now);
  return true;
}

Bytes ShardBook::credit_limit(Bytes cap) const {
  if (slow_) return 0;
  // Enough for a reservation that goes up and down by pages of mixed sizes, as far as half of a
  // lease goes; of a large lease a 64th for all. What is stranded so comes back by a sweep before
  // anybody is refused.
  const auto shards = static_cast<Bytes>(std::max<std::size_t>(2, count_));
  const Bytes usual = std::min(kCreditUsual, cap / 2 / shards);
  return std::clamp(cap / 64 / shards, usual, kCreditLimitMax);
}

Bytes ShardBook::used() const {
  Bytes used = 0;
  for (const LeaseShard* shard = first_; shard != nullptr; shard = shard->next) {
    used += shard->size();
  }
  return used;
}

}  // namespace membroker::lease
