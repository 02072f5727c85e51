#pragma once

#include <vector>

#include "server/arbiter/core.h"

/// \file
/// What leases are asked for and how they answer: one open revocation per lease, its deadline,
/// strikes, overdue bytes and withdrawal (sections 4 and 5).

namespace membroker::arbiter {

class Revocations {
 public:
  explicit Revocations(Core& core) : core_(core) {}

  // ---- asking: the bytes count at once, the revocations go out with `send` ----
  void ask(Lease& lease, Bytes bytes, RevokeReason reason);
  void ask_for_admin(Lease& lease, Bytes bytes);
  /// While draining: asks for everything but the floor. `any`: whatever it said it can give.
  void ask_to_floor(Lease& lease, bool any);
  void take_back(Lease& lease, Bytes bytes);
  void undo();
  /// Opens or tops up what was asked since the last `send`; false if nothing was.
  bool send();
  const std::vector<Lease*>& asked() const { return asked_; }

  // ---- answers ----
  /// Everything the lease owes falls by what it returned.
  void release(Lease& lease, Bytes bytes);
  void report(Lease& lease, Bytes slack, Bytes reclaimable);
  void progress(Lease& lease, const Progress& progress);
  /// The session is not ACTIVE any more: what was asked is overdue, no strike, no effect.
  void suspend(Lease& lease);
  /// The session is ACTIVE again; on_overdue counts anew.
  void resume(Lease& lease);
  /// Forgets what is asked of a lease that ends.
  void forget(Lease& lease);

  void pass_deadlines();
  /// Withdraws, youngest first, each whole revocation that nobody needs any more.
  void withdraw_unneeded();

 private:
  void open(Lease& lease);
  void close(Lease& lease);
  void clear_asked(Lease& lease);
  void strike(Lease& lease);
  void measure_rate(Lease& lease) const;
  Millis time_for(const Lease& lease) const;
  void extend(Lease& lease) const;
  void expire(Lease& lease);
  void pass_deadlines_of(Lease& lease);
  void arm_policy(Lease& lease) const;
  void arm(Lease& lease);
  Bytes unneeded() const;
  bool someone_waits_below_root() const;

  Core& core_;
  std::vector<Lease*> asked_;
  Lease* youngest_ = nullptr;  // of the open revocations, linked by age
};

}  // namespace membroker::arbiter
