#pragma once

#include <string>

#include "client/lease/lease_source.h"
#include "membroker/v1/session.pb.h"

/// \file
/// The words of session.proto as the client's layers say them. Values a newer daemon may send that
/// are unknown here become the harmless default.

namespace membroker::lease {

v1::RevokeState to_wire(RevokeState state);
RevokeStage from_wire(v1::RevokeStage stage);
/// "fair_share"; "unspecified" for what is not known.
std::string reason_word(v1::RevokeReason reason);
std::string reason_word(v1::DenyReason reason);

/// The Error of a refused request: what was refused, why, who holds the memory, what to do. With a
/// Denial if memory was the reason; how much was asked and from which pool is the lease's to add.
Error denied_error(const v1::Denied& denied);

}  // namespace membroker::lease
