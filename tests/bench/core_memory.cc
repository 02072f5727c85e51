#include <malloc.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "server/arbiter/arbiter.h"
#include "shared/check.h"
#include "shared/format.h"
#include "tests/bench/figures.h"

/// \file
/// Memory of the core per session, as the heap counts it: sessions of 20 tenants that hold a lease,
/// a tenth of which wait. Freed first: what only the building needed.

namespace membroker::bench {
namespace {

using namespace membroker::arbiter;  // NOLINT: its events, by their names

constexpr int kTenants = 20;
constexpr Bytes kHeld = 4 * kMiB;

std::uint64_t heap_bytes() {
  malloc_trim(0);
  const struct mallinfo2 heap = mallinfo2();
  return heap.uordblks + heap.hblkhd;
}

double bytes_per_session(std::uint64_t sessions) {
  const auto capacity = static_cast<Bytes>(sessions) * kHeld;
  Arbiter arbiter(capacity);
  Effects effects;
  for (int tenant = 0; tenant < kTenants; ++tenant) {
    arbiter.apply({0}, SetTenant{strf("t%d", tenant), {}}, effects);
  }
  effects = Effects{};
  const std::uint64_t before = heap_bytes();
  std::uint64_t requests = 0;
  for (std::uint64_t i = 1; i <= sessions; ++i) {
    const std::string tenant = strf("t%d", static_cast<int>(i % kTenants));
    const std::string name = strf("client#%llu", static_cast<unsigned long long>(i));
    arbiter.apply({0}, Open{{i}, name, tenant, 0, 0, false}, effects);
    arbiter.apply({0}, Acquire{{i}, {++requests}, kHeld, kHeld, 0, 0}, effects);
    arbiter.apply({0}, Report{{i}, 0, 0}, effects);
    effects.clear();
  }
  MB_CHECK(arbiter.root().held == capacity);
  for (std::uint64_t i = 1; i <= sessions; i += 10) {
    arbiter.apply({1}, Acquire{{i}, {++requests}, 16 * kMiB, 16 * kMiB, 60'000, 0}, effects);
    effects.clear();
  }
  effects = Effects{};
  MB_CHECK(arbiter.root().waiting_requests == sessions / 10);
  return static_cast<double>(heap_bytes() - before) / static_cast<double>(sessions);
}

}  // namespace
}  // namespace membroker::bench

int main(int argc, char** argv) {
  const bool quick = argc > 1 && std::strcmp(argv[argc - 1], "--quick") == 0;
  for (const std::uint64_t sessions : {1'000, 100'000}) {
    if (quick && sessions > 1'000) continue;
    membroker::bench::print_figure("core_memory",
                                   std::to_string(sessions) + " sessions, a tenth of them waiting",
                                   "bytes", "ours", membroker::bench::bytes_per_session(sessions));
  }
}
