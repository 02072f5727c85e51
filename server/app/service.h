#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "membroker/error.h"
#include "shared/fd.h"

/// \file
/// What the daemon says to systemd and gets from it. All of it does nothing where there is none.
///
/// Thread: main's.

namespace membroker::app {

void notify_ready(const std::string& status);
void notify_status(const std::string& status);
void notify_reloading();
void notify_stopping();
void notify_watchdog();

/// How often notify_watchdog is to be called: half of what the unit allows; nothing if it does not
/// ask.
std::optional<std::chrono::milliseconds> watchdog_interval();

/// Sockets inherited from .socket units, by FileDescriptorName= (else by the path they listen on).
struct InheritedSockets {
  UniqueFd broker;  // "broker" or …/broker.sock
  UniqueFd admin;   // "admin" or …/admin.sock
};
/// kInvalid if a socket is neither of them.
Result<InheritedSockets> inherited_sockets();

/// Raises the soft limit of descriptors to the hard one; what is allowed now.
std::uint64_t raise_descriptor_limit();

/// Connections for which the daemon has descriptors: three each (gRPC's, the door's, the pidfd),
/// after some for itself.
std::uint32_t connections_for(std::uint64_t descriptors);

}  // namespace membroker::app
