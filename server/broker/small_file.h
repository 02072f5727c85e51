#pragma once

#include <cstddef>
#include <string>

#include "membroker/error.h"

namespace membroker::broker {

/// The content of a file of /proc, /sys or the configuration. kInvalid if it has more than
/// `bytes_max`, kNotFound also of a process that ends meanwhile. Thread-safe.
Result<std::string> read_small_file(const std::string& path, std::size_t bytes_max = 65'536);

}  // namespace membroker::broker
