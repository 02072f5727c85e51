#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "membroker/allocator.h"
#include "membroker/buffer.h"
#include "membroker/memory_pool.h"

namespace membroker {
namespace {

constexpr std::int64_t kMiB = 1 << 20;

// Has no memory while `empty`.
class FailingBackend final : public BufferAllocator {
 public:
  std::atomic<bool> empty{false};
  std::string_view backend_name() const noexcept override { return "failing"; }

 private:
  Result<std::uint8_t*> do_allocate(std::int64_t size, std::int64_t alignment) override {
    if (empty) return fail(ErrorCode::kOutOfMemory, "the backend is empty");
    return system_allocator()->allocate(size, alignment);
  }
  Result<std::uint8_t*> do_reallocate(std::uint8_t* block, std::int64_t old_size,
                                      std::int64_t new_size, std::int64_t alignment) override {
    if (empty) return fail(ErrorCode::kOutOfMemory, "the backend is empty");
    return system_allocator()->reallocate(block, old_size, new_size, alignment);
  }
  void do_free(std::uint8_t* block, std::int64_t size, std::int64_t alignment) noexcept override {
    system_allocator()->free(block, size, alignment);
  }
};

TEST(ReservationAllocator, BuffersAreChargedByTheirCapacity) {
  const auto pool = MemoryPool::greedy(1024);
  const auto allocator = make_allocator(pool, "buffers");
  {
    auto buffer = allocate_buffer(1000, allocator);
    ASSERT_TRUE(buffer);
    EXPECT_EQ(pool->reserved(), 1024);
    auto refused = allocate_buffer(1, allocator);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kResourcesExhausted);
    ASSERT_NE(refused.error().denial(), nullptr);
    EXPECT_EQ(pool->reserved(), 1024);
    EXPECT_EQ(allocator->stats().num_allocations, 1);
  }
  EXPECT_EQ(pool->reserved(), 0);
  EXPECT_EQ(allocator->max_memory(), 1024);
  EXPECT_EQ(allocator->backend_name(), "system");
}

TEST(ReservationAllocator, ABufferOutlivesItsAllocatorAndItsPoolsHandle) {
  auto pool = MemoryPool::greedy(kMiB);
  const std::weak_ptr<MemoryPool> watch = pool;
  Buffer kept;
  {
    auto buffer = allocate_buffer(100, make_allocator(pool, "short-lived"));
    ASSERT_TRUE(buffer);
    kept = *std::move(*buffer).freeze().slice(10, 5);
  }
  EXPECT_EQ(pool->reserved(), 128);
  pool.reset();
  EXPECT_FALSE(watch.expired());
  kept = Buffer();
  EXPECT_TRUE(watch.expired());
}

TEST(ReservationAllocator, TheChargeIsUndoneIfTheBackendFails) {
  const auto pool = MemoryPool::greedy(kMiB);
  const auto backend = std::make_shared<FailingBackend>();
  const auto allocator = make_allocator(pool, "buffers", backend);
  auto buffer = allocate_resizable_buffer(1000, allocator);
  ASSERT_TRUE(buffer);
  backend->empty = true;
  EXPECT_EQ(allocate_buffer(1000, allocator).error().code(), ErrorCode::kOutOfMemory);
  EXPECT_EQ(buffer->resize(5000).error().code(), ErrorCode::kOutOfMemory);
  EXPECT_EQ(pool->reserved(), 1024);
  EXPECT_EQ(allocator->bytes_allocated(), 1024);
}

TEST(ReservationAllocator, ResizingPaysTheDifference) {
  const auto pool = MemoryPool::greedy(4 * kMiB);
  const auto allocator = make_allocator(pool, "buffers");
  auto buffer = allocate_resizable_buffer(2 * kMiB, allocator);
  ASSERT_TRUE(buffer);
  ASSERT_TRUE(buffer->resize(3 * kMiB));  // 5 MiB would be too much
  EXPECT_EQ(pool->reserved(), 3 * kMiB);
  ASSERT_TRUE(buffer->resize(kMiB));
  EXPECT_EQ(pool->reserved(), kMiB);
  EXPECT_EQ(buffer->resize(5 * kMiB).error().code(), ErrorCode::kResourcesExhausted);
  EXPECT_EQ(buffer->size(), kMiB);
}

TEST(ReservationAllocator, PrepaidBytesAreSpentFirst) {
  const auto pool = MemoryPool::greedy(1000);
  auto reservation = MemoryConsumer("sort").register_with(pool);
  ASSERT_TRUE(reservation.try_grow(256));
  const auto allocator = make_allocator(std::move(reservation));
  EXPECT_EQ(allocator->prepaid(), 256);
  {
    auto buffer = allocate_buffer(300, allocator);  // 256 of the 320 are paid
    ASSERT_TRUE(buffer);
    EXPECT_EQ(pool->reserved(), 320);
    EXPECT_EQ(allocator->prepaid(), 0);
  }
  EXPECT_EQ(pool->reserved(), 0);

  auto granted = allocator->reservation().acquire(1, 512, Deadline::now());
  ASSERT_TRUE(granted);
  allocator->add_prepaid(*granted);
  // A refusal spends nothing of it.
  EXPECT_EQ(allocate_buffer(1024, allocator).error().code(), ErrorCode::kResourcesExhausted);
  EXPECT_EQ(allocator->prepaid(), 512);
  EXPECT_EQ(pool->reserved(), 512);
  EXPECT_EQ(allocator->return_prepaid(), 512);
  EXPECT_EQ(allocator->return_prepaid(), 0);
  EXPECT_EQ(pool->reserved(), 0);
}

TEST(ReservationAllocator, AKeptWorkspaceCannotBeTakenBetweenUses) {
  const auto pool = MemoryPool::greedy(1024);
  const auto allocator = make_allocator(pool, "workspace");
  allocator->keep_freed(true);
  ASSERT_TRUE(allocate_buffer(1024, allocator));  // and freed at once
  EXPECT_EQ(pool->reserved(), 1024);
  EXPECT_EQ(allocator->prepaid(), 1024);
  ASSERT_TRUE(allocate_buffer(512, allocator));
  allocator->keep_freed(false);
  EXPECT_EQ(allocator->return_prepaid(), 1024);
  EXPECT_EQ(pool->reserved(), 0);
}

TEST(ReservationAllocator, NeverPassesThePoolUnderThreads) {
  constexpr std::int64_t kSize = 64 << 10;
  const auto pool = MemoryPool::greedy(kSize);
  const auto allocator = make_allocator(pool, "buffers");
  ASSERT_TRUE(allocator->reservation().try_grow(1024));
  allocator->add_prepaid(1024);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      std::vector<Buffer> held;
      for (std::int64_t i = 1; i <= 3000; ++i) {
        auto buffer = allocate_buffer(i * 7, allocator);
        if (buffer) {
          held.push_back(std::move(*buffer).freeze());
        } else {
          EXPECT_EQ(buffer.error().code(), ErrorCode::kResourcesExhausted);
          held.clear();
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(allocator->max_memory(), kSize);
  EXPECT_EQ(allocator->bytes_allocated(), 0);
  allocator->return_prepaid();
  EXPECT_EQ(pool->reserved(), 0);
}

}  // namespace
}  // namespace membroker
