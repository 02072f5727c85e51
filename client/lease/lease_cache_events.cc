#include <algorithm>

#include "client/lease/lease_cache.h"
#include "client/lease/lease_turn.h"

/// \file
/// What the daemon says to the lease, and what the lease says about itself.

namespace membroker::lease {

LeaseFigures LeaseCache::figures() {
  LeaseFigures figures;
  {
    const std::lock_guard lock(mutex_);
    figures.totals = state_.totals();
    figures.floor = ever_attached_ ? state_.floor() : options_.floor;
    Bytes waiting = 0;  // reserved by nobody's shard yet
    for (const LeaseWaiter* waiter : waiters_) waiting += waiter->got;
    figures.reserved = book_.used() + waiting + workspace_.held;
    figures.slack = std::max<Bytes>(0, state_.cap() - figures.reserved);
  }
  // The hooks take locks of their own.
  if (options_.reclaimable) figures.reclaimable = options_.reclaimable();
  if (options_.allocated) figures.allocated = options_.allocated();
  if (options_.spilled) figures.spilled = options_.spilled();
  return figures;
}

LeaseTotals LeaseCache::totals() const {
  const std::lock_guard lock(mutex_);
  return state_.totals();
}

void LeaseCache::on_attached(const LeaseTotals& daemon, Bytes floor, Bytes debt) {
  Turn turn(*this);
  decide_workspace(floor);
  const bool floor_came = !ever_attached_;
  attached_ = ever_attached_ = true;
  away_.reset();
  final_.reset();
  state_.forget_unowned(standing_);  // given up while there was nobody to be told
  // While the workspace is wanted nobody else is served, nor asks.
  const std::optional<RequestId> only =
      workspace_.wanted ? std::optional(workspace_.request) : std::nullopt;
  const std::vector<RequestId> open = state_.on_attached(daemon, floor, debt, only);
  lower_requests(floor_came, turn);
  for (const LeaseRequest& request : state_.unanswered(now())) {
    if (only && request.id != *only) continue;
    if (std::find(open.begin(), open.end(), request.id) != open.end()) {
      turn.acquires.push_back(request);
    }
  }
  counters_.peak_held = std::max(counters_.peak_held, state_.totals().held());
  turn.notify = true;
}

// What the stream brought, the floor above all, is used first: asked for is what is still lacking.
void LeaseCache::lower_requests(bool floor_came, Turn& turn) {
  settle(turn);
  for (const LeaseWaiter* waiter : waiters_) {
    const LeaseState::OpenRequest* open = waiter->request ? state_.find(waiter->request) : nullptr;
    if (open == nullptr) continue;
    const Bytes lacking = std::max<Bytes>(1, waiter->min - waiter->got);
    state_.lower_request(waiter->request, open->ask.min - lacking);
  }
  // It was opened for what was lacking beside what was free then.
  if (floor_came && standing_ && !standing_is_prefetch_)
    state_.lower_request(standing_, state_.free());
}

void LeaseCache::on_detached(const Error& why, bool final) {
  Turn turn(*this);
  attached_ = false;
  away_ = why;
  final_ = final ? std::optional(why) : std::nullopt;
  turn.notify = true;
}

void LeaseCache::on_lease_set(const LeaseTotals& daemon, Bytes debt) {
  Turn turn(*this);
  state_.on_lease_set(daemon, debt);
  counters_.peak_held = std::max(counters_.peak_held, state_.totals().held());
}

void LeaseCache::on_granted(RequestId id, Bytes bytes, Bytes granted_total) {
  Turn turn(*this);
  ++counters_.requests_granted;
  state_.on_granted(id, bytes, granted_total);
  counters_.peak_held = std::max(counters_.peak_held, state_.totals().held());
  turn.notify = true;
}

void LeaseCache::on_denied(RequestId id, const Error& error) {
  Turn turn(*this);
  ++counters_.requests_denied;
  if (id == standing_ && standing_is_prefetch_) prefetch_after_ = now() + kIdleSoon;
  state_.on_denied(id, error);
  turn.notify = true;
}

void LeaseCache::on_revoke(const Revocation& revocation) {
  Turn turn(*this);
  const Instant at = now();
  state_.on_revoke(revocation, at);
  turn.notify = true;
  if (state_.revocation() == nullptr) return;  // withdrawn, or met already
  if (counted_ != revocation.id) {
    count_revocation();
    counted_ = revocation.id;
    ++counters_.revocations_asked;
  }
  counted_deadline_ = at + revocation.deadline;
  settle(turn);  // slack goes back here, on the source's thread: it waits for nothing
  if (state_.revocation() == nullptr) return;
  if (revocation.stage == RevokeStage::kSlack) {
    turn.progress.push_back(
        {revocation.id, revocation.target, RevokeState::kCannot, "the slack is in use by now"});
    state_.answer_revocation();
    return;
  }
  turn.progress.push_back({revocation.id, revocation.target, RevokeState::kWorking, "spilling"});
}

void LeaseCache::on_pulse(bool tight, Bytes chunk) {
  Turn turn(*this);
  state_.on_pulse(tight, chunk);
}

// ---- local spilling ----

std::optional<SpillNeed> LeaseCache::spill_need() {
  Turn turn(*this);
  settle(turn);
  if (const LeaseState::OpenRevocation* open = state_.revocation();
      open != nullptr && open->asked.stage == RevokeStage::kSpill) {
    SpillNeed need;
    need.bytes = state_.revocation_left();
    need.deadline = open->deadline;
    need.revocation = true;
    need.id = open->asked.id.value;
    return need;
  }
  for (LeaseWaiter* waiter : waiters_) {
    const Bytes bytes = std::min(waiter->spill_target, waiter->min) - waiter->got;
    if (bytes <= 0 || waiter->refusal) continue;
    SpillNeed need;
    need.bytes = bytes;
    need.deadline = waiter->deadline;
    need.asker = waiter->shard->account;
    need.task = need.asker->task;
    const Bytes share = options_.policy->share(*need.asker, book_.sums(), state_.size());
    // A task's share grows as its other consumers spill; another share does not.
    need.only_asker =
        need.task == nullptr && share - need.asker->charged < waiter->min - waiter->got;
    need.id = waiter->id;
    return need;
  }
  return std::nullopt;
}

void LeaseCache::spill_failed(const SpillNeed& need, const std::string& why) {
  Turn turn(*this);
  turn.notify = true;
  if (need.revocation) {
    const LeaseState::OpenRevocation* open = state_.revocation();
    if (open == nullptr || open->asked.id.value != need.id) return;
    turn.progress.push_back({open->asked.id, open->asked.target, RevokeState::kCannot, why});
    state_.answer_revocation();
    return;
  }
  for (LeaseWaiter* waiter : waiters_) {
    if (waiter->id != need.id) continue;
    waiter->spill_target = 0;
    waiter->spill_failed = true;
    if (options_.borrows) {
      // The daemon said to spill: without that it would say so again.
      LeaseRefusal refusal;
      refusal.reason = why;
      refusal.cause = waiter->last_denial;
      waiter->refusal = refusal;
    }
  }
}

}  // namespace membroker::lease
