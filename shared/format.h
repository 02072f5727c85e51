#pragma once

#include <string>

/// \file
/// printf into a std::string. For messages of the layers that must not see spdlog's fmt.

namespace membroker {

[[gnu::format(printf, 1, 2)]] std::string strf(const char* format, ...);

}  // namespace membroker
