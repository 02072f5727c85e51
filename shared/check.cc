#include "shared/check.h"

#include <cstdio>
#include <cstdlib>

namespace membroker::detail {

void check_failed(const char* file, int line, const char* condition) noexcept {
  std::fprintf(stderr, "membroker: invariant broken at %s:%d: %s\n", file, line, condition);
  std::abort();
}

}  // namespace membroker::detail
