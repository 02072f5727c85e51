#include "server/broker/session.h"

#include "shared/check.h"

namespace membroker::broker {

const char* session_state_name(SessionState state) {
  switch (state) {
    case SessionState::kActive: return "active";
    case SessionState::kSuspect: return "suspect";
    case SessionState::kQuarantined: return "quarantined";
    case SessionState::kFenced: return "fenced";
  }
  MB_CHECK(false);
  return "";
}

SessionLease* Session::lease_of(std::size_t resource) {
  for (SessionLease& lease : leases) {
    if (lease.resource == resource) return &lease;
  }
  return nullptr;
}

const SessionLease* Session::lease_of(std::size_t resource) const {
  for (const SessionLease& lease : leases) {
    if (lease.resource == resource) return &lease;
  }
  return nullptr;
}

}  // namespace membroker::broker
