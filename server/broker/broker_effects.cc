#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "server/broker/broker.h"
#include "shared/check.h"

namespace membroker::broker {

void Broker::feed(std::size_t resource, const arbiter::Event& event) {
  arbiter::Effects effects;
  resources_[resource].arbiter.apply(now_, event, effects);
  apply_effects(resource, std::move(effects));
}

/// Effects only set state: nothing here feeds an arbiter, so that the effects of one event are all
/// seen before the next event. What must follow (fences, overflown outboxes) waits for commit().
void Broker::apply_effects(std::size_t resource, arbiter::Effects effects) {
  for (const arbiter::Effect& effect : effects) {
    std::visit([&](const auto& one) { on(resource, one); }, effect);
  }
  Resource& r = resources_[resource];
  const arbiter::NodeView root = r.arbiter.root();
  r.counters.peak_held = std::max(r.counters.peak_held, root.held);
  r.counters.peak_debt = std::max(r.counters.peak_debt, root.debt);
}

void Broker::on(std::size_t, const arbiter::Opened& opened) { opened_floor_ = opened.floor; }

void Broker::on(std::size_t, const arbiter::OpenRefused& refused) { refused_ = refused.reason; }

void Broker::on(std::size_t, const arbiter::Rejected& rejected) {
  refused_ = rejected.reason;
  spdlog::warn("event_rejected why={}", log_text(rejected.reason));
}

void Broker::on(std::size_t resource, const arbiter::Granted& granted) {
  Resource& r = resources_[resource];
  ++r.counters.granted;
  Session* session = find(granted.session);
  MB_CHECK(session != nullptr);
  SessionLease* lease = session->lease_of(resource);
  MB_CHECK(lease != nullptr);
  lease->totals.granted += granted.bytes;
  session->open_requests.erase(granted.request);
  touch(*session);
  v1::ServerMessage message;
  v1::Granted* wire = message.mutable_granted();
  wire->set_request_id(granted.request.value);
  wire->set_resource(r.config.name);
  wire->set_bytes(granted.bytes);
  wire->set_granted_total(lease->totals.granted);
  answer(*session, std::move(message));
  spdlog::debug("granted session={} tenant={} resource={} request={} bytes={}", session->id.value,
                session->tenant, r.config.name, granted.request.value, granted.bytes);
}

void Broker::on(std::size_t resource, const arbiter::Denied& denied) {
  Resource& r = resources_[resource];
  ++r.counters.denied;
  Session* session = find(denied.session);
  if (session == nullptr) return;
  session->open_requests.erase(denied.request);
  v1::ServerMessage message;
  v1::Denied* wire = message.mutable_denied();
  wire->set_request_id(denied.request.value);
  wire->set_resource(r.config.name);
  wire->set_reason(to_wire(denied.reason));
  wire->set_hint(to_wire(denied.hint));
  wire->set_self_spill_bytes(denied.self_spill);
  wire->set_attainable_bytes(denied.attainable);
  wire->set_retry_after_ms(static_cast<std::uint32_t>(denied.retry_after));
  // The asker's own tenant in detail, of the others only that they hold so much.
  Bytes others = 0;
  for (const arbiter::Holder& holder : denied.holders) {
    if (holder.tenant != session->tenant) {
      others += holder.held;
      continue;
    }
    v1::Holder* own = wire->add_holders();
    own->set_tenant(holder.tenant);
    own->set_held_bytes(holder.held);
    if (const Session* who = find(holder.session)) own->set_session(arbiter_name(*who));
  }
  if (others > 0) {
    v1::Holder* sum = wire->add_holders();
    sum->set_tenant("others");
    sum->set_held_bytes(others);
  }
  answer(*session, std::move(message));
  spdlog::debug("denied session={} tenant={} resource={} request={} why={}", session->id.value,
                session->tenant, r.config.name, denied.request.value, name_of(denied.reason));
}

/// The target on the wire: what has been returned, and the bytes still wanted, of which overdue
/// ones are a part.
void Broker::on(std::size_t resource, const arbiter::Revoke& revoke) {
  Resource& r = resources_[resource];
  Session* session = find(revoke.session);
  MB_CHECK(session != nullptr);
  SessionLease* lease = session->lease_of(resource);
  MB_CHECK(lease != nullptr);
  if (revoke.opened || !lease->revocation) {
    ++r.counters.revoked;
    count(resource, session->tenant, {.revoked = 1});
    lease->revocation = OpenRevocation{};
    lease->revocation->id = RevocationId{next_revocation_++};
  }
  OpenRevocation& open = *lease->revocation;
  open.target = lease->totals.returned + std::max(revoke.bytes, view_of(*session, *lease).overdue);
  open.stage = revoke.stage;
  open.reason = revoke.reason;
  open.deadline = revoke.deadline;
  open.fate = OpenRevocation::Fate::kOpen;
  open.final_answer.reset();
  lease->send_revoke = true;
  mark_ready(*session);
  spdlog::info(
      "lease_revoked session={} tenant={} resource={} revocation={} bytes={} stage={} "
      "reason={} deadline_ms={}",
      session->id.value, session->tenant, r.config.name, open.id.value, revoke.bytes,
      name_of(revoke.stage), name_of(revoke.reason), revoke.deadline - now_);
  note("lease_revoked", *session, resource, revoke.bytes,
       fmt::format("revocation={} stage={} reason={} deadline_ms={}", open.id.value,
                   name_of(revoke.stage), name_of(revoke.reason), revoke.deadline - now_));
}

/// What was opened and withdrawn before any frame left is never told.
void Broker::on(std::size_t resource, const arbiter::Withdraw& withdraw) {
  Resource& r = resources_[resource];
  Session* session = find(withdraw.session);
  MB_CHECK(session != nullptr);
  SessionLease* lease = session->lease_of(resource);
  MB_CHECK(lease != nullptr && lease->revocation);
  ++r.counters.revoke_withdrawn;
  OpenRevocation& open = *lease->revocation;
  const Bytes overdue = view_of(*session, *lease).overdue;
  open.target = lease->totals.returned + overdue;
  open.fate = overdue > 0 ? OpenRevocation::Fate::kLate : OpenRevocation::Fate::kWithdrawn;
  open.final_answer.reset();
  lease->send_revoke = overdue > 0 || lease->told_target > lease->totals.returned;
  if (lease->send_revoke) mark_ready(*session);
  spdlog::info("revoke_withdrawn session={} tenant={} resource={} revocation={} bytes={}",
               session->id.value, session->tenant, r.config.name, open.id.value, withdraw.bytes);
  note("revoke_withdrawn", *session, resource, withdraw.bytes,
       fmt::format("revocation={}", open.id.value));
}

/// Nothing to tell: the client knows target and deadline.
void Broker::on(std::size_t resource, const arbiter::Overdue& overdue) {
  Resource& r = resources_[resource];
  ++r.counters.revoke_late;
  Session* session = find(overdue.session);
  MB_CHECK(session != nullptr);
  SessionLease* lease = session->lease_of(resource);
  MB_CHECK(lease != nullptr && lease->revocation);
  lease->revocation->fate = OpenRevocation::Fate::kLate;
  spdlog::warn("revoke_overdue session={} tenant={} resource={} revocation={} bytes={}",
               session->id.value, session->tenant, r.config.name, lease->revocation->id.value,
               overdue.bytes);
  note("revoke_overdue", *session, resource, overdue.bytes,
       fmt::format("revocation={}", lease->revocation->id.value));
}

void Broker::on(std::size_t resource, const arbiter::Covered& covered) {
  Session* session = find(covered.session);
  MB_CHECK(session != nullptr);
  tell_debt(*session, *session->lease_of(resource));
}

/// Told once: how often a client overdraws further is its own choice.
void Broker::on(std::size_t resource, const arbiter::DebtOverCap& alarm) {
  if (!alarm.crossed) return;
  ++counters_.debt_alarms;
  spdlog::warn("debt_over_cap tenant={} resource={} debt={} cap={}", alarm.tenant,
               resources_[resource].config.name, alarm.debt, alarm.cap);
  note({.name = "debt_over_cap",
        .tenant = alarm.tenant,
        .resource = resources_[resource].config.name,
        .bytes = alarm.debt,
        .detail = fmt::format("cap={}", alarm.cap)});
}

void Broker::on(std::size_t resource, const arbiter::OverduePolicy& policy) {
  Session* session = find(policy.session);
  MB_CHECK(session != nullptr);
  spdlog::warn("revoke_ignored session={} tenant={} resource={} bytes={} action={}",
               session->id.value, session->tenant, resources_[resource].config.name, policy.bytes,
               policy.fence ? "fence" : "warn");
  note("revoke_ignored", *session, resource, policy.bytes,
       fmt::format("action={}", policy.fence ? "fence" : "warn"));
  if (policy.fence) to_fence_.push_back(policy.session);
}

// ---- what effects and frames have in common ----

void Broker::answer(Session& session, v1::ServerMessage message) {
  if (!session.connection) return;  // it asks again when it is back
  session.outbox.answers.push_back(std::move(message));
  if (session.outbox.overflown()) to_drop_.push_back(session.id);
  mark_ready(session);
}

void Broker::credit(Session& session, SessionLease& lease, Bytes returned) {
  lease.totals.returned += returned;
  touch(session);
  if (lease.revocation && lease.revocation->fate == OpenRevocation::Fate::kOpen &&
      lease.totals.returned >= lease.revocation->target) {
    lease.revocation->fate = OpenRevocation::Fate::kAnswered;
    ++resources_[lease.resource].counters.revoke_answered;
    note("revoke_answered", session, lease.resource, returned,
         fmt::format("revocation={} state=met", lease.revocation->id.value));
  }
  feed(lease.resource, arbiter::Release{session.id, returned});
  if (lease.told_debt > 0) tell_debt(session, lease);
}

void Broker::charge_over(Session& session, SessionLease& lease, Bytes bytes) {
  lease.totals.overdrawn += bytes;
  touch(session);
  feed(lease.resource, arbiter::Over{session.id, bytes});
  tell_debt(session, lease);
}

/// For the tenant and all above it.
void Broker::count(std::size_t resource, const std::string& tenant, const TenantCounters& more) {
  for (std::string path = tenant;;) {
    TenantCounters& counters = resources_[resource].tenant_counters[path];
    counters.revoked += more.revoked;
    counters.spilled = saturating_add(counters.spilled, more.spilled);
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return;
    path.resize(slash);
  }
}

/// Of tenants that are no more: removed, and nobody of them is left.
void Broker::drop_counters() {
  for (Resource& r : resources_) {
    std::erase_if(r.tenant_counters,
                  [&](const auto& counted) { return !r.arbiter.has_tenant(counted.first); });
  }
}

/// The same, where a session or an orphan of the tenant has gone.
void Broker::drop_counters(const std::string& tenant) {
  if (!tenants_.contains(tenant)) drop_counters();
}

/// After a report. What is reported is a total since the session began, so of a session that has
/// lived before the first one only says where to count from. No report adds more than a lease may
/// hold: an absurd figure must not fill the counter for ever.
void Broker::count_spilled(const Session& session, SessionLease& lease) {
  const Bytes before = lease.spilled_counted.value_or(lease.use.spilled);
  if (lease.use.spilled > before) {
    const Bytes more = std::min(lease.use.spilled - before, kLeaseHeldMax);
    count(lease.resource, session.tenant, {.spilled = more});
  }
  lease.spilled_counted = std::max(before, lease.use.spilled);
}

/// Grants that only the client knows of; see take_totals().
void Broker::charge_unknown(Session& session, SessionLease& lease, Bytes bytes) {
  lease.totals.granted += bytes;
  touch(session);
  feed(lease.resource, arbiter::Over{session.id, bytes});
}

void Broker::tell_debt(Session& session, SessionLease& lease) {
  if (view_of(session, lease).debt == lease.told_debt) return;
  lease.send_lease_set = true;
  mark_ready(session);
}

void Broker::fence(Session& session) {
  if (session.state == SessionState::kFenced) return;
  session.state = SessionState::kFenced;
  ++counters_.sessions_fenced;
  for (const SessionLease& lease : session.leases) {
    feed(lease.resource, arbiter::Fence{session.id});
  }
  if (session.connection) {
    session.outbox.fenced = "a revocation was ignored past its deadline; attach again";
  }
  mark_ready(session);
  schedule(session);
  spdlog::warn("session_fenced session={} tenant={} pid={} client={}", session.id.value,
               session.tenant, session.peer.pid, log_text(session.client_name));
  note("session_fenced", session);
}

/// Unique among live sessions, readable, and stable over a restart: the arbiter orders by it.
std::string Broker::arbiter_name(const Session& session) const {
  return fmt::format("{}#{}", session.client_name, session.id.value);
}

arbiter::LeaseView Broker::view_of(const Session& session, const SessionLease& lease) const {
  auto view = resources_[lease.resource].arbiter.lease(session.id);
  MB_CHECK(view.has_value());
  return std::move(*view);
}

}  // namespace membroker::broker
