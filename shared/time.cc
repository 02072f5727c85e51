#include "shared/time.h"

#include <time.h>

namespace membroker {

Instant monotonic_now() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return {static_cast<Millis>(now.tv_sec) * 1000 + now.tv_nsec / 1000000};
}

}  // namespace membroker
