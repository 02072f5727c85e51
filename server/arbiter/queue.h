#pragma once

#include <vector>

#include "server/arbiter/core.h"

/// \file
/// The requests that wait: how one is admitted, answered and found in order (section 2).

namespace membroker::arbiter {

/// A blocked request to which free bytes are earmarked.
struct Head {
  Request* request = nullptr;
  const Tenant* tight = nullptr;
};

class Queue {
 public:
  explicit Queue(Core& core) : core_(core) {}

  /// Answers what can be answered without looking at others, else queues it and returns it.
  Request* admit(const Acquire& acquire);
  void cancel(Lease& lease, RequestId id);

  /// The answers. Each removes the request.
  void grant(Request& request, Bytes bytes);
  void deny(Request& request, DenyReason reason, Hint hint, Bytes self_spill = 0);
  /// Every wait of the lease, by arrival.
  void deny_all(Lease& lease, DenyReason reason, Hint hint);
  /// Its deadline has come: a grant of what there is, or a denial.
  void answer_late(Request& request);
  /// Lets requests age and their deadlines pass, up to now, by (deadline, arrival).
  void pass_deadlines();

  /// The first in order of those not hidden whose tenant has no debt; null if none.
  Request* first();
  void hide(Request& request);
  void unhide_all();
  /// Numbers the passes over the queue.
  std::uint64_t begin_scan() { return ++scans_; }
  /// Is at most one request not hidden? Then whoever has it need not look further.
  bool at_last() const {
    return core_.tree.all_shown() && core_.tree.root().waiting_requests <= hidden_.size() + 1;
  }

  // ---- heads, as the last pump left them ----
  std::vector<Head>& heads() { return heads_; }
  const std::vector<Head>& heads() const { return heads_; }
  /// Forgets the heads, but for those below a node that is set aside.
  void begin_pump();
  std::uint64_t pump_number() const { return pump_; }
  bool is_head(const Request& request) const;
  /// May the request take bytes past every head before it that waits at a node of its path?
  bool may_pass(const Request& request) const;
  /// Counts that it did.
  void pass(const Request& request);
  bool behind_head(const Request& request) const;

 private:
  std::unique_ptr<Request> take(Request& request);
  static bool is_before(const Head& head, const Request& request);
  bool in_small_lane(const Request& head, Bytes bytes) const;
  void arm(Request& request);
  Request& enqueue(Lease& lease, const Acquire& acquire, Bytes want);
  void refuse(const Acquire& acquire, DenyReason reason, Hint hint, Bytes self_spill = 0,
              Bytes attainable = 0);

  Core& core_;
  std::vector<Request*> hidden_;
  std::vector<Head> heads_;
  std::uint64_t arrivals_ = 0;
  std::uint64_t pump_ = 0;
  std::uint64_t scans_ = 0;
};

/// The three largest holders a refused request at `tenant` may be told of: its own tenant's leases
/// one by one, others as sums.
std::vector<Holder> largest_holders(const Tenant& tenant);

}  // namespace membroker::arbiter
