// A cache that grows while memory is to be had and gives it back when others need it.
#include <chrono>
#include <cstdio>
#include <mutex>
#include <vector>

#include "membroker/allocator.h"
#include "membroker/buffer.h"
#include "membroker/client.h"
#include "membroker/memory_pool.h"

using namespace membroker;

int main() {
  auto client = Client::open({.tenant = "etl", .client_name = "hello"});
  if (!client) return std::fprintf(stderr, "%s\n", client.error().message().c_str()), 1;

  std::mutex mutex;
  std::vector<MutableBuffer> cache;  // 1 MiB blocks, each charged to this process's lease
  auto drop = [&](const SpillRequest& request) {  // on a library thread; spill what matters
    std::lock_guard lock(mutex);
    std::int64_t freed = 0;
    for (; freed < request.bytes && !cache.empty(); freed += 1 << 20) cache.pop_back();
    return freed;
  };
  auto lease = MemoryConsumer("cache").with_spill(drop).register_with(client->pool());
  auto got = lease.acquire(1 << 20, 100 << 20, std::chrono::seconds(10));  // others may spill first
  if (!got) return std::fprintf(stderr, "%s\n", got.error().message().c_str()), 1;
  auto allocator = make_allocator(std::move(lease));

  for (int i = 0; i < 100; ++i) {
    auto block = allocate_buffer(1 << 20, allocator);  // no call to the daemon while slack lasts
    if (!block) {                                      // who holds what, and what to do
      std::fprintf(stderr, "%s\n", block.error().message().c_str());
      break;
    }
    std::lock_guard lock(mutex);
    cache.push_back(std::move(*block));
  }
  std::printf("cached %lld bytes\n", static_cast<long long>(allocator->bytes_allocated()));
}
