#pragma once

#include <mutex>

#include "client/lease/lease_source.h"

/// \file
/// A lender of a fixed capacity inside the process: what stands in for the daemon in an embedded
/// client. It grants what is free at once, refuses the rest with the hint to spill, never revokes
/// and covers no overdraft.

namespace membroker::lease {

/// Thread-safe. It answers from inside acquire(), on the caller's thread: a lease calls its source
/// without its lock.
class FixedSource final : public LeaseSource {
 public:
  /// `listener` outlives the source's last call. Call attach() once before the others.
  FixedSource(Bytes capacity, LeaseListener& listener) : listener_(listener), capacity_(capacity) {}
  /// Tells the listener that it is attached, with `floor` (cut to the capacity) lent.
  void attach(Bytes floor);

  void acquire(const LeaseRequest& request) override;
  void cancel(RequestId id) override;
  void changed(bool urgent) override;
  void progress(RevocationId id, Bytes target, RevokeState state,
                const std::string& reason) override;

 private:
  LeaseListener& listener_;
  const Bytes capacity_;
  std::mutex mutex_;
  Bytes granted_ = 0;  // the total; guarded by mutex_
};

}  // namespace membroker::lease
