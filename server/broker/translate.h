#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "membroker/error.h"
#include "membroker/v1/session.pb.h"
#include "server/arbiter/events.h"
#include "server/broker/broker_config.h"
#include "server/broker/ledger.h"
#include "shared/ids.h"

/// \file
/// Between the words of the wire and those of the arbiter, and the checks that need no state. Pure.

namespace membroker::broker {

/// One LeaseClaim, checked: no negative figure, returned <= granted + overdrawn.
struct LeaseClaim {
  std::size_t resource = 0;
  Bytes floor = 0;
  LedgerTotals totals;
  Bytes slack = 0;
  Bytes reclaimable = 0;
};

/// A Hello, checked as far as it can be without knowing any session.
struct HelloRequest {
  Attach attach;
  std::string tenant;
  std::string client_name;
  std::map<std::string, std::string> labels;
  std::array<std::uint8_t, 16> token_hash{};
  std::int32_t priority = 0;
  std::vector<LeaseClaim> leases;  // by resource index

  bool claims_bytes() const;
};

/// Errors: kInvalid and kNotFound, naming the field.
Result<HelloRequest> check_hello(const v1::ClientFrame& frame, const BrokerConfig& config);

/// The token never leaves memory; the ledger and the session table have this.
std::array<std::uint8_t, 16> hash_token(std::string_view token);

v1::DenyReason to_wire(arbiter::DenyReason reason);
v1::DenyHint to_wire(arbiter::Hint hint);
v1::RevokeStage to_wire(arbiter::Stage stage);
v1::RevokeReason to_wire(arbiter::RevokeReason reason);
/// Nothing for a value this version does not know.
std::optional<arbiter::ProgressState> from_wire(v1::RevokeState state);

/// Lower-case names for logs and admins. Static storage.
const char* name_of(arbiter::DenyReason reason);
const char* name_of(arbiter::Stage stage);
const char* name_of(arbiter::RevokeReason reason);
const char* name_of(arbiter::GuaranteeMode mode);
const char* name_of(arbiter::OnOverdue action);

/// A peer's text as a log value: quoted if it must be, control characters escaped.
std::string log_text(std::string_view text);

}  // namespace membroker::broker
