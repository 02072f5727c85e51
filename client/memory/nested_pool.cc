#include "client/memory/nested_pool.h"

#include <algorithm>
#include <utility>

#include "client/memory/refusal.h"
#include "shared/check.h"

namespace membroker {
namespace detail {

Nested::Nested(std::shared_ptr<MemoryPool> parent, std::string name, Bytes retained)
    : parent_(std::move(parent)),
      name_(std::move(name)),
      held_(MemoryConsumer(name_).register_with(parent_)),
      retained_(std::max<Bytes>(0, retained)) {}

std::string Nested::describe() const {
  const std::lock_guard lock(mutex_);
  return name_ + "(used: " + readable_size(used_) + ", held: " + readable_size(held_.size()) +
         ", parent: " + parent_->describe() + ")";
}

std::int64_t Nested::reserved() const {
  const std::lock_guard lock(mutex_);
  return used_;
}

PoolMetrics Nested::metrics() const {
  PoolMetrics metrics;
  metrics.name = name_;
  metrics.limit = limit();
  const std::lock_guard lock(mutex_);
  metrics.reserved_bytes = used_;
  metrics.consumers = consumer_metrics(consumers_, nullptr);
  return metrics;
}

Status Nested::try_grow(MemoryReservation&, std::int64_t n) {
  const std::lock_guard lock(mutex_);
  const auto needed = checked_add(used_ + lent_, n);
  if (!needed) return fail(ErrorCode::kInvalid, "the sum of all reservations would overflow");
  if (*needed > held_.size()) {
    if (auto grown = held_.try_grow(*needed - held_.size()); !grown) return grown;
  }
  used_ += n;
  return {};
}

void Nested::grow(MemoryReservation&, std::int64_t n) {
  const std::lock_guard lock(mutex_);
  const Bytes needed = used_ + lent_ + n;
  if (needed > held_.size()) MB_CHECK(held_.grow(needed - held_.size()));
  used_ += n;
}

void Nested::shrink(MemoryReservation&, std::int64_t n) {
  const std::lock_guard lock(mutex_);
  MB_CHECK(n <= used_);
  used_ -= n;
  give_back();
}

void Nested::give_back() {
  const Bytes spare = held_.size() - std::max(retained_, used_ + lent_);
  if (spare > 0) MB_CHECK(held_.shrink(spare));
}

void Nested::register_consumer(const MemoryConsumer& consumer) {
  const std::lock_guard lock(mutex_);
  consumers_.push_back(PoolAccess::state(consumer));
}

void Nested::unregister_consumer(const MemoryConsumer& consumer) {
  const std::lock_guard lock(mutex_);
  std::erase(consumers_, PoolAccess::state(consumer));
}

void Nested::retain(std::int64_t bytes) {
  const std::lock_guard lock(mutex_);
  retained_ = std::max<Bytes>(0, bytes);
  give_back();
}

NestedPool::Loan Nested::borrow(std::int64_t n) {
  Bytes lent = 0;
  {
    const std::lock_guard lock(mutex_);
    lent = std::clamp<Bytes>(n, 0, std::max<Bytes>(0, held_.size() - used_ - lent_));
    lent_ += lent;
  }
  if (lent == 0) return {};
  return Loan(std::static_pointer_cast<NestedPool>(shared_from_this()), lent);
}

void Nested::end_loan(std::int64_t bytes) {
  const std::lock_guard lock(mutex_);
  lent_ -= bytes;
  give_back();
}

void Nested::release_unused() {
  const std::lock_guard lock(mutex_);
  retained_ = 0;
  give_back();
}

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
