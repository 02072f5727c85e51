#include "server/arbiter/queue.h"

#include <algorithm>
#include <utility>

#include "shared/check.h"

namespace membroker::arbiter {

namespace {

Millis retry_after(Hint hint) {
  return hint == Hint::kWait || hint == Hint::kRollback ? kRetryAfter : 0;
}

bool about_memory(DenyReason reason) {
  return reason == DenyReason::kDeadline || reason == DenyReason::kSelfSpill ||
         reason == DenyReason::kDeadlock;
}

}  // namespace

// ---- admission ----

void Queue::refuse(const Acquire& acquire, DenyReason reason, Hint hint, Bytes self_spill,
                   Bytes attainable) {
  Denied denied;
  denied.session = acquire.session;
  denied.request = acquire.request;
  denied.reason = reason;
  denied.hint = hint;
  denied.self_spill = self_spill;
  denied.attainable = attainable;
  denied.retry_after = retry_after(hint);
  core_.emit(std::move(denied));
}

Request* Queue::admit(const Acquire& acquire) {
  Lease* lease = core_.tree.sessions().find(acquire.session);
  if (lease != nullptr && lease->find_wait(acquire.request) != nullptr) return nullptr;  // a replay
  const auto no = [&](DenyReason reason, Hint hint, Bytes self_spill = 0) {
    refuse(acquire, reason, hint, self_spill);
    return nullptr;
  };
  const bool sane = acquire.min > 0 && acquire.min <= acquire.want && acquire.wait >= 0;
  if (lease == nullptr || !sane) return no(DenyReason::kInvalid, Hint::kNone);
  if (lease->state == SessionState::kSuspect) return no(DenyReason::kSessionSuspect, Hint::kWait);
  if (!lease->active_session()) return no(DenyReason::kSessionFenced, Hint::kWait);
  if (core_.draining) return no(DenyReason::kDraining, Hint::kWait);
  if (lease->parent->removed) return no(DenyReason::kTenantRemoved, Hint::kRollback);
  if (std::ssize(lease->waits) >= core_.options.waits_per_lease_max) {
    return no(DenyReason::kTooManyWaits, Hint::kWait);
  }
  if (lease->overdue > 0) return no(DenyReason::kOverdue, Hint::kSpill, lease->overdue);
  if (lease->debt > 0) return no(DenyReason::kDebt, Hint::kSpill, lease->debt);
  const Bytes attainable = std::max(Bytes{0}, core_.tree.attainable(*lease->parent) - lease->held);
  if (acquire.min > attainable) {
    refuse(acquire, DenyReason::kTooLarge, attainable == 0 ? Hint::kSpill : Hint::kSmaller, 0,
           attainable);
    return nullptr;
  }
  return &enqueue(*lease, acquire, std::min(acquire.want, attainable));
}

Request& Queue::enqueue(Lease& lease, const Acquire& acquire, Bytes want) {
  auto made = std::make_unique<Request>();
  Request& request = *made;
  request.lease = &lease;
  request.id = acquire.request;
  request.want = want;
  request.min = acquire.min;
  request.priority = acquire.priority;
  request.arrived = core_.now;
  request.deadline = core_.now + std::min(acquire.wait, kWaitMax);
  request.arrival = ++arrivals_;
  lease.waits.push_back(std::move(made));
  arm(request);
  core_.tree.add(lease, {.waiting = want, .waiting_requests = 1});
  return request;
}

// Past half its wait it is aged; that instant comes before its deadline.
void Queue::arm(Request& request) {
  const Millis half = (request.deadline - request.arrived) / 2;
  const Instant ages = request.arrived + half + 1;
  const bool ageing = !request.aged && ages < request.deadline;
  core_.request_timers.put(request, (ageing ? ages : request.deadline).ms);
}

// ---- answers ----

std::unique_ptr<Request> Queue::take(Request& request) {
  Lease& lease = *request.lease;
  const auto at = std::find_if(lease.waits.begin(), lease.waits.end(),
                               [&](const auto& wait) { return wait.get() == &request; });
  MB_CHECK(at != lease.waits.end());
  std::unique_ptr<Request> taken = std::move(*at);
  lease.waits.erase(at);
  core_.request_timers.drop(request);
  std::erase(hidden_, &request);
  std::erase_if(heads_, [&](const Head& head) { return head.request == &request; });
  return taken;
}

void Queue::grant(Request& request, Bytes bytes) {
  MB_CHECK(bytes >= request.min && bytes <= request.want);
  const auto taken = take(request);
  core_.tree.add(*taken->lease, {.held = bytes,
                                 .planned = -taken->got,
                                 .waiting = -Wide{taken->want},
                                 .waiting_requests = -1});
  core_.progress_at = core_.now;
  const GrantKind kind = bytes == taken->want ? GrantKind::kFree : GrantKind::kPartial;
  core_.emit(Granted{taken->lease->session, taken->id, bytes, kind});
}

void Queue::deny(Request& request, DenyReason reason, Hint hint, Bytes self_spill) {
  const auto taken = take(request);
  core_.tree.add(*taken->lease,
                 {.planned = -taken->got, .waiting = -Wide{taken->want}, .waiting_requests = -1});
  Denied denied;
  denied.session = taken->lease->session;
  denied.request = taken->id;
  denied.reason = reason;
  denied.hint = hint;
  denied.self_spill = self_spill;
  denied.retry_after = retry_after(hint);
  if (about_memory(reason)) denied.holders = largest_holders(*taken->lease->parent);
  core_.emit(std::move(denied));
}

void Queue::deny_all(Lease& lease, DenyReason reason, Hint hint) {
  while (!lease.waits.empty()) {
    const auto earliest =
        std::min_element(lease.waits.begin(), lease.waits.end(),
                         [](const auto& a, const auto& b) { return a->arrival < b->arrival; });
    deny(**earliest, reason, hint);
  }
}

void Queue::cancel(Lease& lease, RequestId id) {
  Request* request = lease.find_wait(id);
  if (request != nullptr) deny(*request, DenyReason::kCancelled, Hint::kNone);
}

void Queue::answer_late(Request& request) {
  const Lease& lease = *request.lease;
  const Bytes bytes = std::min(core_.tree.room(*lease.parent).bytes, request.want);
  if (bytes >= request.min && lease.parent->debt == 0 && may_pass(request)) {
    pass(request);
    grant(request, bytes);
    return;
  }
  const Bytes self_spill = std::min(request.min, lease.slack + lease.reclaimable);
  deny(request, DenyReason::kDeadline, self_spill > 0 ? Hint::kSpill : Hint::kWait, self_spill);
}

void Queue::pass_deadlines() {
  auto& timers = core_.request_timers;
  while (!timers.empty() && timers.top().key <= core_.now.ms) {
    Request& request = *timers.top().item;
    if (request.deadline.ms <= timers.top().key) {
      answer_late(request);
      continue;
    }
    request.aged = true;
    arm(request);
    core_.tree.refresh(*request.lease);
  }
}

// ---- order ----

Request* Queue::first() {
  const Account* node = &core_.tree.root();
  while (node != nullptr && !node->is_lease) {
    const Tenant& tenant = as_tenant(*node);
    core_.tree.visited(tenant.classes.size());
    node = core_.policy.first_waiting(tenant, core_.tree.chunk());
  }
  return node == nullptr ? nullptr : as_lease(*node).first_wait();
}

void Queue::hide(Request& request) {
  request.hidden = true;
  hidden_.push_back(&request);
  core_.tree.reorder(*request.lease);
}

void Queue::unhide_all() {
  for (Request* request : hidden_) request->hidden = false;
  for (Request* request : hidden_) core_.tree.reorder(*request->lease);
  hidden_.clear();
}

// ---- heads ----

void Queue::begin_pump() {
  std::erase_if(heads_, [](const Head& head) {
    const Tenant* node = head.request->lease->parent;
    while (node != nullptr && !node->set_aside) node = node->parent;
    return node == nullptr;
  });
  // Further up bytes may have come free: what it is kept from now may be nearer.
  for (Head& head : heads_) head.tight = core_.tree.room(*head.request->lease->parent).tight;
  ++pump_;
}

bool Queue::is_head(const Request& request) const {
  return std::any_of(heads_.begin(), heads_.end(),
                     [&](const Head& head) { return head.request == &request; });
}

// Whoever the pump that found the head did not come to is behind it.
bool Queue::is_before(const Head& head, const Request& request) {
  return request.seen_in != head.request->seen_in || head.request->position < request.position;
}

bool Queue::in_small_lane(const Request& head, Bytes bytes) const {
  const Bytes capacity = core_.tree.capacity();
  return bytes <= capacity / kSmallRequestDivisor &&
         head.lane_used + bytes <= capacity / kSmallLaneDivisor;
}

bool Queue::may_pass(const Request& request) const {
  return std::all_of(heads_.begin(), heads_.end(), [&](const Head& head) {
    if (!is_before(head, request) || !on_path(*head.tight, *request.lease->parent)) return true;
    if (in_small_lane(*head.request, request.want)) return true;
    return head.request->passes_left > 0 && head.request->lease != request.lease;
  });
}

void Queue::pass(const Request& request) {
  for (const Head& head : heads_) {
    if (!is_before(head, request) || !on_path(*head.tight, *request.lease->parent)) continue;
    if (in_small_lane(*head.request, request.want)) {
      head.request->lane_used += request.want;
    } else {
      --head.request->passes_left;
    }
  }
}

bool Queue::behind_head(const Request& request) const {
  return std::any_of(heads_.begin(), heads_.end(), [&](const Head& head) {
    return on_path(*head.tight, *request.lease->parent);
  });
}

// ---- holders ----

std::vector<Holder> largest_holders(const Tenant& tenant) {
  constexpr std::size_t kHolders = 3;
  std::vector<const Account*> found;
  const Account* side = nullptr;
  for (const Tenant* node = &tenant; node != nullptr; side = node, node = node->parent) {
    for (const auto& siblings : node->classes) {
      if (siblings->leases && node != &tenant) continue;
      std::size_t taken = 0;
      siblings->active.walk([&](const auto& entry) {
        if (entry.item != side) {
          found.push_back(entry.item);
          ++taken;
        }
        return taken < kHolders;
      });
    }
  }
  std::sort(found.begin(), found.end(), [](const Account* a, const Account* b) {
    return a->held != b->held ? a->held > b->held : name_before(*a, *b);
  });
  std::vector<Holder> holders;
  for (const Account* account : found) {
    if (holders.size() == kHolders || account->held == 0) break;
    if (account->is_lease) {
      holders.push_back({path_of(tenant), as_lease(*account).session, account->held});
    } else {
      holders.push_back({path_of(as_tenant(*account)), SessionId{}, account->held});
    }
  }
  return holders;
}

}  // namespace membroker::arbiter
