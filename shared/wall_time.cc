#include "shared/wall_time.h"

#include <chrono>

namespace membroker {

std::int64_t wall_now_ms() noexcept {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace membroker
