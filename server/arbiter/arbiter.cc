#include "server/arbiter/arbiter.h"

#include <algorithm>
#include <utility>

#include "server/arbiter/breaker.h"
#include "server/arbiter/planner.h"
#include "server/arbiter/pump.h"
#include "server/arbiter/sessions.h"
#include "server/arbiter/state.h"
#include "server/arbiter/tenants.h"
#include "shared/check.h"

namespace membroker::arbiter {

Arbiter::Arbiter(Bytes capacity, ArbiterOptions options)
    : state_(std::make_unique<State>(capacity, options)) {
  MB_CHECK(capacity >= 0 && capacity <= kCapacityMax);
}
Arbiter::~Arbiter() = default;
Arbiter::Arbiter(Arbiter&&) noexcept = default;
Arbiter& Arbiter::operator=(Arbiter&&) noexcept = default;

void Arbiter::apply(Instant now, const Event& event, Effects& effects) {
  state_->begin(now, effects);
  std::visit([this](const auto& kind) { state_->on(kind); }, event);
  state_->settle();
}

void Arbiter::expire(Instant now, Effects& effects) {
  state_->begin(now, effects);
  state_->settle();
}

Instant Arbiter::next_deadline() const { return state_->next_deadline(); }

// ---- State ----

void Arbiter::State::begin(Instant now, Effects& effects) {
  MB_CHECK(now >= core.now);
  core.now = now;
  core.effects = &effects;
  revocations.pass_deadlines();
  queue.pass_deadlines();
}

// What is asked for a request that cannot wait is withdrawn in the same event.
void Arbiter::State::on(const Acquire& event) {
  Request* request = queue.admit(event);
  if (request == nullptr || event.wait > 0) return;
  const RequestId id = request->id;
  const Lease& lease = *request->lease;
  settle();
  request = lease.find_wait(id);
  if (request != nullptr) queue.answer_late(*request);
}

void Arbiter::State::on(const Cancel& event) {
  Lease* lease = core.tree.sessions().find(event.session);
  if (lease != nullptr) queue.cancel(*lease, event.request);
}

void Arbiter::State::settle() {
  if (core.now - shown_at >= kSettlePeriod) {
    core.tree.show_all();
    shown_at = core.now;
  }
  for (;;) {
    pump.run();
    if (pump.cover_debts()) continue;
    if (!planner.run()) break;
  }
  breaker.run();
  revocations.withdraw_unneeded();
  planner.settled();
  settled_at = core.now;
}

bool Arbiter::State::unsettled() const {
  const Tenant& root = core.tree.root();
  return root.waiting_requests > 0 || root.debt > 0 || root.counted.excess > 0;
}

Instant Arbiter::State::next_deadline() const {
  Instant next = Instant::never();
  if (!core.lease_timers.empty()) next = std::min(next, {core.lease_timers.top().key});
  if (!core.request_timers.empty()) next = std::min(next, {core.request_timers.top().key});
  if (unsettled()) next = std::min(next, settled_at + kSettlePeriod);
  return next;
}

}  // namespace membroker::arbiter
