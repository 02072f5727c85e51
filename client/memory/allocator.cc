#include "membroker/allocator.h"

#include <algorithm>
#include <mutex>

#include "membroker/buffer.h"
#include "shared/bytes.h"
#include "shared/format.h"

namespace membroker {
namespace {

// Blocks of no bytes are all this one, which is never written nor freed.
alignas(kBufferAlignment) constinit std::uint8_t zero_block[kBufferAlignment] = {};

// The alignment to hand on, or why it cannot be had.
Result<std::int64_t> valid_alignment(std::int64_t alignment) {
  const bool power_of_two = alignment > 0 && (alignment & (alignment - 1)) == 0;
  if (!power_of_two || alignment > kAlignmentMax) {
    return fail(ErrorCode::kInvalid,
                strf("alignment %lld is not a power of two of at most %lld",
                     static_cast<long long>(alignment), static_cast<long long>(kAlignmentMax)));
  }
  return alignment < kBufferAlignment ? kBufferAlignment : alignment;
}

Error negative_size(std::int64_t size) {
  return Error(ErrorCode::kInvalid,
               strf("negative allocation size: %lld", static_cast<long long>(size)));
}

struct DefaultAllocator {
  std::mutex mutex;
  std::shared_ptr<BufferAllocator> chosen;
};

DefaultAllocator& default_choice() {
  static DefaultAllocator choice;
  return choice;
}

}  // namespace

const std::uint8_t* detail::zero_area() noexcept { return zero_block; }

Result<std::uint8_t*> BufferAllocator::allocate(std::int64_t size, std::int64_t alignment) {
  if (size < 0) return fail(negative_size(size));
  const auto valid = valid_alignment(alignment);
  if (!valid) return fail(valid.error());
  if (size == 0) {
    allocations_.fetch_add(1, std::memory_order_relaxed);
    return zero_block;
  }
  auto block = do_allocate(size, *valid);
  if (block) count_growth(size);
  return block;
}

Result<std::uint8_t*> BufferAllocator::reallocate(std::uint8_t* block, std::int64_t old_size,
                                                  std::int64_t new_size, std::int64_t alignment) {
  if (new_size < 0) return fail(negative_size(new_size));
  if (old_size == 0) return allocate(new_size, alignment);
  if (new_size == 0) {
    free(block, old_size, alignment);
    return zero_block;
  }
  const auto valid = valid_alignment(alignment);
  if (!valid) return fail(valid.error());
  if (new_size == old_size) return block;
  const std::int64_t shrinks_by = std::max<std::int64_t>(0, old_size - new_size);
  live_.fetch_sub(shrinks_by, std::memory_order_relaxed);
  auto moved = do_reallocate(block, old_size, new_size, *valid);
  if (!moved) live_.fetch_add(shrinks_by, std::memory_order_relaxed);
  if (moved && new_size > old_size) count_growth(new_size - old_size);
  return moved;
}

void BufferAllocator::free(std::uint8_t* block, std::int64_t size,
                           std::int64_t alignment) noexcept {
  if (size == 0) return;
  // Counted out first: as soon as it is freed another thread may be granted the same bytes.
  live_.fetch_sub(size, std::memory_order_relaxed);
  do_free(block, size, alignment < kBufferAlignment ? kBufferAlignment : alignment);
}

AllocatorStats BufferAllocator::stats() const noexcept {
  return {live_.load(std::memory_order_relaxed), peak_.load(std::memory_order_relaxed),
          total_.load(std::memory_order_relaxed), allocations_.load(std::memory_order_relaxed)};
}

bool BufferAllocator::count_spilled(std::int64_t) noexcept { return false; }

void BufferAllocator::count_growth(std::int64_t bytes) noexcept {
  const std::int64_t live = live_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  std::int64_t peak = peak_.load(std::memory_order_relaxed);
  while (live > peak && !peak_.compare_exchange_weak(peak, live, std::memory_order_relaxed)) {
  }
  total_.fetch_add(bytes, std::memory_order_relaxed);
  allocations_.fetch_add(1, std::memory_order_relaxed);
}

std::shared_ptr<BufferAllocator> default_allocator() {
  DefaultAllocator& choice = default_choice();
  {
    const std::lock_guard lock(choice.mutex);
    if (choice.chosen) return choice.chosen;
  }
  return system_allocator();
}

void set_default_allocator(std::shared_ptr<BufferAllocator> allocator) {
  DefaultAllocator& choice = default_choice();
  const std::lock_guard lock(choice.mutex);
  choice.chosen.swap(allocator);  // the old one ends after the lock
}

}  // namespace membroker
