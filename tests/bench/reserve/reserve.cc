// bench_reserve reserve_1t|reserve_2t|reserve_floor [--quick]: try_grow and shrink of 4 KiB,
// and of mixed sizes, from slack: the sequences of datafusion_peer/.

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "membroker/client.h"
#include "membroker/memory_pool.h"
#include "tests/bench/figures.h"

namespace membroker::bench {
namespace {

constexpr std::int64_t kPoolBytes = std::int64_t{1} << 30;
constexpr std::int64_t kGrown = 4096;

MemoryReservation reserve(const std::shared_ptr<MemoryPool>& pool, const char* name) {
  return MemoryConsumer(name).with_can_spill(true).register_with(pool);
}

using Work = Status (*)(MemoryReservation& reservation, std::int64_t pairs);

// The first call that fails ends it, here and below.
Status uniform(MemoryReservation& reservation, std::int64_t pairs) {
  for (std::int64_t i = 0; i < pairs; ++i) {
    std::int64_t bytes = kGrown;
    asm volatile("" : "+r"(bytes));  // not a constant to the optimiser
    if (Status grown = reservation.try_grow(bytes); !grown) return grown;
    if (Status shrunk = reservation.shrink(bytes); !shrunk) return shrunk;
  }
  return {};
}

constexpr std::size_t kMixed = 1024;
constexpr std::int64_t kMixedHeld = 8;

// Sizes of 64 B to 256 KiB.
std::array<std::int64_t, kMixed> mixed_sizes() {
  std::array<std::int64_t, kMixed> sizes{};
  std::uint64_t state = 1;
  for (std::int64_t& size : sizes) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    size = std::int64_t{64} << ((state >> 33) % 13);
  }
  return sizes;
}

// Grows by one size after the other and shrinks by the one that is eight back.
Status mixed(MemoryReservation& reservation, std::int64_t pairs) {
  const std::array<std::int64_t, kMixed> sizes = mixed_sizes();
  for (std::int64_t i = 0; i < pairs; ++i) {
    std::int64_t bytes = sizes[static_cast<std::size_t>(i) % kMixed];
    asm volatile("" : "+r"(bytes));
    if (Status grown = reservation.try_grow(bytes); !grown) return grown;
    if (i < kMixedHeld) continue;
    bytes = sizes[static_cast<std::size_t>(i - kMixedHeld) % kMixed];
    asm volatile("" : "+r"(bytes));
    if (Status shrunk = reservation.shrink(bytes); !shrunk) return shrunk;
  }
  reservation.free();
  return {};
}

// Wall nanoseconds per pair of each thread, one thread per reservation.
Result<double> time(const std::vector<MemoryReservation*>& reservations, Work work,
                    std::int64_t pairs) {
  std::atomic<std::size_t> ready{0};
  std::vector<Status> results(reservations.size());
  std::vector<double> times(reservations.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < reservations.size(); ++i) {
    threads.emplace_back([&, i] {
      results[i] = work(*reservations[i], pairs / 10);  // warms up
      ++ready;
      while (ready < reservations.size()) std::this_thread::yield();
      const double begin = now_ns();
      if (results[i]) results[i] = work(*reservations[i], pairs);
      times[i] = (now_ns() - begin) / static_cast<double>(pairs);
    });
  }
  for (std::thread& thread : threads) thread.join();
  double sum = 0;
  for (std::size_t i = 0; i < times.size(); ++i) {
    if (!results[i]) return fail(results[i].error());
    sum += times[i];
  }
  return sum / static_cast<double>(times.size());
}

struct NamedPool {
  std::string name;
  std::shared_ptr<MemoryPool> pool;
};

bool print_time(const char* id, const std::string& case_name,
                const std::vector<MemoryReservation*>& reservations, Work work,
                std::int64_t pairs) {
  const Result<double> nanoseconds = time(reservations, work, pairs);
  if (!nanoseconds) {
    std::fprintf(stderr, "bench_reserve: %s: %s\n", case_name.c_str(),
                 nanoseconds.error().to_string().c_str());
    return false;
  }
  print_figure(id, case_name, "ns", "ours", *nanoseconds);
  return true;
}

bool one_thread(const std::vector<NamedPool>& pools, std::int64_t pairs) {
  bool good = true;
  for (const NamedPool& named : pools) {
    MemoryReservation one = reserve(named.pool, "one");
    good = print_time("reserve_1t", named.name, {&one}, uniform, pairs) && good;
    good = print_time("reserve_1t", named.name + ", mixed", {&one}, mixed, pairs) && good;
  }
  return good;
}

// Nanoseconds of one relaxed addition to a cache line that no other thread touches.
double time_addition(std::int64_t count) {
  alignas(64) std::atomic<std::int64_t> counter{0};
  for (std::int64_t i = 0; i < count / 10; ++i) counter.fetch_add(1, std::memory_order_relaxed);
  const double begin = now_ns();
  for (std::int64_t i = 0; i < count; ++i) counter.fetch_add(1, std::memory_order_relaxed);
  return (now_ns() - begin) / static_cast<double>(count);
}

bool against_floor(const NamedPool& plain, std::int64_t pairs) {
  MemoryReservation one = reserve(plain.pool, "one");
  const bool good = print_time("reserve_floor", plain.name, {&one}, uniform, pairs);
  print_figure("reserve_floor", plain.name, "ns", "peer:relaxed atomic add", time_addition(pairs));
  return good;
}

bool two_threads(const std::vector<NamedPool>& pools, std::int64_t pairs) {
  bool good = true;
  for (const NamedPool& named : pools) {
    MemoryReservation one = reserve(named.pool, "one");
    MemoryReservation two = reserve(named.pool, "two");
    const std::string name = named.name + ", a consumer each";
    good = print_time("reserve_2t", name, {&one, &two}, uniform, pairs) && good;
    good = print_time("reserve_2t", name + ", mixed", {&one, &two}, mixed, pairs) && good;
  }
  MemoryReservation one = reserve(pools.front().pool, "one");
  MemoryReservation two = one.new_empty();
  good = print_time("reserve_2t", "plain, one consumer", {&one, &two}, uniform, pairs) && good;
  MemoryReservation shared = reserve(pools.front().pool, "shared");
  return print_time("reserve_2t", "plain, one reservation", {&shared, &shared}, uniform, pairs) &&
         good;
}

int run(const char* id, bool quick) {
  Result<Client> client = Client::embedded(kPoolBytes);
  if (!client) {
    std::fprintf(stderr, "bench_reserve: %s\n", client.error().message().c_str());
    return 1;
  }
  const std::vector<NamedPool> pools = {{"plain", client->pool()},
                                        {"tracked", client->pool()->tracked()},
                                        {"fair_spill", MemoryPool::fair_spill(kPoolBytes)}};
  const std::int64_t pairs = quick ? 500'000 : 10'000'000;
  if (std::strcmp(id, "reserve_1t") == 0) return one_thread(pools, pairs) ? 0 : 1;
  if (std::strcmp(id, "reserve_2t") == 0) return two_threads(pools, pairs) ? 0 : 1;
  if (std::strcmp(id, "reserve_floor") == 0) return against_floor(pools.front(), pairs) ? 0 : 1;
  std::fprintf(stderr, "bench_reserve: no row \"%s\"\n", id);
  return 2;
}

}  // namespace
}  // namespace membroker::bench

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: bench_reserve reserve_1t|reserve_2t|reserve_floor [--quick]\n");
    return 2;
  }
  return membroker::bench::run(argv[1], argc > 2 && std::strcmp(argv[2], "--quick") == 0);
}
