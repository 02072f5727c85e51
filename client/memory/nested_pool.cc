#include "client/memory/nested_pool.h"

#include <algorithm>
#include <utility>

#include "client/memory/holders.h"
#include "client/memory/refusal.h"
#include "shared/check.h"

namespace membroker {
namespace detail {

std::shared_ptr<Nested> Nested::make(std::shared_ptr<MemoryPool> parent, std::string name,
                                     Bytes retained) {
  auto nested = std::make_shared<Nested>(std::move(parent), std::move(name), retained);
  MemoryConsumer consumer(nested->name_);
  PoolAccess::state(consumer)->stands_for_pool = true;
  PoolAccess::state(consumer)->inner = nested;
  nested->held_ = consumer.register_with(nested->parent_);
  return nested;
}

Nested::Nested(std::shared_ptr<MemoryPool> parent, std::string name, Bytes retained)
    : parent_(std::move(parent)), name_(std::move(name)), retained_(std::max<Bytes>(0, retained)) {}

std::string Nested::describe() const {
  const std::string parent = parent_->describe();
  const std::lock_guard lock(mutex_);
  return name_ + "(used: " + readable_size(used_) + ", held: " + readable_size(held_bytes_) +
         ", parent: " + parent + ")";
}

std::int64_t Nested::reserved() const {
  const std::lock_guard lock(mutex_);
  return used_;
}

PoolMetrics Nested::metrics() const {
  PoolMetrics metrics;
  metrics.name = name_;
  metrics.limit = limit();
  metrics.consumers = consumer_metrics(consumers_.all(), nullptr);
  const std::lock_guard lock(mutex_);
  metrics.reserved_bytes = used_;
  metrics.refusals = refusals_;
  return metrics;
}

Error Nested::refused(ConsumerState& consumer, Bytes asked, bool acquiring, const Error& cause) {
  RefusalWords words;
  {
    const std::lock_guard lock(mutex_);
    ++refusals_;
    words.available = std::max<Bytes>(0, spare());
  }
  if (cause.code() != ErrorCode::kResourcesExhausted) return cause;
  if (cause.denial() != nullptr) words.available += cause.denial()->available_bytes;
  words.consumer = consumer.name;
  words.consumer_can_spill = consumer.can_spill.load();
  words.asked = asked;
  words.holds = consumer.used();
  words.acquiring = acquiring;
  words.pool = describe();
  words.pool_name = name_;
  const auto consumers = consumers_.all();
  words.consumers = consumer_metrics(consumers, nullptr, RefusalWords::kHoldersMax);
  words.spill_error = first_spill_error(consumers);
  return refusal(words, &cause);
}

// ---- growing and shrinking ----

Status Nested::try_grow(MemoryReservation& reservation, std::int64_t n) {
  ConsumerState& consumer = *PoolAccess::state(reservation)->consumer;
  const InsideCall inside(consumer, false);
  std::unique_lock lock(mutex_);
  std::optional<Error> denied;
  for (;;) {
    const auto needed = checked_add(used_ + lent_ + claimed_, n);
    if (!needed) return fail(ErrorCode::kInvalid, "the sum of all reservations would overflow");
    const Bytes missing = *needed - held_bytes_;
    if (missing <= 0) {
      used_ += n;
      return {};
    }
    if (denied) break;
    lock.unlock();
    auto grown = inside_spill() ? Status(fail(grow_in_spill())) : held_.try_grow(missing);
    lock.lock();
    // What another took meanwhile is asked for again.
    if (grown) held_bytes_ += missing;
    if (!grown) denied = grown.error();
  }
  After after = settle();
  lock.unlock();
  carry_out(std::move(after));
  return fail(refused(consumer, n, false, *denied));
}

void Nested::grow(MemoryReservation&, std::int64_t n) {
  Bytes missing = 0;
  {
    const std::lock_guard lock(mutex_);
    missing = std::max<Bytes>(0, n - std::max<Bytes>(0, spare()));
    used_ += n;
  }
  if (missing == 0) return;
  // Refused only in a forked child, where the parent's bytes count for nothing.
  static_cast<void>(held_.grow(missing));
  After after;
  {
    const std::lock_guard lock(mutex_);
    held_bytes_ += missing;
    after = settle();
  }
  carry_out(std::move(after));
}

void Nested::shrink(MemoryReservation&, std::int64_t n) {
  After after;
  {
    const std::lock_guard lock(mutex_);
    MB_CHECK(n <= used_);
    used_ -= n;
    after = settle();
  }
  carry_out(std::move(after));
}

// What is free above the retained bytes is the parent's, who serves the waiters here with it in
// their turn. The rest is theirs at once, and what they asked the parent for is asked anew.
Nested::After Nested::settle() {
  After after;
  after.give_back = std::max<Bytes>(0, held_bytes_ - std::max(retained_, held_bytes_ - spare()));
  held_bytes_ -= after.give_back;
  for (const bool all : {false, true}) {
    for (const auto& waiter : waiters_) {
      const Bytes missing = (all ? waiter->want : waiter->min) - waiter->got;
      const Bytes given = std::min(missing, spare());
      if (given <= 0) continue;
      waiter->got += given;
      claimed_ += given;
      if (!waiter->stale && waiter->asked != nullptr) after.stale.push_back(waiter->asked);
      waiter->stale = true;
    }
  }
  return after;
}

void Nested::carry_out(After after) {
  if (after.give_back > 0) static_cast<void>(held_.shrink(after.give_back));
  for (const auto& request : after.stale) PoolAccess::cancel_soon(*request);
}

// ---- consumers ----

void Nested::register_consumer(const MemoryConsumer& consumer) {
  consumers_.add(PoolAccess::state(consumer));
  if (consumer.can_spill()) count_spillable(1);
}

void Nested::unregister_consumer(const MemoryConsumer& consumer) {
  consumers_.remove(*PoolAccess::state(consumer));
  if (consumer.can_spill()) count_spillable(-1);
}

void Nested::count_spillable(int change) {
  ReservationState& held = *PoolAccess::state(held_);
  ConsumerState& consumer = *held.consumer;
  bool can_spill = false;
  {
    const std::lock_guard lock(mutex_);
    spillable_ += change;
    can_spill = spillable_ > 0;
    if (consumer.can_spill.exchange(can_spill) == can_spill) return;
    if (held.core == nullptr) {
      consumer.account.can_spill = can_spill;
    } else if (!held.core->cut_off()) {
      held.core->cache().set_can_spill(consumer.account, can_spill);
    }
  }
  if (Nested* outer = nested_of(*parent_)) outer->count_spillable(can_spill ? 1 : -1);
}

// What the parent would get at most if all was spilled that can be.
Bytes Nested::may_give() const {
  return std::max<Bytes>(0, held_bytes_ - std::max(retained_, lent_ + claimed_));
}

void Nested::add_spill_leaves(bool for_asker, Bytes most, std::vector<SpillLeaf>& leaves) {
  std::vector<std::pair<std::shared_ptr<ConsumerState>, bool>> own;
  {
    const std::lock_guard lock(mutex_);
    bool own_need = false;  // then what is retained helps too
    for (const auto& consumer : consumers_.all()) {
      const bool asks =
          for_asker && std::any_of(waiters_.begin(), waiters_.end(), [&](auto& waiter) {
            return waiter->got < waiter->min && waiter->consumer == consumer;
          });
      own_need = own_need || asks;
      own.emplace_back(consumer, asks);
    }
    if (!own_need) most = std::min(most, may_give());
  }
  if (most == 0) return;
  for (const auto& [consumer, asks] : own) add_spill_leaf(consumer, asks, most, leaves);
}

Bytes Nested::reclaimable() {
  Bytes sum = 0;
  for (const auto& consumer : consumers_.all()) sum += consumer->reclaimable();
  const std::lock_guard lock(mutex_);
  return std::min(sum, may_give());
}

Bytes Nested::add_holders(const std::string& within, std::vector<PoolHolder>& holders) {
  return detail::add_holders(consumers_.all(), within, holders);
}

std::vector<PoolHolder> Nested::holders() const {
  std::vector<PoolHolder> holders;
  detail::add_holders(consumers_.all(), "", holders);
  Bytes lent = 0;
  {
    const std::lock_guard lock(mutex_);
    lent = lent_;
  }
  add_unnamed(name_, lent, holders);
  return in_order(std::move(holders));
}

std::string Nested::spill_error() { return first_spill_error(consumers_.all()); }

// ---- workspace ----

void Nested::retain(std::int64_t bytes) {
  After after;
  {
    const std::lock_guard lock(mutex_);
    retained_ = std::max<Bytes>(0, bytes);
    after = settle();
  }
  carry_out(std::move(after));
}

NestedPool::Loan Nested::borrow(std::int64_t n) {
  Bytes lent = 0;
  {
    const std::lock_guard lock(mutex_);
    lent = std::clamp<Bytes>(n, 0, std::max<Bytes>(0, spare()));
    lent_ += lent;
  }
  if (lent == 0) return {};
  return Loan(std::static_pointer_cast<NestedPool>(shared_from_this()), lent);
}

void Nested::end_loan(std::int64_t bytes) {
  After after;
  {
    const std::lock_guard lock(mutex_);
    lent_ -= bytes;
    after = settle();
  }
  carry_out(std::move(after));
}

void Nested::release_unused() { retain(0); }

}  // namespace detail

NestedPool::Loan& NestedPool::Loan::operator=(Loan&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

NestedPool::Loan::~Loan() {
  if (pool_ != nullptr && bytes_ > 0) pool_->end_loan(bytes_);
}

}  // namespace membroker
