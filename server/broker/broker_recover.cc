#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "server/broker/broker.h"
#include "server/broker/guarantees.h"
#include "shared/check.h"

namespace membroker::broker {

void Broker::set_up_tenants() {
  for (const TenantConfig& tenant : config_.tenants) {
    tenants_[tenant.path] = tenant;
    for (std::size_t i = 0; i < resources_.size(); ++i) {
      refused_.reset();
      feed(i, arbiter::SetTenant{tenant.path, policy_of(tenant.path, i)});
      // The configuration was validated by the same rules before.
      MB_CHECK(!refused_);
    }
  }
  for (std::size_t i = 0; i < resources_.size(); ++i) {
    resources_[i].guaranteed = add_up(policies_of(i)).sum;
  }
}

/// Charges what is on record, whatever the limits, then lets those go whose process has ended
/// while nobody looked.
void Broker::recover(const std::vector<LedgerEntry>& entries) {
  std::map<SessionId, std::vector<LedgerEntry>> by_session;
  for (const LedgerEntry& entry : entries) {
    next_session_ = std::max(next_session_, entry.identity.session.value + 1);
    if (entry.identity.orphan_of == 0) by_session[entry.identity.session].push_back(entry);
  }
  for (const auto& [id, slots] : by_session) recover_session(slots);
  recover_orphans(entries);
}

void Broker::recover_session(const std::vector<LedgerEntry>& slots) {
  const LedgerIdentity& identity = slots.front().identity;
  auto owned = std::make_unique<Session>();
  Session& session = *owned;
  session.id = identity.session;
  session.peer = identity.peer;
  session.token_hash = identity.token_hash;
  session.tenant = identity.tenant;
  session.client_name = identity.client_name;
  session.priority = identity.priority;
  session.state = SessionState::kSuspect;
  session.recovered = true;
  session.opened_at = session.last_frame = session.suspect_since = now_;
  for (const LedgerEntry& slot : slots) {
    const auto resource = resource_named(slot.identity.resource);
    if (!resource || session.lease_of(*resource) != nullptr) {
      spdlog::error("ledger_slot_dropped session={} pid={} resource={} held={} why={}",
                    session.id.value, session.peer.pid, log_text(slot.identity.resource),
                    slot.totals.held(), resource ? "twice" : "resource_not_configured");
      ledger_.release(slot.slot);
      continue;
    }
    SessionLease lease;
    lease.resource = *resource;
    lease.floor = slot.identity.floor;
    lease.totals = lease.recorded = slot.totals;
    // The daemon died after it had recorded what was returned and before what was overdrawn.
    if (lease.totals.held() < 0) {
      lease.totals.overdrawn = lease.totals.returned - lease.totals.granted;
    }
    lease.slot = slot.slot;
    session.leases.push_back(lease);
  }
  if (session.leases.empty()) return;
  std::sort(session.leases.begin(), session.leases.end(),
            [](const SessionLease& a, const SessionLease& b) { return a.resource < b.resource; });

  enter(std::move(owned));
  touch(session);
  for (const SessionLease& lease : session.leases) {
    feed(lease.resource,
         arbiter::Recovered{session.id, arbiter_name(session), session.tenant, session.priority,
                            lease.totals.held(), std::min(lease.floor, lease.totals.held())});
    spdlog::info("lease_recovered session={} tenant={} pid={} resource={} held={}",
                 session.id.value, session.tenant, session.peer.pid,
                 resources_[lease.resource].config.name, lease.totals.held());
    note("lease_recovered", session, lease.resource, lease.totals.held(),
         fmt::format("pid={}", session.peer.pid));
  }
  ++counters_.sessions_recovered;
  schedule(session);
  if (auto watched = watch_(session.peer); !watched) {
    if (watched.error().code() == ErrorCode::kNotFound) {
      forget(session, "process_ended_while_daemon_was_away");
    } else {
      spdlog::error("process_not_watched session={} pid={} why={}", session.id.value,
                    session.peer.pid, log_text(watched.error().message()));
    }
  }
}

}  // namespace membroker::broker
