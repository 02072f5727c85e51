#pragma once

#include <cstdint>

namespace membroker {

/// Milliseconds since 1970, for people: this clock may be set back. Thread-safe.
std::int64_t wall_now_ms() noexcept;

}  // namespace membroker
