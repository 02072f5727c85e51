#pragma once

#include <map>
#include <string>

#include "server/arbiter/events.h"

/// \file
/// Effects as the examples write them: sizes in MiB, joined by "; ".

namespace membroker::sim {

using SessionNames = std::map<SessionId, std::string>;

std::string effects_text(const arbiter::Effects& effects, const SessionNames& names);
const char* reason_name(arbiter::DenyReason reason);

}  // namespace membroker::sim
