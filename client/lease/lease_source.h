#pragma once

#include <cstdint>
#include <string>

#include "membroker/error.h"
#include "shared/bytes.h"
#include "shared/ids.h"
#include "shared/time.h"

/// \file
/// The seam between a lease and whoever lends the memory: the daemon in production
/// (client/transport), a fixed capacity when none is wanted, a script in tests.
///
/// The lease (a LeaseListener) owns the client's totals, its open requests and the open
/// revocation. The source only carries: it asks the listener for the present state when it composes
/// a message, so a lost or late message is repaired by the next one.

namespace membroker::lease {

/// See proto/membroker/v1/session.proto. held = granted + overdrawn - returned.
struct LeaseTotals {
  Bytes granted = 0;    // written by the daemon only
  Bytes overdrawn = 0;  // written by the client only
  Bytes returned = 0;   // written by the client only

  Bytes held() const { return granted + overdrawn - returned; }
  friend bool operator==(const LeaseTotals&, const LeaseTotals&) = default;
};

/// A lease's state as told to the daemon.
struct LeaseFigures {
  LeaseTotals totals;
  Bytes floor = 0;
  Bytes reserved = 0;
  Bytes slack = 0;
  Bytes reclaimable = 0;
  Bytes allocated = 0;
  Bytes spilled = 0;
};

struct LeaseRequest {
  RequestId id;
  Bytes want = 0;
  Bytes min = 0;
  Millis wait = 0;
  std::int32_t priority = 0;
};

enum class RevokeStage { kSlack, kSpill };
enum class RevokeState { kWorking, kDone, kCannot };

/// A request of the daemon for bytes back: open until returned_total >= target. A target at or
/// below returned_total withdraws it.
struct Revocation {
  RevocationId id;
  Bytes target = 0;  // a value of returned_total
  RevokeStage stage = RevokeStage::kSlack;
  std::string reason;   // "guarantee", "fair_share", …
  Millis deadline = 0;  // remaining
};

/// The lease. Calls may come from several threads, must not block and may call back into the
/// source.
class LeaseListener {
 public:
  virtual ~LeaseListener() = default;
  /// The present state, consistent in itself. Called while a message is composed: it looks at every
  /// consumer.
  virtual LeaseFigures figures() = 0;
  virtual LeaseTotals totals() const = 0;
  /// A stream is up and both sides agree on the totals; requests still open are to be sent again
  /// with the wait they have left. `debt`: the part of held not covered by the lease.
  virtual void on_attached(const LeaseTotals& daemon, Bytes floor, Bytes debt) = 0;
  /// The stream is lost; the lease stays. A source reconnects by itself, but not after a final
  /// error.
  virtual void on_detached(const Error& why, bool final) = 0;
  /// Totals moved outside a grant (a cover of debt, a repeat).
  virtual void on_lease_set(const LeaseTotals& daemon, Bytes debt) = 0;
  virtual void on_granted(RequestId id, Bytes bytes, Bytes granted_total) = 0;
  virtual void on_denied(RequestId id, const Error& error) = 0;
  virtual void on_revoke(const Revocation& revocation) = 0;
  virtual void on_pulse(bool tight, Bytes chunk) = 0;
};

/// Thread-safe; no call blocks. It may call the listener back before it returns, but for figures().
class LeaseSource {
 public:
  virtual ~LeaseSource() = default;
  virtual void acquire(const LeaseRequest& request) = 0;
  virtual void cancel(RequestId id) = 0;
  /// returned_total, overdrawn_total or the figures changed: tell the daemon soon.
  /// `urgent`: at once (bytes were returned under a revocation, or overdrawn).
  virtual void changed(bool urgent) = 0;
  virtual void progress(RevocationId id, Bytes target, RevokeState state,
                        const std::string& reason) = 0;
};

}  // namespace membroker::lease
