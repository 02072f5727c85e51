#include <algorithm>
#include <utility>

#include "client/memory/nested_pool.h"

/// \file
/// acquire() of a nested pool: what is missing is asked of the parent, which spills for it.

namespace membroker::detail {

// Waits in the parent on the caller's own thread: that may be the only one that serves the parent.
Result<std::int64_t> Nested::acquire(MemoryReservation& reservation, std::int64_t min,
                                     std::int64_t want, Deadline deadline,
                                     const AcquireOptions& options) {
  ReservationState& state = *PoolAccess::state(reservation);
  std::optional<InsideCall> inside;
  if (!options.spillable_while_waiting) inside.emplace(*state.consumer, true);
  std::optional<Result<std::int64_t>> answer;
  auto waiter = std::make_shared<NestedWaiter>();
  waiter->consumer = state.consumer;
  waiter->reservation = &state;
  waiter->min = min;
  waiter->want = want;
  waiter->priority = options.priority;
  waiter->deadline = deadline;
  waiter->done = [&answer](Result<std::int64_t> result) { answer = std::move(result); };
  start(waiter, true);
  return *std::move(answer);
}

void Nested::start(const std::shared_ptr<NestedWaiter>& waiter, bool blocks) {
  bool enough = false;
  After after;
  {
    const std::lock_guard lock(mutex_);
    const auto place = std::find_if(waiters_.begin(), waiters_.end(), [&](const auto& other) {
      return other->priority < waiter->priority;
    });
    waiters_.insert(place, waiter);
    after = settle();
    enough = waiter->got >= waiter->want;
  }
  carry_out(std::move(after));
  if (enough) {
    answered(waiter, 0);
  } else {
    ask_parent(waiter, blocks);
  }
}

void Nested::ask_parent(const std::shared_ptr<NestedWaiter>& waiter, bool blocks) {
  while (ask_once(waiter, blocks)) {
  }
}

// True: it is to be asked anew.
bool Nested::ask_once(const std::shared_ptr<NestedWaiter>& waiter, bool blocks) {
  if (inside_spill()) {
    {
      const std::lock_guard lock(mutex_);
      waiter->stale = false;  // it was given all there is; the parent is not asked
    }
    return answered(waiter, fail(grow_in_spill()));
  }
  const AcquireOptions options{waiter->priority, true};
  const bool waits = core_of(*parent_) != nullptr || nested_of(*parent_) != nullptr;
  std::optional<Result<std::int64_t>> answer;
  std::shared_ptr<AsyncAcquire> request;
  Bytes min = 0;
  Bytes want = 0;
  {
    const std::lock_guard lock(mutex_);
    waiter->stale = false;
    min = std::max<Bytes>(0, waiter->min - waiter->got);
    want = waiter->want - waiter->got;
    if (waits && !waiter->unneeded) {
      const auto self = std::static_pointer_cast<Nested>(shared_from_this());
      AcquireCallback done = [&answer](Result<std::int64_t> result) { answer = std::move(result); };
      if (!blocks) {
        done = [weak = std::weak_ptr(self), waiter](Result<std::int64_t> result) {
          const auto pool = weak.lock();
          if (pool && pool->answered(waiter, std::move(result))) pool->ask_parent(waiter, false);
        };
      }
      request = PoolAccess::prepare(held_, min, want, std::move(done), options);
      waiter->asked = request;
    }
  }
  if (request != nullptr) {
    PoolAccess::launch(request, waiter->deadline, blocks);
    return blocks && answered(waiter, *std::move(answer));
  }
  if (waits) return answered(waiter, fail(ErrorCode::kCancelled, "it is not needed any more"));
  const Deadline until = waiter->adds ? Deadline::now() : waiter->deadline;
  return answered(waiter, held_.acquire(min, want, until, options));
}

// The parent's word about what was asked there. True: less is missing by now, which is to be asked
// for.
bool Nested::answered(const std::shared_ptr<NestedWaiter>& waiter, Result<std::int64_t> answer) {
  After after;
  Result<std::int64_t> result = 0;
  std::optional<Error> denied;
  {
    const std::lock_guard lock(mutex_);
    waiter->asked.reset();
    if (answer) {
      held_bytes_ += *answer;
      const Bytes taken = std::min(*answer, waiter->want - waiter->got);
      waiter->got += taken;
      claimed_ += taken;
    }
    const bool enough = waiter->got >= waiter->min;
    if (waiter->stale && !enough && !waiter->unneeded && !waiter->cancelled) return true;
    std::erase(waiters_, waiter);
    claimed_ -= waiter->got;
    if (waiter->cancelled) {
      result = fail(*waiter->cancelled);
    } else if (enough) {
      result = waiter->got;
      used_ += waiter->got;
      if (waiter->adds) waiter->reservation->add_plain(waiter->got);
    } else {
      denied = answer ? Error(ErrorCode::kResourcesExhausted, "the parent gave less than needed")
                      : answer.error();
    }
    after = settle();
  }
  carry_out(std::move(after));
  if (denied) result = fail(refused(*waiter->consumer, waiter->min, true, *denied));
  waiter->done(std::move(result));
  return false;
}

void Nested::cancel(const std::shared_ptr<NestedWaiter>& waiter, const Error& why, bool soon) {
  std::shared_ptr<AsyncAcquire> asked;
  {
    const std::lock_guard lock(mutex_);
    if (!soon) waiter->cancelled = why;
    waiter->unneeded = true;
    asked = waiter->asked;
  }
  if (asked == nullptr) return;  // who is about to ask sees that it is not needed
  if (!soon) AcquireTicket(asked).cancel();
  PoolAccess::cancel_soon(*asked);  // also where it is only about to be sent
}

void Nested::cancel_of(const ReservationState& reservation) {
  for (;;) {
    std::shared_ptr<NestedWaiter> waiter;
    {
      const std::lock_guard lock(mutex_);
      const auto found = std::find_if(waiters_.begin(), waiters_.end(), [&](const auto& other) {
        return other->reservation == &reservation && !other->cancelled;
      });
      if (found == waiters_.end()) return;
      waiter = *found;
    }
    cancel(waiter, Error(ErrorCode::kCancelled, "the reservation was destroyed"), false);
  }
}

}  // namespace membroker::detail
