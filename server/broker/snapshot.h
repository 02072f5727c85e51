#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "server/arbiter/arbiter.h"
#include "server/broker/session.h"
#include "shared/bytes.h"
#include "shared/ids.h"
#include "shared/time.h"

/// \file
/// The broker's state as admins and metrics read it: values, made on the broker's thread, then
/// never changed, so that any thread may read them.

namespace membroker::broker {

/// What has happened to one resource since the daemon started.
struct ResourceCounters {
  std::uint64_t granted = 0;
  std::uint64_t denied = 0;
  std::uint64_t revoked = 0;           // revocations opened
  std::uint64_t revoke_answered = 0;   // of these: met, done or cannot, in time
  std::uint64_t revoke_late = 0;       // of these: deadline passed
  std::uint64_t revoke_withdrawn = 0;  // of these: no longer needed
  Bytes peak_held = 0;
  Bytes peak_debt = 0;
};

/// What has happened to one tenant and those below it, of one resource, since the daemon started or
/// the tenant was made.
struct TenantCounters {
  std::uint64_t revoked = 0;  // revocations opened
  Bytes spilled = 0;          // written to spill files, as the clients report
};

struct ResourceRow {
  std::string name;
  Bytes capacity = 0;  // what is lent at most, now
  Bytes chunk = 0;
  arbiter::NodeView root;
  ResourceCounters counters;
  Bytes withheld = 0;  // of the capacity as set, besides `capacity`
  std::uint32_t tenants_over_debt_cap = 0;
  Bytes guaranteed = 0;  // to tenants, of the capacity as set
};

struct TenantRow {
  std::string resource;
  arbiter::TenantView view = {};
  Bytes orphaned = 0;  // of its held bytes: by forked children of gone sessions
  TenantCounters counters = {};

  /// The alarm that its debt raises, while it lasts.
  bool debt_over_cap() const { return view.debt > view.debt_cap; }
};

struct SessionRow {
  SessionId id;
  Peer peer;
  std::string tenant;
  std::string client_name;
  std::map<std::string, std::string> labels;
  std::string state;  // session_state_name(), or "recovered"
  std::int32_t priority = 0;
  Attach attach;
  Instant opened_at;
  Instant last_frame;
  Bytes held = 0;  // of the first resource
};

struct LeaseRow {
  std::string resource;
  std::string client_name;
  arbiter::LeaseView view;
  LedgerTotals totals;
  ReportedUse use;
  pid_t orphan_pid = 0;  // no lease: what this forked child of a gone session still holds
};

/// What went wrong or was odd, since the daemon started.
struct BrokerCounters {
  std::uint64_t sessions_opened = 0;
  std::uint64_t sessions_resumed = 0;
  std::uint64_t sessions_recovered = 0;  // from the ledger, at the start
  std::uint64_t sessions_suspected = 0;
  std::uint64_t sessions_fenced = 0;
  std::uint64_t sessions_gone = 0;  // process ended or exec'ed, or goodbye
  std::uint64_t streams_refused = 0;
  std::uint64_t stale_frames = 0;     // of another (epoch, attach)
  std::uint64_t odd_inventories = 0;  // say more than the record has
  std::uint64_t debt_alarms = 0;
  std::uint64_t processes_execed = 0;  // seen to run another image, with sessions of the one before
  std::uint64_t orphans_left = 0;      // forked children that held pages of a process that ended
  std::uint64_t orphans_unmeasured = 0;  // the same, but what they hold could not be seen
};

struct Snapshot {
  Epoch epoch;
  Instant started_at;
  std::string state;                   // "serving", "recovering", "draining"
  std::uint32_t sessions_suspect = 0;  // quarantined and fenced ones included
  std::uint32_t tenants = 0;
  BrokerCounters counters;
  std::vector<ResourceRow> resources;  // in the order of the configuration
  std::vector<TenantRow> tenant_rows;  // by resource; parents before children
  std::vector<SessionRow> sessions;    // by id
  std::vector<LeaseRow> leases;        // by session, resource; then orphans
};

}  // namespace membroker::broker
