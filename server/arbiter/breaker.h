#pragma once

#include "server/arbiter/queue.h"

/// \file
/// When everyone who holds waits and nobody can be asked, one waiter is told to roll back
/// (section 6, Deadlock).

namespace membroker::arbiter {

class Breaker {
 public:
  Breaker(Core& core, Queue& queue) : core_(core), queue_(queue) {}

  void run();

 private:
  bool stuck(const Request& first, const Room& room) const;

  Core& core_;
  Queue& queue_;
  Instant broke_at_ = {-kDeadlockAfter};
};

}  // namespace membroker::arbiter
