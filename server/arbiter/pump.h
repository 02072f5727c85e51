#pragma once

#include "server/arbiter/queue.h"

/// \file
/// Who may take free bytes (section 3): waiters in order, past heads by the lane and by passes;
/// then debts.

namespace membroker::arbiter {

class Pump {
 public:
  Pump(Core& core, Queue& queue) : core_(core), queue_(queue) {}

  /// Grants what can be granted and finds the heads anew.
  void run();
  /// Makes debts part of their leases where the bytes are free; true if run() has to follow.
  bool cover_debts();

 private:
  bool try_grant(Request& request, const Room& room);
  void become_head(Request& request, const Room& room, bool was_head);
  bool before_head(const Lease& debtor, const Request& head) const;

  Core& core_;
  Queue& queue_;
};

}  // namespace membroker::arbiter
