#include <utility>

#include "client/memory/cached_pool.h"
#include "client/memory/consumer_state.h"
#include "client/memory/pool_core.h"
#include "membroker/memory_pool.h"
#include "shared/format.h"

namespace membroker {

using detail::PoolAccess;
using detail::ReservationState;

namespace {

Error of_no_pool() {
  return Error(ErrorCode::kInvalid, "the reservation belongs to no pool (moved from?)");
}

Error of_parent() {
  return Error(
      ErrorCode::kForked,
      "the reservation is the parent process's: this one was forked from it and is cut off "
      "until exec()");
}

Error more_than_held(const char* call, std::int64_t n, std::int64_t size) {
  return Error(ErrorCode::kInvalid, strf("%s(%lld) of a reservation of %lld bytes", call,
                                         static_cast<long long>(n), static_cast<long long>(size)));
}

// True in a forked child of the process whose lease the reservation is in.
bool inert(const ReservationState& state) { return state.core != nullptr && state.core->cut_off(); }

}  // namespace

Status MemoryReservation::try_grow_slowly(std::int64_t n) {
  if (n < 0) return fail(detail::invalid_size("try_grow", n));
  if (n == 0) return {};
  ReservationState* state = PoolAccess::state(*this);
  if (state == nullptr) return fail(of_no_pool());
  auto grown = state->pool->try_grow(*this, n);
  if (grown && state->core == nullptr) state->add_plain(n);
  return grown;
}

Status MemoryReservation::grow_slowly(std::int64_t n) {
  if (n < 0) return fail(detail::invalid_size("grow", n));
  if (n == 0) return {};
  ReservationState* state = PoolAccess::state(*this);
  if (state == nullptr) return fail(of_no_pool());
  if (inert(*state)) return fail(of_parent());
  state->pool->grow(*this, n);
  if (state->core == nullptr) state->add_plain(n);
  return {};
}

Status MemoryReservation::shrink_slowly(std::int64_t n) {
  if (n < 0) return fail(detail::invalid_size("shrink", n));
  ReservationState* state = PoolAccess::state(*this);
  if (state == nullptr) return n == 0 ? Status() : fail(more_than_held("shrink", n, 0));
  if (inert(*state)) return {};
  if (state->core != nullptr) {
    if (state->core->cache().give(*state, n)) return {};
    return fail(more_than_held("shrink", n, size()));
  }
  if (!state->sub_plain(n)) return fail(more_than_held("shrink", n, size()));
  if (n > 0) state->pool->shrink(*this, n);
  return {};
}

Result<std::int64_t> MemoryReservation::try_shrink(std::int64_t n) {
  if (auto shrunk = shrink(n); !shrunk) return fail(shrunk.error());
  return size();
}

Status MemoryReservation::resize(std::int64_t n) {
  if (n < 0) return fail(detail::invalid_size("resize", n));
  const std::int64_t held = size();
  return n > held ? grow(n - held) : shrink(held - n);
}

Status MemoryReservation::try_resize(std::int64_t n) {
  if (n < 0) return fail(detail::invalid_size("try_resize", n));
  const std::int64_t held = size();
  return n > held ? try_grow(n - held) : shrink(held - n);
}

std::int64_t MemoryReservation::free() {
  ReservationState* state = PoolAccess::state(*this);
  if (state == nullptr || inert(*state)) return 0;
  if (state->core != nullptr) return state->core->cache().give_all(*state);
  for (;;) {
    const std::int64_t held = size();
    if (held == 0) return 0;
    if (shrink(held)) return held;
  }
}

Result<MemoryReservation> MemoryReservation::split(std::int64_t n) {
  if (n < 0) return fail(detail::invalid_size("split", n));
  ReservationState* state = PoolAccess::state(*this);
  if (state == nullptr) return n == 0 ? Result<MemoryReservation>() : fail(of_no_pool());
  MemoryReservation part = new_empty();
  if (n == 0 || inert(*state)) return part;
  ReservationState* to = PoolAccess::state(part);
  if (state->core != nullptr) {
    if (!state->core->cache().move(*state, *to, n)) return fail(more_than_held("split", n, size()));
    return part;
  }
  if (!state->take_plain(n)) return fail(more_than_held("split", n, size()));
  to->move_plain(n);
  return part;
}

MemoryReservation MemoryReservation::new_empty() const {
  ReservationState* state = PoolAccess::state(*this);
  if (state == nullptr || inert(*state)) return {};
  return PoolAccess::make(state->consumer, state->pool);
}

MemoryReservation MemoryReservation::take() {
  for (;;) {
    if (auto all = split(size())) return std::move(*all);
  }
}

std::int64_t MemoryReservation::size() const noexcept {
  return shard_ == nullptr ? 0 : shard_->size();
}

Result<std::int64_t> MemoryReservation::acquire(std::int64_t min, std::int64_t want,
                                                Deadline deadline, const AcquireOptions& options) {
  if (min < 0 || want < min) {
    return fail(ErrorCode::kInvalid,
                strf("acquire(%lld, %lld): need 0 <= min <= want", static_cast<long long>(min),
                     static_cast<long long>(want)));
  }
  if (want == 0) return 0;
  ReservationState* state = PoolAccess::state(*this);
  if (state == nullptr) return fail(of_no_pool());
  auto got = state->pool->acquire(*this, min, want, deadline, options);
  if (got && state->core == nullptr) state->add_plain(*got);
  return got;
}

AcquireTicket MemoryReservation::acquire_async(std::int64_t min, std::int64_t want,
                                               Deadline deadline, AcquireCallback done,
                                               const AcquireOptions& options) {
  ReservationState* state = PoolAccess::state(*this);
  const bool now = min < 0 || want < min || want == 0 || state == nullptr ||
                   state->core == nullptr || detail::inside_spill() || inert(*state);
  if (now) {
    done(acquire(min, want, Deadline::now(), options));
    return {};
  }
  auto request = std::make_shared<detail::AsyncAcquire>();
  request->waiter.shard = state;
  request->waiter.min = min;
  request->waiter.want = want;
  request->waiter.priority = options.priority;
  request->reservation = state;
  request->done = std::move(done);
  request->core = state->core->weak_from_this();
  state->core->start(request, deadline);
  return AcquireTicket(std::move(request));
}

void AcquireTicket::cancel() {
  if (request_ == nullptr) return;
  if (const auto core = request_->core.lock()) {
    core->cancel(request_, Error(ErrorCode::kCancelled, "the caller cancelled the request"));
  }
}

std::int64_t MemoryReservation::spill_requested() const noexcept {
  ReservationState* state = PoolAccess::state(*this);
  if (state == nullptr) return 0;
  const std::int64_t down_to = state->consumer->spill_down_to.load(std::memory_order_relaxed);
  if (down_to == detail::ConsumerState::kNoSpillAsked) return 0;
  return std::max<std::int64_t>(0, state->consumer->used() - down_to);
}

MemoryConsumer MemoryReservation::consumer() const {
  ReservationState* state = PoolAccess::state(*this);
  return state == nullptr ? MemoryConsumer("") : PoolAccess::consumer(state->consumer);
}

std::shared_ptr<MemoryPool> MemoryReservation::pool() const {
  ReservationState* state = PoolAccess::state(*this);
  return state == nullptr ? nullptr : state->pool;
}

void MemoryReservation::destroy() noexcept {
  std::unique_ptr<ReservationState> state(PoolAccess::state(*this));
  if (inert(*state)) {
    static_cast<void>(state.release());  // its pool's mutexes are the parent process's
    return;
  }
  state->consumer->quiesce();
  if (state->core != nullptr) {
    state->core->cancel_of(*state);
    state->core->cache().remove(*state);
  } else if (state->size() > 0) {
    free();
  }
  shard_ = nullptr;
  const auto consumer = state->consumer;
  if (consumer->detach(*state)) {
    state->pool->unregister_consumer(PoolAccess::consumer(consumer));
  }
  const auto pool = std::move(state->pool);  // may end here, after the reservation
  state.reset();
}

}  // namespace membroker
