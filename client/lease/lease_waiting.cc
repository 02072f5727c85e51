#include <algorithm>
#include <utility>

#include "client/lease/lease_cache.h"
#include "client/lease/lease_turn.h"
#include "shared/check.h"

/// \file
/// Calls that may wait, as steps that do not: try_grow's brief wait and acquire.

namespace membroker::lease {
namespace {

constexpr Millis kRetryMin = 50;

}  // namespace

WaitStep LeaseCache::poll(LeaseWaiter& waiter) {
  Turn turn(*this);
  const bool answered = fetch_answer(waiter);
  if (closed_) {
    return refuse(waiter, {closed_->code(), "closed", 0, closed_});
  }
  if (answered && !waiter.brief) settle(turn);
  return waiter.brief ? poll_brief(waiter, turn) : poll_acquire(waiter, turn);
}

void LeaseCache::cancel(LeaseWaiter& waiter) {
  Turn turn(*this);
  if (waiter.request && !waiter.brief) turn.cancels.push_back(waiter.request);
  forget(waiter);
}

// Takes the daemon's answer to the waiter's request, if it is there.
bool LeaseCache::fetch_answer(LeaseWaiter& waiter) {
  if (!waiter.request) return false;
  const LeaseState::OpenRequest* open = state_.find(waiter.request);
  if (open == nullptr || !open->answered) return false;
  const Bytes earmarked = open->earmarked;
  const std::optional<Error> denied = open->denied;
  const Bytes asked_min = open->opened_min;
  state_.close_request(std::exchange(waiter.request, {}));
  // Asked for more than it lacks by now (the floor came, a neighbour shrank): that is asked for.
  if (denied && !waiter.brief && asked_min > waiter.min - waiter.got) return true;
  if (denied) {
    note_denial(waiter, *denied);
    return true;
  }
  // The daemon answered this waiter, so it is served before the queue; what it has no use for is
  // free to all.
  hold(waiter, std::min(earmarked, waiter.want - waiter.got));
  return true;
}

// What this process's consumers should free, so that the waiter gets the rest; 0: it would not
// help.
Bytes LeaseCache::to_free_for(const LeaseWaiter& waiter, const Denial& denial) const {
  const Bytes missing = waiter.min - waiter.got;
  if (denial.hint == DenialHint::kSpill) {
    const Bytes self = denial.self_spill_bytes;
    return self > 0 ? std::min(self, missing) : missing;
  }
  if (denial.hint != DenialHint::kSmaller || denial.attainable_bytes <= 0) return 0;
  // Too much beside what the lease holds already, but maybe not within it.
  const Bytes beyond = missing - denial.attainable_bytes;
  return beyond <= state_.reserved() - waiter.got ? std::max<Bytes>(0, beyond) : 0;
}

void LeaseCache::note_denial(LeaseWaiter& waiter, const Error& error) {
  waiter.last_denial = error;
  const Denial* denial = error.denial();
  const DenialHint hint = denial == nullptr ? DenialHint::kNone : denial->hint;
  if (waiter.got >= waiter.min) return;
  const Bytes to_free = denial == nullptr || waiter.brief ? 0 : to_free_for(waiter, *denial);
  if (to_free > 0 && !waiter.spill_failed) {
    waiter.spill_target = waiter.got + to_free;
    return;
  }
  if (!waiter.brief && hint == DenialHint::kWait) {
    waiter.ask_again = now() + std::max<Millis>(kRetryMin, denial->retry_after_ms);
    return;
  }
  LeaseRefusal refusal;
  refusal.code = error.code();
  refusal.reason = denial == nullptr ? error.message() : denial->reason;
  refusal.cause = error;
  waiter.refusal = refusal;
}

void LeaseCache::forget(LeaseWaiter& waiter) {
  if (waiter.request) state_.close_request(std::exchange(waiter.request, {}));
  drop_hold(waiter);
  if (!waiter.queued) return;
  std::erase(waiters_, &waiter);
  book_.count_waiting(*waiter.shard->account, -1);
  waiter.queued = false;
}

// What it got goes to its shard.
WaitStep LeaseCache::finish(LeaseWaiter& waiter) {
  const Bytes granted = waiter.got;
  drop_hold(waiter);
  state_.unreserve(book_.drain(*waiter.shard));
  MB_CHECK(state_.reserve(granted));
  book_.grow(*waiter.shard, granted, 0);
  counters_.peak_reserved = std::max(counters_.peak_reserved, state_.reserved());
  forget(waiter);
  WaitStep step;
  step.state = WaitState::kDone;
  step.granted = granted;
  return step;
}

WaitStep LeaseCache::refuse(LeaseWaiter& waiter, LeaseRefusal refusal) {
  refusal.available = waiter.got + room(*waiter.shard->account);
  forget(waiter);
  WaitStep step;
  step.state = WaitState::kRefused;
  step.refusal = std::move(refusal);
  return step;
}

LeaseRequest LeaseCache::open(Bytes min, Bytes want, Instant deadline, Turn& turn) {
  const LeaseRequest request =
      state_.open_request(min, want, true, options_.priority, now(), deadline);
  ++counters_.requests_asked;
  if (!workspace_.wanted) turn.acquires.push_back(request);  // else once the workspace is there
  return request;
}

// The daemon refused the session. Whoever is refused for that makes the source try once more, for
// the next caller's sake: what was wrong may have been put right.
WaitStep LeaseCache::refuse_finally(LeaseWaiter& waiter, Turn& turn) {
  const LeaseRequest request = state_.open_request(1, 1, false, options_.priority, now(), now());
  state_.close_request(request.id);
  state_.forget_unowned(standing_);
  turn.acquires.push_back(request);
  return refuse(waiter, {final_->code(), final_->message(), 0, final_});
}

bool LeaseCache::standing_open() const {
  const LeaseState::OpenRequest* open = standing_ ? state_.find(standing_) : nullptr;
  return open != nullptr && !open->answered;
}

// Below the low mark asks for the next growth before somebody misses it.
void LeaseCache::prefetch(Turn& turn) {
  if (!options_.borrows || !attached_ || closed_ || state_.tight() || standing_open()) return;
  // What would come belongs to others first, or is asked for by them.
  if (spills_ > 0 || state_.debt() > 0 || state_.revocation() != nullptr || someone_lacks()) return;
  const Bytes low_mark = std::min(state_.chunk(), state_.cap() / 8);
  const Instant at = now();
  if (state_.free() >= low_mark || at < prefetch_after_) return;
  standing_ = open(1, 1, at, turn).id;
  state_.close_request(standing_);  // nobody's: its grant is free bytes
  standing_since_ = at;
  standing_is_prefetch_ = true;
}

// ---- try_grow ----

WaitStep LeaseCache::poll_brief(LeaseWaiter& waiter, Turn& turn) {
  const Bytes n = waiter.want;
  if (waiter.got == n) return finish(waiter);
  drop_hold(waiter);  // the grant covers only what was missing; with what is free it may be enough
  if (!someone_is_next() && take_locked(*waiter.shard, n, turn)) {
    forget(waiter);
    prefetch(turn);
    WaitStep step;
    step.state = WaitState::kDone;
    step.granted = n;
    return step;
  }
  if (!options_.borrows) return refuse(waiter, {ErrorCode::kResourcesExhausted, "full", 0, {}});
  if (waiter.refusal) return refuse(waiter, *waiter.refusal);
  if (final_) return refuse_finally(waiter, turn);
  if (!waits_for_daemon()) return refuse(waiter, away_refusal(n));
  const Instant at = now();
  WaitStep wait;
  wait.look_again = waiter.deadline;
  if (at >= waiter.deadline) {
    return refuse(waiter,
                  {ErrorCode::kResourcesExhausted,
                   !attached_          ? "not connected"
                   : workspace_.wanted ? "the spill workspace comes first, and others hold all"
                                       : "the daemon has not answered yet",
                   0, away_ ? away_ : workspace_.denied});
  }
  if (standing_open()) {
    if (waiter.request == standing_ || at - standing_since_ < kBriefWait) return wait;
    return refuse(waiter, {ErrorCode::kResourcesExhausted,
                           "an earlier request of this lease still waits at the daemon",
                           0,
                           {}});
  }
  const Bytes missing = n - room(*waiter.shard->account);
  if (missing <= 0) {
    return refuse(waiter, {ErrorCode::kResourcesExhausted, "others wait for memory", 0, {}});
  }
  standing_ = waiter.request = open(missing, missing, at + kStandingWait, turn).id;
  standing_since_ = at;
  standing_is_prefetch_ = false;
  return wait;
}

// ---- acquire ----

WaitStep LeaseCache::poll_acquire(LeaseWaiter& waiter, Turn& turn) {
  if (!waiter.queued) {
    const auto after = std::find_if(waiters_.begin(), waiters_.end(), [&](LeaseWaiter* other) {
      return other->priority < waiter.priority;
    });
    // Nobody is waiting yet: what the shards have unused is looked at before anyone is asked.
    if (waiters_.empty() && !book_.swept() && room(*waiter.shard->account) < waiter.want) {
      state_.unreserve(book_.sweep());
    }
    waiter.id = ++last_waiter_;
    waiters_.insert(after, &waiter);
    waiter.queued = true;
    book_.count_waiting(*waiter.shard->account, 1);
    settle(turn);
  }
  if (!someone_is_next()) {
    hold(waiter, std::min(waiter.want - waiter.got, room(*waiter.shard->account)));
  }
  ask_for_less(waiter, turn);
  const Instant at = now();
  const bool enough = waiter.got >= due(waiter);
  const bool more_may_come = options_.borrows && (attached_ || !ever_attached_) &&
                             waits_for_daemon() && waiter.got < waiter.want &&
                             (!waiter.asked || waiter.request) && at < waiter.deadline;
  if (enough && !more_may_come) {
    if (waiter.request) turn.cancels.push_back(waiter.request);
    return finish(waiter);
  }
  if (!enough && waiter.refusal) return refuse(waiter, *waiter.refusal);
  if (!enough && final_) return refuse_finally(waiter, turn);
  if (!enough && !waits_for_daemon() && !alone()) {
    return refuse(waiter, away_refusal(waiter.min));
  }
  if (at >= waiter.deadline) {
    if (waiter.got >= waiter.min) return finish(waiter);  // short of what it was sure of
    if (waiter.request) turn.cancels.push_back(waiter.request);
    const std::optional<Error>& said = workspace_.wanted ? workspace_.denied : waiter.last_denial;
    return refuse(waiter, {ErrorCode::kResourcesExhausted, "deadline", 0, away_ ? away_ : said});
  }
  if (options_.borrows && !alone()) {
    ask(waiter, turn);
  } else {
    ask_for_spill(waiter);
  }
  if (waiter.spill_target > waiter.got) turn.notify = true;
  WaitStep wait;
  wait.look_again =
      waiter.ask_again > at ? std::min(waiter.deadline, waiter.ask_again) : waiter.deadline;
  return wait;
}

void LeaseCache::ask(LeaseWaiter& waiter, Turn& turn) {
  const bool spilling = std::min(waiter.spill_target, waiter.min) > waiter.got;
  if (waiter.request || spilling || now() < waiter.ask_again) return;
  if (state_.open_count() >= kOpenRequestsMax) return;
  const Bytes missing = waiter.min - waiter.got;
  // With enough in hand the rest is asked for only as far as it comes at once.
  const Instant deadline = missing > 0 ? waiter.deadline : now();
  waiter.request = open(std::max<Bytes>(1, missing), waiter.want - waiter.got, deadline, turn).id;
  waiter.asked = true;
}

// Bytes came from elsewhere, a neighbour's. A request for more than is lacking by now could wait in
// vain, so it is withdrawn; but not for a little less, for the next one has its place to find anew.
// Who has enough waits for nothing.
void LeaseCache::ask_for_less(LeaseWaiter& waiter, Turn& turn) {
  const LeaseState::OpenRequest* open = waiter.request ? state_.find(waiter.request) : nullptr;
  if (open == nullptr || open->answered) return;
  const Bytes lacking = std::max<Bytes>(1, waiter.min - waiter.got);
  const bool enough = waiter.got >= waiter.min;
  const bool little_less = open->ask.min - lacking < std::max<Bytes>(1, open->ask.min / 8);
  if (enough ? open->deadline <= now() : little_less) return;
  turn.cancels.push_back(waiter.request);
  state_.close_request(std::exchange(waiter.request, {}));
}

void LeaseCache::ask_for_spill(LeaseWaiter& waiter) {
  const bool told_to_spill =
      waiter.got < waiter.min &&
      options_.policy->guaranteed(*waiter.shard->account, book_.sums(), state_.size()) == 0;
  if (told_to_spill && !waiter.spill_failed) waiter.spill_target = waiter.min;
}

}  // namespace membroker::lease
