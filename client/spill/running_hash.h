#pragma once

#define XXH_STATIC_LINKING_ONLY  // for a state that needs no allocation
#include <xxhash.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>  // the same functions, in the widest instructions there are
#endif

#include <cstdint>
#include <span>

namespace membroker::spill {

/// XXH3 of bytes that come piece by piece.
class RunningHash {
 public:
  RunningHash() noexcept { reset(); }
  void reset() noexcept { XXH3_64bits_reset(&state_); }
  void add(std::span<const std::uint8_t> bytes) noexcept {
    XXH3_64bits_update(&state_, bytes.data(), bytes.size());
  }
  std::uint64_t value() const noexcept { return XXH3_64bits_digest(&state_); }

 private:
  XXH3_state_t state_;
};

}  // namespace membroker::spill
