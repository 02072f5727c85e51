#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "server/broker/broker.h"
#include "shared/utf8.h"

namespace membroker::broker {
namespace {

constexpr std::size_t kProgressReasonBytesMax = 256;

/// A figure that only informs: nothing below 0, and no more than the lease holds is of use.
Bytes figure(Bytes said, Bytes held) {
  return std::clamp<Bytes>(said, 0, std::max<Bytes>(held, 0));
}

Status negative(const char* message, const std::string& resource, const char* field, Bytes value) {
  return fail(ErrorCode::kInvalid,
              fmt::format("{}: resource {}: {} is {}", message, log_text(resource), field, value));
}

}  // namespace

/// A frame of the present epoch and attach. A message that is wrong ends the stream; those before
/// it have taken effect.
void Broker::take_frame(ConnectionId connection, Session& session, const v1::ClientFrame& frame) {
  session.last_frame = now_;
  const bool asleep =
      session.state == SessionState::kSuspect || session.state == SessionState::kQuarantined;
  if (asleep) {
    if (auto ok = wake(session, frame); !ok) return end_stream(connection, ok.error());
  }
  const SessionId id = session.id;
  for (const v1::ClientMessage& message : frame.messages()) {
    if (asleep && message.has_inventory()) continue;  // its figures woke the session
    if (auto ok = take_message(session, message); !ok) {
      return end_stream(connection, ok.error());
    }
    if (find(id) == nullptr) return;  // it said goodbye
  }
}

/// The first frame after silence resumes the session: its totals first, then its figures.
Status Broker::wake(Session& session, const v1::ClientFrame& frame) {
  for (const v1::ClientMessage& message : frame.messages()) {
    Status ok;
    if (message.has_release()) ok = on_release(session, message.release());
    if (message.has_overdraft()) ok = on_overdraft(session, message.overdraft());
    if (message.has_inventory()) ok = on_inventory(session, message.inventory(), false);
    if (!ok) return ok;
  }
  resume_arbiters(session);
  schedule(session);
  mark_ready(session);
  ++counters_.sessions_resumed;
  spdlog::info("session_awake session={} tenant={} pid={} silent_ms={}", session.id.value,
               session.tenant, session.peer.pid, now_ - session.suspect_since);
  note("session_awake", session, fmt::format("silent_ms={}", now_ - session.suspect_since));
  return {};
}

Status Broker::take_message(Session& session, const v1::ClientMessage& message) {
  switch (message.kind_case()) {
    case v1::ClientMessage::kHello:
      return fail(ErrorCode::kInvalid, "Hello twice on one stream; a new Hello needs a new stream");
    case v1::ClientMessage::kAcquire: return on_acquire(session, message.acquire());
    case v1::ClientMessage::kCancel: on_cancel(session, message.cancel()); return {};
    case v1::ClientMessage::kRelease: return on_release(session, message.release());
    case v1::ClientMessage::kOverdraft: return on_overdraft(session, message.overdraft());
    case v1::ClientMessage::kInventory: return on_inventory(session, message.inventory(), true);
    case v1::ClientMessage::kProgress: return on_progress(session, message.progress());
    case v1::ClientMessage::kGoodbye: return on_goodbye(session);
    case v1::ClientMessage::kSharedCharged:
    case v1::ClientMessage::KIND_NOT_SET: return {};  // of a version that knows more
  }
  return {};
}

Status Broker::on_acquire(Session& session, const v1::Acquire& acquire) {
  const RequestId request{acquire.request_id()};
  if (!request) {
    return fail(ErrorCode::kInvalid, "Acquire.request_id is 0; requests are numbered from 1");
  }
  if (session.open_requests.contains(request)) return {};  // a replay
  const auto resource = resource_named(acquire.resource());
  const SessionLease* lease = resource ? session.lease_of(*resource) : nullptr;
  v1::ServerMessage refusal;
  v1::Denied* denied = refusal.mutable_denied();
  denied->set_request_id(request.value);
  denied->set_resource(std::string(cut_text(acquire.resource(), config_.limits.text_bytes_max)));
  if (lease == nullptr) {
    denied->set_reason(v1::DENY_REASON_INVALID);
    denied->set_hint(v1::DENY_HINT_NONE);
    answer(session, std::move(refusal));
    return {};
  }
  if (recovering()) {
    ++resources_[*resource].counters.denied;
    denied->set_reason(v1::DENY_REASON_RECOVERING);
    denied->set_hint(v1::DENY_HINT_WAIT);
    denied->set_retry_after_ms(static_cast<std::uint32_t>(recovering_until_ - now_));
    answer(session, std::move(refusal));
    return {};
  }
  session.open_requests[request] = *resource;
  const std::int32_t priority =
      std::min(acquire.priority(), policy_of(session.tenant, *resource).priority_max);
  feed(*resource, arbiter::Acquire{session.id, request, acquire.want_bytes(), acquire.min_bytes(),
                                   static_cast<Millis>(acquire.wait_ms()), priority});
  return {};
}

/// Of an answered or unknown request: nothing; its one answer has gone out.
void Broker::on_cancel(Session& session, const v1::Cancel& cancel) {
  const auto found = session.open_requests.find(RequestId{cancel.request_id()});
  if (found == session.open_requests.end()) return;
  feed(found->second, arbiter::Cancel{session.id, found->first});
}

Status Broker::on_release(Session& session, const v1::Release& release) {
  auto lease = lease_named(session, release.resource(), "Release");
  if (!lease) return fail(lease.error());
  const LedgerTotals& totals = (*lease)->totals;
  if (release.returned_total() <= totals.returned) return {};
  if (release.returned_total() > totals.granted + totals.overdrawn) {
    return fail(ErrorCode::kInvalid,
                fmt::format("Release: resource {}: returned_total {} is above granted_total {} + "
                            "overdrawn_total {}",
                            release.resource(), release.returned_total(), totals.granted,
                            totals.overdrawn));
  }
  credit(session, **lease, release.returned_total() - totals.returned);
  return {};
}

Status Broker::on_overdraft(Session& session, const v1::Overdraft& overdraft) {
  auto lease = lease_named(session, overdraft.resource(), "Overdraft");
  if (!lease) return fail(lease.error());
  const LedgerTotals& totals = (*lease)->totals;
  if (overdraft.overdrawn_total() <= totals.overdrawn) return {};
  const Bytes growth = overdraft.overdrawn_total() - totals.overdrawn;
  if (overdraft.overdrawn_total() > kTotalMax || growth > kLeaseHeldMax - totals.held()) {
    return fail(ErrorCode::kInvalid,
                fmt::format("Overdraft: resource {}: with overdrawn_total {} the lease would hold "
                            "more than {} bytes",
                            overdraft.resource(), overdraft.overdrawn_total(), kLeaseHeldMax));
  }
  charge_over(session, **lease, growth);
  return {};
}

Status Broker::on_inventory(Session& session, const v1::Inventory& inventory, bool report) {
  for (const v1::LeaseUse& use : inventory.uses()) {
    auto lease = lease_named(session, use.resource(), "Inventory");
    if (!lease) return fail(lease.error());
    const Bytes held = (*lease)->totals.held();
    const std::pair<const char*, Bytes> figures[] = {{"reserved_bytes", use.reserved_bytes()},
                                                     {"slack_bytes", use.slack_bytes()},
                                                     {"reclaimable_bytes", use.reclaimable_bytes()},
                                                     {"allocated_bytes", use.allocated_bytes()},
                                                     {"spilled_bytes", use.spilled_bytes()}};
    for (const auto& [field, value] : figures) {
      if (value < 0) return negative("Inventory", use.resource(), field, value);
    }
    // What the client has not told of yet may make it hold less than the record, never more.
    if (saturating_add(use.reserved_bytes(), use.slack_bytes()) > held) {
      ++counters_.odd_inventories;
      if (!session.odd_inventory_logged) {
        spdlog::warn("inventory_odd session={} tenant={} resource={} reserved={} slack={} held={}",
                     session.id.value, session.tenant, use.resource(), use.reserved_bytes(),
                     use.slack_bytes(), held);
      }
      session.odd_inventory_logged = true;
    }
    (*lease)->use = {use.reserved_bytes(), figure(use.slack_bytes(), held),
                     figure(use.reclaimable_bytes(), held), use.allocated_bytes(),
                     use.spilled_bytes()};
    count_spilled(session, **lease);
    if (report) {
      feed((*lease)->resource,
           arbiter::Report{session.id, (*lease)->use.slack, (*lease)->use.reclaimable});
    }
  }
  return {};
}

/// An answer counts as one about the current target if id and target match; a final word that is
/// repeated is only a report, so that it is no second strike.
Status Broker::on_progress(Session& session, const v1::RevokeProgress& progress) {
  auto named = lease_named(session, progress.resource(), "RevokeProgress");
  if (!named) return fail(named.error());
  SessionLease& lease = **named;
  if (progress.slack_bytes() < 0) {
    return negative("RevokeProgress", progress.resource(), "slack_bytes", progress.slack_bytes());
  }
  if (progress.reclaimable_bytes() < 0) {
    return negative("RevokeProgress", progress.resource(), "reclaimable_bytes",
                    progress.reclaimable_bytes());
  }
  const auto state = from_wire(progress.state());
  const Bytes held = lease.totals.held();
  lease.use.slack = figure(progress.slack_bytes(), held);
  lease.use.reclaimable = figure(progress.reclaimable_bytes(), held);

  using Fate = OpenRevocation::Fate;
  std::optional<OpenRevocation>& revocation = lease.revocation;
  const bool current =
      revocation && state && (revocation->fate == Fate::kOpen || revocation->fate == Fate::kLate) &&
      revocation->id.value == progress.revocation_id() &&
      revocation->target == progress.target_returned_total() && revocation->final_answer != state;
  if (current && *state != arbiter::ProgressState::kWorking) {
    revocation->final_answer = state;
    if (revocation->fate == Fate::kOpen) {
      revocation->fate = Fate::kAnswered;
      ++resources_[lease.resource].counters.revoke_answered;
    }
    const char* answer = *state == arbiter::ProgressState::kDone ? "done" : "cannot";
    const std::string why = log_text(cut_text(progress.reason(), kProgressReasonBytesMax));
    spdlog::debug("revoke_answered session={} tenant={} revocation={} state={} why={}",
                  session.id.value, session.tenant, revocation->id.value, answer, why);
    note("revoke_answered", session, lease.resource, 0,
         fmt::format("revocation={} state={} why={}", revocation->id.value, answer, why));
  }
  feed(lease.resource,
       arbiter::Progress{session.id, current, state.value_or(arbiter::ProgressState::kWorking),
                         lease.use.slack, lease.use.reclaimable});
  return {};
}

Status Broker::on_goodbye(Session& session) {
  for (const SessionLease& lease : session.leases) {
    if (lease.totals.held() <= lease.floor) continue;
    return fail(
        ErrorCode::kInvalid,
        fmt::format("Goodbye with {} bytes of {} still held, {} of them floor", lease.totals.held(),
                    resources_[lease.resource].config.name, lease.floor));
  }
  forget(session, "goodbye");
  return {};
}

Result<SessionLease*> Broker::lease_named(Session& session, const std::string& resource,
                                          const char* message) const {
  const auto index = resource_named(resource);
  SessionLease* lease = index ? session.lease_of(*index) : nullptr;
  if (lease != nullptr) return lease;
  return fail(ErrorCode::kInvalid, fmt::format("{}: the session has no lease of resource {}",
                                               message, log_text(resource)));
}

}  // namespace membroker::broker
