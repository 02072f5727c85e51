#include <utility>

#include "client/memory/cached_pool.h"
#include "client/memory/consumer_state.h"
#include "client/memory/nested_pool.h"
#include "client/memory/pool_core.h"
#include "client/memory/watch_state.h"
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
bool inert(const ReservationState& state) {
  return state.payer != nullptr && state.payer->cut_off();
}

// A plain pool is not asked inside a spill call-back. A nested one may have bytes retained.
bool barred_in_spill(const ReservationState& state) {
  return state.core == nullptr && detail::inside_spill() &&
         detail::nested_of(*state.pool) == nullptr;
}

// `done`, after the watches were told. By then the reservation may have ended.
AcquireCallback noting(const ReservationState& state, AcquireCallback done) {
  return [watches = state.watches, consumer = state.consumer, pool = state.pool,
          done = std::move(done)](Result<std::int64_t> result) {
    if (result) {
      const MemoryPool& where = detail::tracked_in(*pool);
      for (const auto& watch : watches) watch->note(*result, consumer->name, where);
    }
    done(std::move(result));
  };
}

}  // namespace

std::shared_ptr<detail::AsyncAcquire> detail::PoolAccess::prepare(MemoryReservation& reservation,
                                                                  std::int64_t min,
                                                                  std::int64_t want,
                                                                  AcquireCallback done,
                                                                  const AcquireOptions& options) {
  ReservationState* state = PoolAccess::state(reservation);
  if (!state->watches.empty()) done = noting(*state, std::move(done));
  auto request = std::make_shared<AsyncAcquire>();
  if (state->core != nullptr) {
    request->waiter.shard = state;
    request->waiter.min = min;
    request->waiter.want = want;
    request->waiter.priority = options.priority;
    request->reservation = state;
    request->done = std::move(done);
    request->core = state->core->weak_from_this();
    return request;
  }
  Nested* pool = nested_of(*state->pool);
  auto waiter = std::make_shared<NestedWaiter>();
  waiter->consumer = state->consumer;
  waiter->reservation = state;
  waiter->adds = true;
  waiter->min = min;
  waiter->want = want;
  waiter->priority = options.priority;
  waiter->done = std::move(done);
  const std::weak_ptr<MemoryPool> its_pool = pool->weak_from_this();
  request->cancel = [its_pool, weak = std::weak_ptr(waiter)](bool soon) {
    const auto nested = std::static_pointer_cast<Nested>(its_pool.lock());
    const auto open = weak.lock();
    if (nested == nullptr || open == nullptr) return;
    nested->cancel(open, Error(ErrorCode::kCancelled, "the caller cancelled the request"), soon);
  };
  request->start = [pool, waiter](Deadline deadline, bool blocks) {
    waiter->deadline = deadline;
    pool->start(waiter, blocks);
  };
  return request;
}

void detail::PoolAccess::launch(const std::shared_ptr<AsyncAcquire>& request, Deadline deadline,
                                bool blocks) {
  if (const auto core = request->core.lock()) {
    if (blocks) {
      core->start_here(*request, deadline);
    } else {
      core->start(request, deadline);
    }
  } else if (auto start = std::exchange(request->start, nullptr)) {
    start(deadline, blocks);
  }
}

void detail::PoolAccess::cancel_soon(AsyncAcquire& request) {
  if (const auto core = request.core.lock()) {
    core->cancel_soon(request);
  } else if (request.cancel) {
    request.cancel(true);
  }
}

Status MemoryReservation::try_grow_slowly(std::int64_t n) {
  if (n < 0) return fail(detail::invalid_size("try_grow", n));
  if (n == 0) return {};
  ReservationState* state = PoolAccess::state(*this);
  if (state == nullptr) return fail(of_no_pool());
  if (state->core == nullptr && inert(*state)) return fail(of_parent());
  if (barred_in_spill(*state)) return fail(detail::grow_in_spill());
  auto grown = state->pool->try_grow(*this, n);
  if (!grown) return grown;
  if (state->core == nullptr) state->add_plain(n);
  state->note(n);
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
  state->note(n);
  return {};
}

Status MemoryReservation::shrink_slowly(std::int64_t n) {
  if (n < 0) return fail(detail::invalid_size("shrink", n));
  ReservationState* state = PoolAccess::state(*this);
  if (state == nullptr) return n == 0 ? Status() : fail(more_than_held("shrink", n, 0));
  if (inert(*state)) return {};
  if (n > size()) return fail(more_than_held("shrink", n, size()));
  // First: another may be granted the bytes at once, and the watches would see them twice.
  state->note(-n);
  const bool given =
      state->core != nullptr ? state->core->cache().give(*state, n) : state->sub_plain(n);
  if (!given) {
    state->note(n);
    return fail(more_than_held("shrink", n, size()));
  }
  if (state->core == nullptr && n > 0) state->pool->shrink(*this, n);
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
  for (;;) {
    const std::int64_t held = size();
    if (held == 0 || shrink_slowly(held)) return held;
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
  if (state->core == nullptr && inert(*state)) return fail(of_parent());
  if (barred_in_spill(*state)) return fail(detail::grow_in_spill());
  auto got = state->pool->acquire(*this, min, want, deadline, options);
  if (!got) return got;
  if (state->core == nullptr) state->add_plain(*got);
  state->note(*got);
  return got;
}

AcquireTicket MemoryReservation::acquire_async(std::int64_t min, std::int64_t want,
                                               Deadline deadline, AcquireCallback done,
                                               const AcquireOptions& options) {
  ReservationState* state = PoolAccess::state(*this);
  const bool plain =
      state != nullptr && state->core == nullptr && detail::nested_of(*state->pool) == nullptr;
  const bool now = min < 0 || want < min || want == 0 || state == nullptr || plain ||
                   detail::inside_spill() || inert(*state);
  if (now) {
    done(acquire(min, want, Deadline::now(), options));
    return {};
  }
  auto request = PoolAccess::prepare(*this, min, want, std::move(done), options);
  PoolAccess::launch(request, deadline, false);
  return AcquireTicket(std::move(request));
}

void AcquireTicket::cancel() {
  if (request_ == nullptr) return;
  if (const auto core = request_->core.lock()) {
    core->cancel(request_, Error(ErrorCode::kCancelled, "the caller cancelled the request"));
  } else if (request_->cancel) {
    request_->cancel(false);
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
  if (detail::Nested* nested = detail::nested_of(*state->pool)) nested->cancel_of(*state);
  if (state->core != nullptr) {
    state->core->cancel_of(*state);
    state->note(-state->size());
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
