#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "server/arbiter/events.h"
#include "server/broker/ledger.h"
#include "server/broker/outbox.h"
#include "server/broker/peer.h"
#include "shared/bytes.h"
#include "shared/ids.h"
#include "shared/time.h"

/// \file
/// What the broker knows of a session, of its leases and of a stream. Plain structs; the rules that
/// change them are the Broker's.
///
/// Thread: the broker's.

namespace membroker::broker {

/// One stream of one client, unique in the daemon's life; given by whoever owns the streams.
using ConnectionId = Id<struct ConnectionTag>;

/// Bytes a single lease may be said to hold. Hello and Overdraft are the client's word, and sums
/// over all sessions must stay far from overflow.
inline constexpr Bytes kLeaseHeldMax = Bytes{1} << 50;
/// A total may grow to this: a lease turns over 1 GiB/s for more than a century before.
inline constexpr Bytes kTotalMax = Bytes{1} << 61;

enum class SessionState { kActive, kSuspect, kQuarantined, kFenced };

/// "active", "suspect", "quarantined", "fenced". Static storage.
const char* session_state_name(SessionState state);

/// The revocation the client was, or is about to be, told of. The latest target wins: one struct,
/// no queue.
struct OpenRevocation {
  enum class Fate { kOpen, kAnswered, kLate, kWithdrawn };

  RevocationId id;
  Bytes target = 0;  // a value of returned_total
  arbiter::Stage stage = arbiter::Stage::kSlack;
  arbiter::RevokeReason reason = arbiter::RevokeReason::kFairShare;
  Instant deadline;
  Fate fate = Fate::kOpen;
  std::optional<arbiter::ProgressState> final_answer;  // about this target: done or cannot
};

/// What the client last said it does with the lease.
struct ReportedUse {
  Bytes reserved = 0;
  Bytes slack = 0;
  Bytes reclaimable = 0;
  Bytes allocated = 0;
  Bytes spilled = 0;
};

struct SessionLease {
  std::size_t resource = 0;  // index into the broker's resources
  Bytes floor = 0;
  LedgerTotals totals;
  LedgerTotals recorded;  // what the ledger has
  std::size_t slot = 0;
  ReportedUse use;
  /// Of use.spilled, what is in the tenant's counters. None: the session has lived before this
  /// daemon, and has not yet said how much it had spilled by then.
  std::optional<Bytes> spilled_counted;
  std::optional<OpenRevocation> revocation;
  Bytes told_target = 0;  // the last Revoke's of this attach; 0: none
  Bytes told_debt = 0;
  bool send_lease_set = false;
  bool send_revoke = false;
};

struct Session {
  SessionId id;
  Peer peer;
  std::array<std::uint8_t, 16> token_hash{};
  std::string tenant;
  std::string client_name;
  std::map<std::string, std::string> labels;
  std::int32_t priority = 0;
  SessionState state = SessionState::kActive;
  bool recovered = false;  // from the ledger, not yet attached in this life of the daemon
  Attach attach;
  ConnectionId connection;  // none while the stream is lost
  Instant opened_at;
  Instant last_frame;
  Instant suspect_since;
  Instant next_pulse;
  Instant timer = Instant::never();  // its entry in the broker's timers
  bool ready = false;                // its connection is in the broker's ready list
  bool odd_inventory_logged = false;
  std::vector<SessionLease> leases;                // by resource index
  std::map<RequestId, std::size_t> open_requests;  // -> index into leases
  Outbox outbox;

  SessionLease* lease_of(std::size_t resource);
  const SessionLease* lease_of(std::size_t resource) const;
};

/// A forked child of a process that has ended or has exec'ed, and the bytes of its pages that the
/// child still holds: charged to the tenant, asked of nobody, until the child has ended.
struct Orphan {
  SessionId id;  // of its account in the arbiter
  Peer process;
  pid_t parent = 0;
  std::string tenant;
  std::string client_name;  // of the session whose bytes they were
  SessionId estate;         // the first account of those that one end of the parent has left
  Bytes lent_max = 0;       // more than its parent had is not its parent's: for all of the estate
  LedgerTotals totals;
  bool watched = true;                   // else its end is told by its measuring, later
  std::optional<Bytes> share = {};       // as last measured
  std::optional<std::size_t> slot = {};  // none: the ledger was full
};

/// A stream, from its start to the status it is ended with.
struct ConnectionRecord {
  Peer peer;
  SessionId session;  // none before Hello
  Instant hello_by;
};

/// A stream that must be finished, and what its client is told.
enum class EndCode {
  kOk,
  kUnauthenticated,
  kPermissionDenied,
  kNotFound,
  kInvalidArgument,
  kResourceExhausted,
  kUnavailable,
  kReplaced,  // the session has attached again on another stream
};
struct StreamEnd {
  ConnectionId connection;
  EndCode code = EndCode::kOk;
  std::string message;
};

}  // namespace membroker::broker
