#include "membroker/allocator.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <string_view>
#include <thread>
#include <vector>

#include "membroker/buffer.h"

namespace membroker {
namespace {

constexpr std::int64_t kMiB = 1 << 20;

// Bytes of anonymous memory this process has resident.
std::int64_t resident() {
  std::ifstream statm("/proc/self/statm");
  std::int64_t pages = 0;
  std::int64_t rss = 0;
  std::int64_t shared = 0;
  statm >> pages >> rss >> shared;
  return (rss - shared) * ::sysconf(_SC_PAGESIZE);
}

// Every backend of this machine in turn.
class Backend : public testing::TestWithParam<std::string> {
 protected:
  static std::shared_ptr<BufferAllocator> allocator() {
    return GetParam() == "mimalloc" ? *mimalloc_allocator() : system_allocator();
  }
};

TEST_P(Backend, CountsWhatIsAsked) {
  const auto pool = allocator();
  EXPECT_EQ(pool->backend_name(), GetParam());
  const AllocatorStats start = pool->stats();
  auto hundred = pool->allocate(100);
  auto fifty = pool->allocate(50);
  ASSERT_TRUE(hundred && fifty);
  pool->free(*fifty, 50);
  AllocatorStats now = pool->stats();
  EXPECT_EQ(now.bytes_allocated - start.bytes_allocated, 100);
  EXPECT_EQ(now.total_bytes_allocated - start.total_bytes_allocated, 150);
  EXPECT_EQ(now.num_allocations - start.num_allocations, 2);
  EXPECT_GE(now.max_memory, start.bytes_allocated + 150);

  auto grown = pool->reallocate(*hundred, 100, 150);
  ASSERT_TRUE(grown);
  now = pool->stats();
  EXPECT_EQ(now.total_bytes_allocated - start.total_bytes_allocated, 200);
  EXPECT_EQ(now.num_allocations - start.num_allocations, 3);
  auto shrunk = pool->reallocate(*grown, 150, 50);
  ASSERT_TRUE(shrunk);
  now = pool->stats();
  EXPECT_EQ(now.bytes_allocated - start.bytes_allocated, 50);
  EXPECT_EQ(now.total_bytes_allocated - start.total_bytes_allocated, 200);
  EXPECT_EQ(now.num_allocations - start.num_allocations, 3);
  pool->free(*shrunk, 50);
  EXPECT_EQ(pool->bytes_allocated(), start.bytes_allocated);
}

TEST_P(Backend, ReallocateKeepsTheBytes) {
  const auto pool = allocator();
  auto block = pool->allocate(10);
  ASSERT_TRUE(block);
  (*block)[0] = 35;
  (*block)[9] = 12;
  auto grown = pool->reallocate(*block, 10, 20);
  ASSERT_TRUE(grown);
  EXPECT_EQ((*grown)[9], 12);
  auto shrunk = pool->reallocate(*grown, 20, 5);
  ASSERT_TRUE(shrunk);
  EXPECT_EQ((*shrunk)[0], 35);
  auto none = pool->reallocate(*shrunk, 5, 0);
  ASSERT_TRUE(none);
  EXPECT_EQ(*none, detail::zero_area());
}

TEST_P(Backend, AnyAlignmentIsKeptAndSmallOnesRaised) {
  const auto pool = allocator();
  for (const std::int64_t alignment : {1, 4, 64, 512, 4096, 1 << 16}) {
    for (const std::int64_t size : {std::int64_t{1}, std::int64_t{10}, 2 * kMiB}) {
      auto block = pool->allocate(size, alignment);
      ASSERT_TRUE(block);
      const auto at = reinterpret_cast<std::uintptr_t>(*block);
      EXPECT_EQ(at % static_cast<std::uintptr_t>(std::max<std::int64_t>(alignment, 64)), 0u);
      pool->free(*block, size, alignment);
    }
  }
  for (const std::int64_t alignment : {-64, 0, 3, 48, 1 << 22}) {
    EXPECT_EQ(pool->allocate(10, alignment).error().code(), ErrorCode::kInvalid) << alignment;
  }
}

TEST_P(Backend, BadSizesMoveNoCounter) {
  const auto pool = allocator();
  const AllocatorStats start = pool->stats();
  EXPECT_EQ(pool->allocate(-1).error().code(), ErrorCode::kInvalid);
  for (const std::int64_t size : {INT64_MAX, INT64_MAX - 63, INT64_MAX - 127}) {
    EXPECT_EQ(pool->allocate(size).error().code(), ErrorCode::kOutOfMemory) << size;
  }
  auto block = pool->allocate(50);
  ASSERT_TRUE(block);
  EXPECT_EQ(pool->reallocate(*block, 50, -1).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(pool->reallocate(*block, 50, INT64_MAX - 63).error().code(), ErrorCode::kOutOfMemory);
  EXPECT_EQ(pool->bytes_allocated(), start.bytes_allocated + 50);
  pool->free(*block, 50);
  EXPECT_EQ(pool->bytes_allocated(), start.bytes_allocated);
}

TEST_P(Backend, NothingIsAnAddressToo) {
  const auto pool = allocator();
  const AllocatorStats start = pool->stats();
  auto one = pool->allocate(0);
  auto other = pool->allocate(0, 4096);
  ASSERT_TRUE(one && other);
  EXPECT_EQ(*one, *other);
  EXPECT_EQ(pool->stats().num_allocations - start.num_allocations, 2);
  pool->free(*one, 0);
  EXPECT_EQ(pool->bytes_allocated(), start.bytes_allocated);
}

TEST_P(Backend, LargeBlocksLeaveTheProcessWhenFreed) {
  const auto pool = allocator();
  constexpr std::int64_t kBlocks = 64;
  const std::int64_t before = resident();
  std::vector<std::uint8_t*> blocks;
  for (std::int64_t i = 0; i < kBlocks; ++i) {
    auto block = pool->allocate(kMiB);
    ASSERT_TRUE(block);
    std::memset(*block, 1, kMiB);
    blocks.push_back(*block);
  }
  const std::int64_t full = resident();
  EXPECT_GE(full - before, kBlocks * kMiB * 98 / 100);
  for (std::uint8_t* block : blocks) pool->free(block, kMiB);
  EXPECT_GE(full - resident(), kBlocks * kMiB * 98 / 100);
}

TEST_P(Backend, CountersAreExactUnderThreads) {
  const auto pool = allocator();
  const std::int64_t before = pool->bytes_allocated();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&pool] {
      for (std::int64_t i = 1; i <= 2000; ++i) {
        auto block = pool->allocate(i);
        if (block) pool->free(*block, i);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(pool->bytes_allocated(), before);
}

INSTANTIATE_TEST_SUITE_P(All, Backend, testing::ValuesIn(supported_backends()),
                         [](const auto& backend) { return backend.param; });

TEST(Allocators, SystemIsAlwaysThere) {
  const auto names = supported_backends();
  EXPECT_EQ(names.back(), "system");
  EXPECT_EQ(system_allocator(), system_allocator());
}

TEST(Allocators, LoadingMimallocLeavesMallocAlone) {
  if (!mimalloc_allocator()) {
    EXPECT_EQ(mimalloc_allocator().error().code(), ErrorCode::kUnsupported);
    return;
  }
  Dl_info origin{};
  ASSERT_NE(::dladdr(::dlsym(RTLD_DEFAULT, "malloc"), &origin), 0);
  EXPECT_EQ(std::string_view(origin.dli_fname).find("mimalloc"), std::string_view::npos);
  EXPECT_EQ((*mimalloc_allocator())->backend_name(), "mimalloc");
}

TEST(Allocators, TheDefaultCanBeSet) {
  EXPECT_EQ(default_allocator(), system_allocator());
  if (auto other = mimalloc_allocator()) {
    set_default_allocator(*other);
    EXPECT_EQ(default_allocator(), *other);
    set_default_allocator(nullptr);
  }
  EXPECT_EQ(default_allocator(), system_allocator());
}

}  // namespace
}  // namespace membroker
