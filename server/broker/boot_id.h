#pragma once

#include <string>

#include "membroker/error.h"

namespace membroker::broker {

/// The kernel's id of this boot, 36 characters. Thread-safe.
Result<std::string> boot_id();

}  // namespace membroker::broker
