#pragma once

#include <vector>

#include "server/arbiter/queue.h"

/// \file
/// One pass over the waiters in their order. Who is blocked is put by; at most `scan` of those that
/// are blocked at one node are looked at, and then nobody else below that node, so that a crowd at
/// one tenant's limit does not keep others from what is free.

namespace membroker::arbiter {

class Scan {
 public:
  Scan(Core& core, Queue& queue) : core_(core), queue_(queue), number_(queue.begin_scan()) {}
  Scan(const Scan&) = delete;
  Scan& operator=(const Scan&) = delete;
  ~Scan();

  /// The next in order; null at the end.
  Request* next();
  /// It stays blocked, at that node.
  void put_by(Request& request, const Tenant& at);
  /// Nodes at which something is blocked, below which all that waits was looked at, and is blocked
  /// there or further down: nothing changes for them until something below them changes.
  std::vector<Tenant*> settled() const;

 private:
  // Of those blocked below the root in all: a bound of the work, not of who is heard.
  static constexpr std::int32_t kScansInAll = 8;

  Core& core_;
  Queue& queue_;
  std::uint64_t number_;
  std::int32_t blocked_ = 0;
  std::int32_t blocked_at_root_ = 0;
  bool done_ = false;
  std::vector<Tenant*> blocking_;
  std::vector<Tenant*> cut_;
};

}  // namespace membroker::arbiter
