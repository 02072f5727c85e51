#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "server/broker/broker.h"
#include "shared/check.h"

namespace membroker::broker {

/// The first frame of a stream. Everything that can be wrong with it is found before anything is
/// changed, so a refused Hello leaves an older stream of its session alone.
void Broker::hello(ConnectionId connection, ConnectionRecord& record,
                   const v1::ClientFrame& frame) {
  auto request = check_hello(frame, config_);
  if (!request) return end_stream(connection, request.error());

  Session* session = session_of(record.peer, request->token_hash);
  const bool resumed = session != nullptr;
  if (resumed) {
    if (auto ok = check_resume(*session, *request); !ok) return end_stream(connection, ok.error());
    // Where the daemon found the session at its start it may have failed to.
    if (auto ok = check_watched(record.peer); !ok) return end_stream(connection, ok.error());
    replace_stream(*session);
    if (auto ok = resume_session(*session, *request); !ok) {
      return end_stream(connection, ok.error());
    }
  } else {
    if (auto ok = check_new(*request, record.peer); !ok) return end_stream(connection, ok.error());
    auto opened = open_session(*request, record.peer);
    if (!opened) return end_stream(connection, opened.error());
    session = *opened;
  }
  attach(*session, connection, *request, resumed);
}

Session* Broker::session_of(const Peer& peer, const std::array<std::uint8_t, 16>& token_hash) {
  const auto found = by_process_.find(peer.key());
  if (found == by_process_.end()) return nullptr;
  for (const SessionId id : found->second) {
    Session* session = find(id);
    if (session->token_hash == token_hash) return session;
  }
  return nullptr;
}

Status Broker::check_resume(const Session& session, const HelloRequest& request) const {
  if (request.tenant != session.tenant) {
    return fail(ErrorCode::kInvalid,
                fmt::format("the session is one of tenant {}, Hello names {}",
                            log_text(session.tenant), log_text(request.tenant)));
  }
  if (request.attach <= session.attach) {
    return fail(ErrorCode::kInvalid,
                fmt::format("attach {} is not newer than {}, which the session has seen",
                            request.attach.value, session.attach.value));
  }
  for (const LeaseClaim& claim : request.leases) {
    const SessionLease* lease = session.lease_of(claim.resource);
    if (lease == nullptr) continue;
    if (auto ok = check_totals(*lease, claim.totals); !ok) return ok;
  }
  return {};
}

Status Broker::check_new(const HelloRequest& request, const Peer& peer) const {
  if (auto ok = check_tenant(request.tenant, peer); !ok) return ok;
  if (draining_) {
    return fail(ErrorCode::kUnavailable, "the daemon is drained and takes no new sessions");
  }
  if (recovering() && !request.claims_bytes()) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("the daemon has lost its ledger and first learns what is held; try "
                            "again in {} ms",
                            recovering_until_ - now_));
  }
  if (auto ok = check_room(peer); !ok) return ok;
  return check_watched(peer);  // last: it costs system calls
}

/// A process that has ended already would never be let go.
Status Broker::check_watched(const Peer& peer) const {
  const Status watched = watch_(peer);
  if (watched) return {};
  return fail(ErrorCode::kUnsupported,
              fmt::format("process {} cannot be watched: {}", peer.pid, watched.error().message()));
}

/// The nearest tenant upwards that names users or groups decides; if none does, everybody may.
Status Broker::check_tenant(const std::string& path, const Peer& peer) const {
  if (!tenants_.contains(path)) {
    return fail(ErrorCode::kNotFound, "there is no tenant " + log_text(path) +
                                          "; membrokerctl tenants lists those there are");
  }
  for (std::string_view at = path; !at.empty();) {
    const auto found = tenants_.find(std::string(at));
    if (found != tenants_.end()) {
      const TenantConfig& tenant = found->second;
      const bool uid = std::count(tenant.uids.begin(), tenant.uids.end(), peer.uid) > 0;
      const bool gid = in_any_group(peer, tenant.gids);
      if (uid || gid) return {};
      if (!tenant.uids.empty() || !tenant.gids.empty()) {
        return fail(ErrorCode::kPermissionDenied,
                    fmt::format("uid {} (gid {}) may not use tenant {}", peer.uid, peer.gid,
                                log_text(path)));
      }
    }
    const std::size_t slash = at.rfind('/');
    at = slash == std::string_view::npos ? std::string_view() : at.substr(0, slash);
  }
  return {};
}

Status Broker::check_room(const Peer& peer) const {
  const BrokerLimits& limits = config_.limits;
  if (sessions_.size() + orphans_.size() >= limits.sessions_max) {
    return fail(ErrorCode::kResourcesExhausted,
                fmt::format("all {} sessions are taken (sessions_max)", limits.sessions_max));
  }
  const auto uid = places_of_uid_.find(peer.uid);
  if (uid != places_of_uid_.end() && uid->second >= limits.sessions_per_uid_max) {
    return fail(ErrorCode::kResourcesExhausted,
                fmt::format("uid {} has all its {} sessions (sessions_per_uid_max)", peer.uid,
                            limits.sessions_per_uid_max));
  }
  return {};
}

void Broker::enter(std::unique_ptr<Session> session) {
  by_process_[session->peer.key()].insert(session->id);
  ++places_of_uid_[session->peer.uid];
  const SessionId id = session->id;
  sessions_[id] = std::move(session);
}

Result<Session*> Broker::open_session(const HelloRequest& request, const Peer& peer) {
  auto owned = std::make_unique<Session>();
  Session& session = *owned;
  session.id = SessionId{next_session_++};
  session.peer = peer;
  session.peer.groups.clear();  // have been asked for all that they are
  session.token_hash = request.token_hash;
  session.tenant = request.tenant;
  session.client_name = request.client_name;
  session.priority = request.priority;
  session.opened_at = session.last_frame = now_;
  enter(std::move(owned));
  for (const LeaseClaim& claim : request.leases) {
    if (auto ok = open_lease(session, claim); !ok) {
      drop(session);
      return fail(ok.error());
    }
  }
  ++counters_.sessions_opened;
  if (recovering()) resume_arbiters(session);
  session.state = SessionState::kActive;
  return &session;
}

/// Opens one lease of a session. Bytes that the client says it holds although there is no record
/// are charged: while the daemon recovers as they are, later as debt of the tenant beyond the
/// floor. To refuse them would not free them.
Status Broker::open_lease(Session& session, const LeaseClaim& claim) {
  Resource& resource = resources_[claim.resource];
  const Bytes held = claim.totals.held();
  const std::int32_t priority =
      std::min(session.priority, policy_of(session.tenant, claim.resource).priority_max);
  SessionLease lease;
  lease.resource = claim.resource;
  lease.totals = claim.totals;
  lease.use.slack = std::min(claim.slack, held);
  lease.use.reclaimable = std::min(claim.reclaimable, held);
  if (claim.totals == LedgerTotals{}) lease.spilled_counted = 0;
  if (recovering()) {
    lease.floor = std::min({claim.floor, resource.config.floor_max, held});
    feed(claim.resource, arbiter::Recovered{session.id, arbiter_name(session), session.tenant,
                                            priority, held, lease.floor});
  } else {
    opened_floor_.reset();
    refused_.reset();
    feed(claim.resource, arbiter::Open{session.id, arbiter_name(session), session.tenant, priority,
                                       claim.floor, held > 0});
    if (!opened_floor_) {
      return fail(ErrorCode::kResourcesExhausted,
                  fmt::format("resource {}: a floor of {} is refused: {}", resource.config.name,
                              format_bytes(claim.floor), refused_.value_or("no room")));
    }
    lease.floor = *opened_floor_;
    if (held < lease.floor) lease.totals.granted += lease.floor - held;
  }
  LedgerIdentity identity{
      session.id,     session.peer,         session.token_hash,  priority, lease.floor,
      session.tenant, resource.config.name, session.client_name, 0};
  auto slot = ledger_.claim(identity, lease.totals);
  if (!slot) {
    feed(claim.resource, arbiter::Gone{session.id});
    return fail(slot.error());
  }
  lease.slot = *slot;
  lease.recorded = lease.totals;
  session.leases.push_back(lease);
  if (!recovering() && held > lease.floor) {
    feed(claim.resource, arbiter::Report{session.id, lease.use.slack, lease.use.reclaimable});
    feed(claim.resource, arbiter::Over{session.id, held - lease.floor});
  }
  return {};
}

/// The stream that the session had is ended; whatever still arrives from it is dropped.
void Broker::replace_stream(Session& session) {
  session.open_requests.clear();
  if (!session.connection) return;
  const ConnectionId old = session.connection;
  detach(session);
  end_stream(old, EndCode::kReplaced, "the session has attached again on another stream");
}

Status Broker::resume_session(Session& session, const HelloRequest& request) {
  for (const LeaseClaim& claim : request.leases) {
    SessionLease* lease = session.lease_of(claim.resource);
    if (lease == nullptr) {
      if (auto ok = open_lease(session, claim); !ok) {
        suspect(session, "resume_refused");
        return ok;
      }
      continue;
    }
    take_totals(session, *lease, claim.totals);
    lease->use.slack = std::min(claim.slack, lease->totals.held());
    lease->use.reclaimable = std::min(claim.reclaimable, lease->totals.held());
  }
  std::sort(session.leases.begin(), session.leases.end(),
            [](const SessionLease& a, const SessionLease& b) { return a.resource < b.resource; });
  ++counters_.sessions_resumed;
  resume_arbiters(session);
  return {};
}

/// What the larger of both sides' totals would say must make sense.
Status Broker::check_totals(const SessionLease& lease, const LedgerTotals& claimed) const {
  LedgerTotals both{std::max(lease.totals.granted, claimed.granted),
                    std::max(lease.totals.overdrawn, claimed.overdrawn),
                    std::max(lease.totals.returned, claimed.returned)};
  const std::string& name = resources_[lease.resource].config.name;
  if (both.held() < 0) {
    return fail(ErrorCode::kInvalid,
                fmt::format("resource {}: returned_total {} is above granted_total {} + "
                            "overdrawn_total {}",
                            name, both.returned, both.granted, both.overdrawn));
  }
  if (both.held() > kLeaseHeldMax) {
    return fail(ErrorCode::kInvalid,
                fmt::format("resource {}: a lease cannot hold {} bytes", name, both.held()));
  }
  return {};
}

/// Each total becomes the larger of both sides'. A client that knows of more grants than the record
/// has is believed to hold them (it can only be to its own tenant's debit), never to have lent.
void Broker::take_totals(Session& session, SessionLease& lease, const LedgerTotals& claimed) {
  const Bytes unknown = std::max<Bytes>(0, claimed.granted - lease.totals.granted);
  const Bytes over = std::max<Bytes>(0, claimed.overdrawn - lease.totals.overdrawn);
  const Bytes returned = std::max<Bytes>(0, claimed.returned - lease.totals.returned);
  if (unknown > 0) {
    spdlog::warn("grants_unknown session={} tenant={} resource={} bytes={}", session.id.value,
                 session.tenant, resources_[lease.resource].config.name, unknown);
  }
  // Released first where it can be: an overdraft must not ask others for what is just coming back.
  const bool release_first = returned <= lease.totals.held();
  if (release_first && returned > 0) credit(session, lease, returned);
  if (unknown > 0) charge_unknown(session, lease, unknown);
  if (over > 0) charge_over(session, lease, over);
  if (!release_first) credit(session, lease, returned);
}

/// Makes the session ACTIVE in its arbiters. A revocation that was open when it became suspect is
/// overdue now; the client is told its target again, under the id it may know.
void Broker::resume_arbiters(Session& session) {
  session.state = SessionState::kActive;
  for (std::size_t i = 0; i < session.leases.size(); ++i) {
    SessionLease& lease = session.leases[i];
    const std::optional<OpenRevocation> old = std::exchange(lease.revocation, std::nullopt);
    feed(lease.resource,
         arbiter::Resumed{session.id, lease.totals.held(), lease.use.slack, lease.use.reclaimable});
    if (lease.revocation) continue;  // asked anew, and with it what is overdue
    const Bytes overdue = view_of(session, lease).overdue;
    if (overdue == 0) continue;
    lease.revocation = old.value_or(OpenRevocation{});
    if (!old) lease.revocation->id = RevocationId{next_revocation_++};
    if (!old || old->fate == OpenRevocation::Fate::kOpen) {
      ++resources_[lease.resource].counters.revoke_late;
    }
    lease.revocation->target = lease.totals.returned + overdue;
    lease.revocation->deadline = now_;
    lease.revocation->fate = OpenRevocation::Fate::kLate;
    lease.revocation->final_answer.reset();
    lease.send_revoke = true;
  }
}

void Broker::attach(Session& session, ConnectionId connection, const HelloRequest& request,
                    bool resumed) {
  ConnectionRecord& record = connections_.at(connection);
  record.session = session.id;
  hello_timers_.erase({record.hello_by, connection});
  session.attach = request.attach;
  session.connection = connection;
  session.client_name = request.client_name;
  session.labels = request.labels;
  session.recovered = false;
  session.last_frame = now_;
  session.next_pulse = now_ + config_.times.heartbeat_interval;
  session.outbox.clear();
  session.outbox.welcome = true;
  session.outbox.resumed = resumed;
  if (draining_) session.outbox.draining = v1::DRAIN_MODE_DRAIN;
  for (SessionLease& lease : session.leases) {
    lease.told_target = 0;
    lease.send_lease_set = true;
  }
  mark_ready(session);
  schedule(session);
  touch(session);
  spdlog::info("{} session={} tenant={} pid={} uid={} client={} attach={}",
               resumed ? "session_resumed" : "session_opened", session.id.value, session.tenant,
               session.peer.pid, session.peer.uid, log_text(session.client_name),
               session.attach.value);
  note(resumed ? "session_resumed" : "session_opened", session,
       fmt::format("pid={} uid={} client={} attach={}", session.peer.pid, session.peer.uid,
                   log_text(session.client_name), session.attach.value));
}

}  // namespace membroker::broker
