#include <spdlog/spdlog.h>

#include <algorithm>

#include "server/broker/broker.h"

namespace membroker::broker {

/// One frame, in the order in which its reader needs it: Welcome with its leases; answers; leases;
/// revocations; the rest. A LeaseSet has the grants of all answers in it, so it never goes before
/// one that is still waiting for room.
bool Broker::compose(ConnectionId connection, Instant now, v1::ServerFrame* frame) {
  begin(now);
  const auto found = connections_.find(connection);
  if (found == connections_.end()) return false;
  Session* session = find(found->second.session);
  if (session == nullptr || !anything_to_tell(*session)) return false;
  Outbox& outbox = session->outbox;
  frame->Clear();
  frame->set_epoch(epoch_.value);
  frame->set_attach(session->attach.value);
  if (outbox.welcome) add_welcome(*session, frame);
  outbox.welcome = false;

  // Per lease a LeaseSet and a Revoke; Pulse, Draining, Fenced.
  const int reserved = 2 * static_cast<int>(session->leases.size()) + 3;
  const int messages_max = static_cast<int>(config_.limits.frame_messages_max);
  outbox.take_answers(frame, std::max(messages_max - reserved, 1));
  if (!outbox.answers.empty()) return true;

  for (SessionLease& lease : session->leases) {
    if (lease.send_lease_set) add_lease_set(lease, session->id, frame);
  }
  for (SessionLease& lease : session->leases) {
    if (lease.send_revoke) add_revoke(lease, frame);
  }
  if (outbox.pulse) add_pulse(*session, frame);
  outbox.pulse = false;
  if (outbox.draining != v1::DRAIN_MODE_UNSPECIFIED) {
    v1::Draining* draining = frame->add_messages()->mutable_draining();
    draining->set_mode(outbox.draining);
    draining->set_grace_ms(static_cast<std::uint32_t>(outbox.draining_grace));
    outbox.draining = v1::DRAIN_MODE_UNSPECIFIED;
  }
  if (!outbox.fenced.empty()) {
    frame->add_messages()->mutable_fenced()->set_reason(outbox.fenced);
    outbox.fenced.clear();
  }
  if (restarting_) {
    // Not before: a stream that still wrote something else would end without being told.
    end_stream(connection, EndCode::kUnavailable, kGoingAway);
    commit();
  }
  return true;
}

bool Broker::anything_to_tell(const Session& session) const {
  const Outbox& outbox = session.outbox;
  return outbox.welcome || outbox.pulse || !outbox.answers.empty() || !outbox.fenced.empty() ||
         outbox.draining != v1::DRAIN_MODE_UNSPECIFIED ||
         std::any_of(session.leases.begin(), session.leases.end(), [](const SessionLease& lease) {
           return lease.send_lease_set || lease.send_revoke;
         });
}

void Broker::add_welcome(const Session& session, v1::ServerFrame* frame) const {
  v1::Welcome* welcome = frame->add_messages()->mutable_welcome();
  welcome->set_protocol_version(1);
  welcome->set_session_id(session.id.value);
  welcome->set_epoch(epoch_.value);
  welcome->set_attach(session.attach.value);
  welcome->set_heartbeat_ms(static_cast<std::uint32_t>(config_.times.heartbeat_interval));
  welcome->set_session_ttl_ms(static_cast<std::uint32_t>(config_.times.session_ttl));
  welcome->set_resumed(session.outbox.resumed);
}

void Broker::add_lease_set(SessionLease& lease, SessionId id, v1::ServerFrame* frame) {
  const Resource& resource = resources_[lease.resource];
  const auto view = resource.arbiter.lease(id);
  lease.told_debt = view ? view->debt : 0;
  lease.send_lease_set = false;
  v1::LeaseSet* set = frame->add_messages()->mutable_lease_set();
  set->set_resource(resource.config.name);
  set->set_granted_total(lease.totals.granted);
  set->set_overdrawn_total(lease.totals.overdrawn);
  set->set_returned_total(lease.totals.returned);
  set->set_floor_bytes(lease.floor);
  set->set_debt_bytes(lease.told_debt);
}

void Broker::add_revoke(SessionLease& lease, v1::ServerFrame* frame) const {
  lease.send_revoke = false;
  if (!lease.revocation) return;
  const OpenRevocation& open = *lease.revocation;
  lease.told_target = open.target;
  v1::Revoke* revoke = frame->add_messages()->mutable_revoke();
  revoke->set_revocation_id(open.id.value);
  revoke->set_resource(resources_[lease.resource].config.name);
  revoke->set_target_returned_total(open.target);
  revoke->set_stage(to_wire(open.stage));
  revoke->set_reason(to_wire(open.reason));
  revoke->set_deadline_ms(
      static_cast<std::uint32_t>(std::clamp<Millis>(open.deadline - now_, 0, UINT32_MAX)));
}

void Broker::add_pulse(const Session& session, v1::ServerFrame* frame) const {
  v1::Pulse* pulse = frame->add_messages()->mutable_pulse();
  for (const SessionLease& lease : session.leases) {
    const Resource& resource = resources_[lease.resource];
    v1::PulseLease* wire = pulse->add_leases();
    wire->set_resource(resource.config.name);
    wire->set_tight(resource.arbiter.tight(session.id));
    wire->set_chunk_hint_bytes(resource.arbiter.chunk());
  }
}

}  // namespace membroker::broker
