#pragma once

#include <cstdint>
#include <string>

#include "membroker/v1/session.pb.h"
#include "shared/bytes.h"

/// \file
/// What a client says, in one line each. The resource is "ram".

namespace membroker::testing {

struct ClaimTotals {
  Bytes granted = 0;
  Bytes overdrawn = 0;
  Bytes returned = 0;
};

inline v1::LeaseClaim claim(Bytes floor, ClaimTotals totals = {}, Bytes slack = 0,
                            Bytes reclaimable = 0) {
  v1::LeaseClaim out;
  out.set_resource("ram");
  out.set_floor_bytes(floor);
  out.set_granted_total(totals.granted);
  out.set_overdrawn_total(totals.overdrawn);
  out.set_returned_total(totals.returned);
  out.set_slack_bytes(slack);
  out.set_reclaimable_bytes(reclaimable);
  return out;
}

inline v1::Hello hello(const std::string& tenant, const v1::LeaseClaim& lease, char token = 't') {
  v1::Hello out;
  out.set_protocol_version(1);
  out.set_tenant(tenant);
  out.set_client_name("client");
  out.set_token(std::string(16, token));
  *out.add_leases() = lease;
  return out;
}

inline v1::ClientMessage acquire(std::uint64_t id, Bytes want, Bytes min, std::uint32_t wait_ms) {
  v1::ClientMessage out;
  out.mutable_acquire()->set_request_id(id);
  out.mutable_acquire()->set_resource("ram");
  out.mutable_acquire()->set_want_bytes(want);
  out.mutable_acquire()->set_min_bytes(min);
  out.mutable_acquire()->set_wait_ms(wait_ms);
  return out;
}
inline v1::ClientMessage cancel(std::uint64_t id) {
  v1::ClientMessage out;
  out.mutable_cancel()->set_request_id(id);
  return out;
}
inline v1::ClientMessage release(Bytes returned_total) {
  v1::ClientMessage out;
  out.mutable_release()->set_resource("ram");
  out.mutable_release()->set_returned_total(returned_total);
  return out;
}
inline v1::ClientMessage overdraft(Bytes overdrawn_total) {
  v1::ClientMessage out;
  out.mutable_overdraft()->set_resource("ram");
  out.mutable_overdraft()->set_overdrawn_total(overdrawn_total);
  return out;
}
inline v1::ClientMessage inventory(Bytes reserved, Bytes slack, Bytes reclaimable) {
  v1::ClientMessage out;
  v1::LeaseUse* use = out.mutable_inventory()->add_uses();
  use->set_resource("ram");
  use->set_reserved_bytes(reserved);
  use->set_slack_bytes(slack);
  use->set_reclaimable_bytes(reclaimable);
  return out;
}
inline v1::ClientMessage progress(const v1::Revoke& revoke, v1::RevokeState state, Bytes slack = 0,
                                  Bytes reclaimable = 0) {
  v1::ClientMessage out;
  v1::RevokeProgress* answer = out.mutable_progress();
  answer->set_resource("ram");
  answer->set_revocation_id(revoke.revocation_id());
  answer->set_target_returned_total(revoke.target_returned_total());
  answer->set_state(state);
  answer->set_slack_bytes(slack);
  answer->set_reclaimable_bytes(reclaimable);
  return out;
}
inline v1::ClientMessage goodbye() {
  v1::ClientMessage out;
  out.mutable_goodbye();
  return out;
}

}  // namespace membroker::testing
