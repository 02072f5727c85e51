// bench_reserve reserve_1t|reserve_2t [--quick]: try_grow and shrink of 4 KiB from slack, on the
// sequence of datafusion_peer/.

#include <atomic>
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

// False if a call failed.
bool work(MemoryReservation& reservation, std::int64_t pairs) {
  bool good = true;
  for (std::int64_t i = 0; i < pairs; ++i) {
    std::int64_t bytes = kGrown;
    asm volatile("" : "+r"(bytes));  // not a constant to the optimiser
    good = reservation.try_grow(bytes).has_value() && good;
    good = reservation.shrink(bytes).has_value() && good;
  }
  return good;
}

// Wall nanoseconds per pair of each thread, one thread per reservation; negative if a call failed.
double time(const std::vector<MemoryReservation*>& reservations, std::int64_t pairs) {
  std::atomic<std::size_t> ready{0};
  std::atomic<bool> good{true};
  std::vector<double> times(reservations.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < reservations.size(); ++i) {
    threads.emplace_back([&, i] {
      if (!work(*reservations[i], pairs / 10)) good = false;  // warms up
      ++ready;
      while (ready < reservations.size()) std::this_thread::yield();
      const double begin = now_ns();
      if (!work(*reservations[i], pairs)) good = false;
      times[i] = (now_ns() - begin) / static_cast<double>(pairs);
    });
  }
  for (std::thread& thread : threads) thread.join();
  double sum = 0;
  for (const double one : times) sum += one;
  return good ? sum / static_cast<double>(times.size()) : -1;
}

struct NamedPool {
  std::string name;
  std::shared_ptr<MemoryPool> pool;
};

bool print_time(const char* id, const std::string& case_name,
                const std::vector<MemoryReservation*>& reservations, std::int64_t pairs) {
  const double nanoseconds = time(reservations, pairs);
  if (nanoseconds < 0) {
    std::fprintf(stderr, "bench_reserve: %s: a call failed\n", case_name.c_str());
    return false;
  }
  print_figure(id, case_name, "ns", "ours", nanoseconds);
  return true;
}

bool one_thread(const std::vector<NamedPool>& pools, std::int64_t pairs) {
  bool good = true;
  for (const NamedPool& named : pools) {
    MemoryReservation one = reserve(named.pool, "one");
    good = print_time("reserve_1t", named.name, {&one}, pairs) && good;
  }
  return good;
}

bool two_threads(const std::vector<NamedPool>& pools, std::int64_t pairs) {
  bool good = true;
  for (const NamedPool& named : pools) {
    MemoryReservation one = reserve(named.pool, "one");
    MemoryReservation two = reserve(named.pool, "two");
    good = print_time("reserve_2t", named.name + ", a consumer each", {&one, &two}, pairs) && good;
  }
  MemoryReservation one = reserve(pools.front().pool, "one");
  MemoryReservation two = one.new_empty();
  good = print_time("reserve_2t", "plain, one consumer", {&one, &two}, pairs) && good;
  MemoryReservation shared = reserve(pools.front().pool, "shared");
  return print_time("reserve_2t", "plain, one reservation", {&shared, &shared}, pairs) && good;
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
  std::fprintf(stderr, "bench_reserve: no row \"%s\"\n", id);
  return 2;
}

}  // namespace
}  // namespace membroker::bench

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: bench_reserve reserve_1t|reserve_2t [--quick]\n");
    return 2;
  }
  return membroker::bench::run(argv[1], argc > 2 && std::strcmp(argv[2], "--quick") == 0);
}
