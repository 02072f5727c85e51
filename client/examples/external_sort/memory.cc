#include "client/examples/external_sort/memory.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>

namespace membroker::external_sort {
namespace {

using std::chrono::milliseconds;

// Between two looks at whether blocks are asked back.
constexpr milliseconds kLook{5};

/// What an acquire_async came to.
struct Answer {
  std::mutex mutex;
  std::condition_variable came;
  std::optional<Result<std::int64_t>> granted;  // guarded by mutex

  bool wait(milliseconds most) {
    std::unique_lock lock(mutex);
    return came.wait_for(lock, most, [&] { return granted.has_value(); });
  }
};

}  // namespace

Sizes Sizes::of_capacity(Bytes capacity) {
  Sizes sizes;
  sizes.block_min = std::clamp(capacity / 32, 64 * kKiB, sizes.block_min);
  sizes.block_max = std::clamp(capacity / 32, 64 * kKiB, sizes.block_max);
  sizes.batch = std::clamp(capacity / 64, kSpillReadAheadBytesMin, sizes.batch);
  sizes.read_ahead = std::clamp(capacity / 64, kSpillReadAheadBytesMin, sizes.read_ahead);
  sizes.output = std::clamp(capacity / 64, 64 * kKiB, sizes.output);
  return sizes;
}

WorkMemory::WorkMemory(const std::shared_ptr<MemoryPool>& pool, const Sizes& sizes,
                       std::shared_ptr<SpillWorkspace> workspace)
    : sizes_(sizes),
      blocks_(
          make_allocator(MemoryConsumer("sort blocks").with_can_spill(true).register_with(pool))),
      buffers_(make_allocator(pool, "sort buffers")),
      workspace_(std::move(workspace)) {}

Result<MutableBuffer> WorkMemory::allocate_block(Bytes bytes, milliseconds wait, bool until_asked) {
  // Reserved first: an acquire may wait for its turn, an allocator's own charge does not.
  const auto answer = std::make_shared<Answer>();
  AcquireTicket ticket = blocks_->reservation().acquire_async(
      bytes, bytes, wait, [answer](Result<std::int64_t> granted) {
        const std::lock_guard lock(answer->mutex);
        answer->granted = std::move(granted);
        answer->came.notify_one();
      });
  while (!answer->wait(kLook)) {
    // Cancelled, it is answered all the same, perhaps with a grant that was faster.
    if (until_asked && spill_requested() > 0) ticket.cancel();
  }
  if (!*answer->granted) return fail(answer->granted->error());
  blocks_->add_prepaid(**answer->granted);
  auto block = allocate_buffer(bytes, blocks_);
  if (!block) blocks_->return_prepaid();
  return block;
}

Result<Bytes> WorkMemory::reserve_buffers(Bytes min, Bytes want, std::chrono::milliseconds wait) {
  const auto got = buffers_->reservation().acquire(min, want, wait);
  if (got) buffers_->add_prepaid(*got);
  return got;
}

bool is_refusal(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kResourcesExhausted:
    case ErrorCode::kTimeout:
    case ErrorCode::kCancelled:
    case ErrorCode::kUnavailable:  // the daemon is away: the lease stays, it only cannot grow
      return true;
    default: return false;
  }
}

}  // namespace membroker::external_sort
