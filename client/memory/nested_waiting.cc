#include <algorithm>
#include <condition_variable>
#include <utility>

#include "client/memory/nested_pool.h"

/// \file
/// acquire() of a nested pool: what is missing is asked of the parent, which spills for it.

namespace membroker::detail {
namespace {

// The parent answers by the deadline; a call that waits takes its own answer this much later.
constexpr std::chrono::seconds kParentsGrace{1};

struct Answer {
  std::mutex mutex;
  std::condition_variable condition;
  std::optional<Result<std::int64_t>> result;  // guarded by mutex

  bool wait_until(Deadline::Clock::time_point until) {
    std::unique_lock lock(mutex);
    const auto there = [this] { return result.has_value(); };
    if (until != Deadline::Clock::time_point::max()) {
      return condition.wait_until(lock, until, there);
    }
    condition.wait(lock, there);
    return true;
  }
};

}  // namespace

Result<std::int64_t> Nested::acquire(MemoryReservation& reservation, std::int64_t min,
                                     std::int64_t want, Deadline deadline,
                                     const AcquireOptions& options) {
  ReservationState& state = *PoolAccess::state(reservation);
  std::optional<InsideCall> inside;
  if (!options.spillable_while_waiting) inside.emplace(*state.consumer, true);
  // Shared with the call-back, which may still be ending when the answer is taken.
  const auto answer = std::make_shared<Answer>();
  auto waiter = std::make_shared<NestedWaiter>();
  waiter->consumer = state.consumer;
  waiter->reservation = &state;
  waiter->min = min;
  waiter->want = want;
  waiter->priority = options.priority;
  waiter->deadline = deadline;
  waiter->done = [answer](Result<std::int64_t> result) {
    const std::lock_guard lock(answer->mutex);
    answer->result = std::move(result);
    answer->condition.notify_all();
  };
  start(waiter);
  const bool never = deadline.at > Deadline::Clock::time_point::max() - kParentsGrace;
  const auto until = never ? Deadline::Clock::time_point::max()
                           : std::max(deadline.at, Deadline::Clock::now()) + kParentsGrace;
  if (!answer->wait_until(until)) {
    cancel(waiter, Error(ErrorCode::kTimeout, "the parent of pool '" + name_ + "' did not answer"),
           false);
    answer->wait_until(Deadline::Clock::time_point::max());
  }
  return std::move(*answer->result);
}

void Nested::start(const std::shared_ptr<NestedWaiter>& waiter) {
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
    ask_parent(waiter);
  }
}

void Nested::ask_parent(const std::shared_ptr<NestedWaiter>& waiter) {
  if (inside_spill()) {
    answered(waiter, fail(grow_in_spill()));
    return;
  }
  const AcquireOptions options{waiter->priority, true};
  const bool waits = core_of(*parent_) != nullptr || nested_of(*parent_) != nullptr;
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
      auto done = [weak = std::weak_ptr(self), waiter](Result<std::int64_t> result) {
        if (const auto pool = weak.lock()) pool->answered(waiter, std::move(result));
      };
      request = PoolAccess::prepare(held_, min, want, std::move(done), options);
      waiter->asked = request;
    }
  }
  if (request != nullptr) {
    PoolAccess::launch(request, waiter->deadline);
  } else if (waits) {
    answered(waiter, fail(ErrorCode::kCancelled, "it is not needed any more"));
  } else {
    const Deadline until = waiter->adds ? Deadline::now() : waiter->deadline;
    answered(waiter, held_.acquire(min, want, until, options));
  }
}

// The parent's word about what was asked there.
void Nested::answered(const std::shared_ptr<NestedWaiter>& waiter, Result<std::int64_t> answer) {
  After after;
  Result<std::int64_t> result = 0;
  std::optional<Error> denied;
  bool again = false;
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
    again = waiter->stale && !enough && !waiter->unneeded && !waiter->cancelled;
    if (!again) {
      std::erase(waiters_, waiter);
      claimed_ -= waiter->got;
    }
    if (again) {
      // Less is missing by now.
    } else if (waiter->cancelled) {
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
  if (again) {
    ask_parent(waiter);
    return;
  }
  if (denied) result = fail(refused(*waiter->consumer, waiter->min, true, *denied));
  waiter->done(std::move(result));
}

void Nested::cancel(const std::shared_ptr<NestedWaiter>& waiter, const Error& why, bool soon) {
  std::shared_ptr<AsyncAcquire> asked;
  {
    const std::lock_guard lock(mutex_);
    if (std::find(waiters_.begin(), waiters_.end(), waiter) == waiters_.end()) return;
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
