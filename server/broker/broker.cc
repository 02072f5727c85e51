#include "server/broker/broker.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "shared/check.h"

namespace membroker::broker {
namespace {

constexpr Millis kSnapshotInterval = 100;

EndCode end_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNotFound: return EndCode::kNotFound;
    case ErrorCode::kPermissionDenied: return EndCode::kPermissionDenied;
    case ErrorCode::kResourcesExhausted: return EndCode::kResourceExhausted;
    case ErrorCode::kUnavailable: return EndCode::kUnavailable;
    case ErrorCode::kUnsupported: return EndCode::kUnauthenticated;  // cannot be watched
    default: return EndCode::kInvalidArgument;
  }
}

}  // namespace

Broker::Broker(BrokerConfig config, Epoch epoch, Ledger& ledger, WatchProcess watch, Instant now)
    : config_(std::move(config)),
      epoch_(epoch),
      ledger_(ledger),
      watch_(std::move(watch)),
      started_at_(now),
      now_(now),
      recovering_until_(ledger.lost() ? now + config_.times.recover_window : now),
      snapshot_at_(now - kSnapshotInterval) {
  MB_CHECK(!config_.resources.empty());
  for (const ResourceConfig& resource : config_.resources) {
    arbiter::ArbiterOptions options;
    options.floor_max = resource.floor_max;
    options.policy = resource.policy;
    resources_.push_back({resource, arbiter::Arbiter(resource.capacity, options), {}});
  }
  set_up_tenants();
  if (recovering()) {
    spdlog::warn("ledger_lost epoch={} recover_window_ms={}", epoch_.value,
                 config_.times.recover_window);
    note({.name = "ledger_lost",
          .detail = fmt::format("recover_window_ms={}", config_.times.recover_window)});
  }
  recover(ledger_.entries());
  commit();
}

void Broker::connected(ConnectionId connection, const Peer& peer, Instant now) {
  begin(now);
  const Instant hello_by = now_ + config_.times.session_ttl;
  const bool fresh = connections_.insert({connection, {peer, SessionId{}, hello_by}}).second;
  MB_CHECK(fresh);
  hello_timers_.insert({hello_by, connection});
  if (restarting_) {
    end_stream(connection, EndCode::kUnavailable, "the daemon is going away; try again later");
  }
}

void Broker::received(ConnectionId connection, const v1::ClientFrame& frame, Instant now) {
  begin(now);
  const auto found = connections_.find(connection);
  if (found == connections_.end()) return;
  if (static_cast<std::uint32_t>(frame.messages_size()) > config_.limits.frame_messages_max) {
    end_stream(connection, EndCode::kResourceExhausted,
               fmt::format("a frame of {} messages; the limit is {}", frame.messages_size(),
                           config_.limits.frame_messages_max));
  } else if (!found->second.session) {
    hello(connection, found->second, frame);
  } else {
    Session* session = find(found->second.session);
    MB_CHECK(session != nullptr && session->connection == connection);
    if (frame.epoch() != epoch_.value || frame.attach() != session->attach.value) {
      ++counters_.stale_frames;
      spdlog::debug("stale_frame session={} epoch={} attach={} current_attach={}",
                    session->id.value, frame.epoch(), frame.attach(), session->attach.value);
    } else {
      take_frame(connection, *session, frame);
    }
  }
  commit();
}

void Broker::received_bad(ConnectionId connection, EndCode code, const std::string& why,
                          Instant now) {
  begin(now);
  if (connections_.contains(connection)) end_stream(connection, code, why);
  commit();
}

void Broker::disconnected(ConnectionId connection, Instant now) {
  begin(now);
  const auto found = connections_.find(connection);
  if (found == connections_.end()) return;
  Session* session = find(found->second.session);
  hello_timers_.erase({found->second.hello_by, connection});
  connections_.erase(found);
  if (session != nullptr) {
    detach(*session);
    suspect(*session, "stream_lost");
  }
  commit();
}

void Broker::expire(Instant now) {
  begin(now);
  const bool changed = changed_;
  bool due = false;
  for (std::size_t i = 0; i < resources_.size(); ++i) {
    if (resources_[i].arbiter.next_deadline() > now_) continue;
    due = true;
    arbiter::Effects effects;
    resources_[i].arbiter.expire(now_, effects);
    apply_effects(i, std::move(effects));
  }
  while (!timers_.empty() && timers_.begin()->first <= now_) {
    Session* session = find(timers_.begin()->second);
    MB_CHECK(session != nullptr);
    due = true;
    session_due(*session);
  }
  while (!hello_timers_.empty() && hello_timers_.begin()->first <= now_) {
    const ConnectionId connection = hello_timers_.begin()->second;
    end_stream(connection, EndCode::kInvalidArgument,
               fmt::format("no Hello within {} ms", config_.times.session_ttl));
    due = true;
  }
  commit();
  changed_ = changed || due;  // an idle daemon publishes nothing
}

Instant Broker::next_deadline() const {
  Instant next = Instant::never();
  for (const Resource& resource : resources_) {
    next = std::min(next, resource.arbiter.next_deadline());
  }
  if (!timers_.empty()) next = std::min(next, timers_.begin()->first);
  if (!hello_timers_.empty()) next = std::min(next, hello_timers_.begin()->first);
  if (recovering_until_ > now_) next = std::min(next, recovering_until_);
  if (changed_) next = std::min(next, snapshot_at_ + kSnapshotInterval);
  return next;
}

std::vector<ConnectionId> Broker::take_ready() {
  std::vector<ConnectionId> ready;
  ready.reserve(ready_.size());
  for (const SessionId id : ready_) {
    Session* session = find(id);
    if (session == nullptr) continue;
    session->ready = false;
    if (session->connection) ready.push_back(session->connection);
  }
  ready_.clear();
  return ready;
}

std::vector<StreamEnd> Broker::take_ended() { return std::exchange(ended_, {}); }

std::shared_ptr<const Snapshot> Broker::take_snapshot(Instant now) {
  begin(now);
  if (recovering_until_ != started_at_ && recovering_until_ <= now_) {
    recovering_until_ = started_at_;
    changed_ = true;
    spdlog::info("recover_window_over epoch={}", epoch_.value);
    note({.name = "recover_window_over"});
  }
  if (!changed_ || now_ - snapshot_at_ < kSnapshotInterval) return nullptr;
  changed_ = false;
  snapshot_at_ = now_;
  return std::make_shared<const Snapshot>(snapshot());
}

// ---- the means ----

void Broker::begin(Instant now) { now_ = std::max(now_, now); }

/// Ends every entry point. What the event led to is finished, and on record, before anyone can
/// compose a frame that tells of it. All that was returned is recorded before anything granted, so
/// that a daemon killed in between does not find more lent than there is.
void Broker::commit() {
  while (!to_fence_.empty() || !to_drop_.empty()) {
    for (const SessionId id : std::exchange(to_fence_, {})) {
      if (Session* session = find(id)) fence(*session);
    }
    for (const SessionId id : std::exchange(to_drop_, {})) {
      Session* session = find(id);
      if (session == nullptr || !session->connection) continue;
      end_stream(session->connection, EndCode::kResourceExhausted,
                 fmt::format("more than {} answers are unread", Outbox::kAnswersMax));
    }
  }
  for (const SessionId id : touched_) {
    Session* session = find(id);
    if (session == nullptr) continue;
    for (SessionLease& lease : session->leases) {
      if (lease.recorded.returned == lease.totals.returned) continue;
      lease.recorded.returned = lease.totals.returned;
      ledger_.store(lease.slot, lease.recorded);
    }
  }
  for (const SessionId id : touched_) {
    Session* session = find(id);
    if (session == nullptr) continue;
    for (SessionLease& lease : session->leases) {
      if (lease.recorded == lease.totals) continue;
      lease.recorded = lease.totals;
      ledger_.store(lease.slot, lease.recorded);
    }
  }
  touched_.clear();
  changed_ = true;
}

void Broker::touch(Session& session) {
  if (touched_.empty() || touched_.back() != session.id) touched_.push_back(session.id);
}

void Broker::mark_ready(Session& session) {
  if (session.ready || !session.connection) return;
  session.ready = true;
  ready_.push_back(session.id);
}

/// Puts the session's next instant into the timers. Frames only move it later, so they leave it
/// alone: session_due() looks again.
void Broker::schedule(Session& session) {
  Instant due = Instant::never();
  if (session.connection) {
    due = session.next_pulse;
    if (session.state == SessionState::kActive && !restarting_) {
      due = std::min(due, session.last_frame + config_.times.session_ttl);
    }
  }
  if (session.state == SessionState::kSuspect) {
    due = std::min(due, session.suspect_since + config_.times.suspect_grace);
  }
  if (due == session.timer) return;
  timers_.erase({session.timer, session.id});
  session.timer = due;
  if (due != Instant::never()) timers_.insert({due, session.id});
}

void Broker::session_due(Session& session) {
  const BrokerTimes& times = config_.times;
  if (session.connection && session.next_pulse <= now_) {
    session.outbox.pulse = true;
    session.next_pulse = now_ + times.heartbeat_interval;
    mark_ready(session);
  }
  if (session.connection && session.state == SessionState::kActive && !restarting_ &&
      session.last_frame + times.session_ttl <= now_) {
    suspect(session, "silent");
  }
  if (session.state == SessionState::kSuspect &&
      session.suspect_since + times.suspect_grace <= now_) {
    session.state = SessionState::kQuarantined;
    spdlog::warn("session_quarantined session={} tenant={} pid={} client={} suspect_ms={}",
                 session.id.value, session.tenant, session.peer.pid, log_text(session.client_name),
                 now_ - session.suspect_since);
    note("session_quarantined", session,
         fmt::format("suspect_ms={}", now_ - session.suspect_since));
  }
  schedule(session);
}

void Broker::suspect(Session& session, const char* why) {
  if (session.state == SessionState::kActive && !restarting_) {
    session.state = SessionState::kSuspect;
    session.suspect_since = now_;
    ++counters_.sessions_suspected;
    spdlog::warn("session_suspect session={} tenant={} pid={} client={} why={}", session.id.value,
                 session.tenant, session.peer.pid, log_text(session.client_name), why);
    note("session_suspect", session, fmt::format("why={}", why));
    for (const SessionLease& lease : session.leases) {
      feed(lease.resource, arbiter::Suspect{session.id});
    }
  }
  schedule(session);
}

/// The stream is lost: what was meant for it is dropped, the state stays for the next Welcome.
void Broker::detach(Session& session) {
  session.connection = ConnectionId{};
  session.outbox.clear();
  schedule(session);
}

void Broker::end_stream(ConnectionId connection, const Error& why) {
  end_stream(connection, end_code(why.code()), why.message());
}

void Broker::end_stream(ConnectionId connection, EndCode code, std::string message) {
  const auto found = connections_.find(connection);
  MB_CHECK(found != connections_.end());
  const ConnectionRecord record = found->second;
  hello_timers_.erase({record.hello_by, connection});
  connections_.erase(found);
  // When the daemon goes away all streams end, which says nothing of their clients.
  if (code != EndCode::kOk && !restarting_) {
    ++counters_.streams_refused;
    spdlog::warn("stream_ended connection={} session={} pid={} uid={} why={}", connection.value,
                 record.session.value, record.peer.pid, record.peer.uid, log_text(message));
  }
  ended_.push_back({connection, code, std::move(message)});
  Session* session = find(record.session);
  if (session != nullptr && session->connection == connection) {
    detach(*session);
    suspect(*session, "stream_ended");
  }
}

/// The end of a session.
void Broker::forget(Session& session, const char* why, bool ram_ended) {
  spdlog::info("session_gone session={} tenant={} pid={} client={} why={}", session.id.value,
               session.tenant, session.peer.pid, log_text(session.client_name), why);
  note("session_gone", session, fmt::format("why={}", why));
  ++counters_.sessions_gone;
  if (session.connection) {
    const ConnectionId connection = session.connection;
    detach(session);
    end_stream(connection, EndCode::kOk, "the session has ended");
  }
  drop(session, ram_ended);
}

/// Everything it held is free, in the ledger before in the arbiter. `ram_ended`: the arbiter of the
/// first resource knows already.
void Broker::drop(Session& session, bool ram_ended) {
  const SessionId id = session.id;
  for (const SessionLease& lease : session.leases) {
    ledger_.release(lease.slot);
    if (lease.resource > 0 || !ram_ended) feed(lease.resource, arbiter::Gone{id});
  }
  timers_.erase({session.timer, id});
  const auto process = by_process_.find(session.peer.key());
  process->second.erase(id);
  if (process->second.empty()) by_process_.erase(process);
  give_up_place(session.peer);
  drop_counters(session.tenant);
  sessions_.erase(id);
}

Session* Broker::find(SessionId id) {
  const auto found = sessions_.find(id);
  return found == sessions_.end() ? nullptr : found->second.get();
}

}  // namespace membroker::broker
