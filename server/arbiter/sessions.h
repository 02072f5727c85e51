#pragma once

#include <string>

#include "server/arbiter/queue.h"
#include "server/arbiter/revocations.h"

/// \file
/// The life of a session and what it says of its lease (section 6).

namespace membroker::arbiter {

class Sessions {
 public:
  Sessions(Core& core, Queue& queue, Revocations& revocations)
      : core_(core), queue_(queue), revocations_(revocations) {}

  void open(const Open& event);
  void gone(const Gone& event);
  void release(const Release& event);
  void over(const Over& event);
  void report(const Report& event);
  void progress(const Progress& event);
  void suspend(SessionId session, SessionState state);
  void resumed(const Resumed& event);
  void recovered(const Recovered& event);
  void orphaned(const Orphaned& event);
  void ended(const Ended& event);
  void ask(const Ask& event);
  void drain();

 private:
  Lease* find(SessionId session, const char* what);
  void reject(std::string reason);
  void refuse(SessionId session, std::string reason);
  Bytes floor_room(const Tenant& tenant) const;
  void suspend(Lease& lease, SessionState state);
  void overdraw(Lease& lease, Bytes bytes);
  bool fits(Bytes held);
  Lease& charge(const Recovered& event);

  Core& core_;
  Queue& queue_;
  Revocations& revocations_;
};

}  // namespace membroker::arbiter
