#include "client/examples/external_sort/memory.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>

namespace membroker::external_sort {
namespace {

using std::chrono::milliseconds;

// Less would make spilling wait for the disk at every batch.
constexpr Bytes kWorkspaceMin = 4 * kMiB;
constexpr milliseconds kLookInterval{5};

// Of an acquire under way; shared with its call-back, which may outlive the waiting.
struct Answer {
  std::mutex mutex;
  std::condition_variable came;
  std::optional<Result<std::int64_t>> granted;

  bool wait(milliseconds most) {
    std::unique_lock lock(mutex);
    return came.wait_for(lock, most, [this] { return granted.has_value(); });
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
  sizes.workspace = std::clamp(capacity / 8, kSpillWorkspaceBytesMin, sizes.workspace);
  sizes.patience = milliseconds(500);
  return sizes;
}

Result<WorkMemory> WorkMemory::create(const std::shared_ptr<MemoryPool>& pool, const Sizes& sizes) {
  WorkMemory memory;
  memory.sizes_ = sizes;
  auto paid = MemoryConsumer("spill workspace").register_with(pool);
  const auto got =
      paid.acquire(std::min(kWorkspaceMin, sizes.workspace), sizes.workspace, sizes.patience);
  if (!got) return fail(got.error());
  memory.sizes_.workspace = *got;
  auto workspace =
      SpillWorkspace::create({.bytes = *got, .allocator = make_allocator(std::move(paid))});
  if (!workspace) return fail(workspace.error());
  memory.workspace_ = *std::move(workspace);
  memory.blocks_ =
      make_allocator(MemoryConsumer("sort blocks").with_can_spill(true).register_with(pool));
  memory.buffers_ = make_allocator(pool, "sort buffers");
  return memory;
}

Result<MutableBuffer> WorkMemory::allocate_block(Bytes bytes, milliseconds wait,
                                                 const std::function<Status()>& meanwhile) {
  // Reserved first: an acquire may wait for its turn, an allocator's own charge does not.
  const auto answer = std::make_shared<Answer>();
  AcquireTicket ticket = blocks_->reservation().acquire_async(
      bytes, bytes, wait, [answer](Result<std::int64_t> granted) {
        const std::lock_guard lock(answer->mutex);
        answer->granted = std::move(granted);
        answer->came.notify_one();
      });
  while (!answer->wait(kLookInterval)) {
    if (auto done = meanwhile(); !done) {
      ticket.cancel();
      return fail(done.error());
    }
  }
  if (!*answer->granted) return fail(answer->granted->error());
  blocks_->add_prepaid(**answer->granted);
  auto block = allocate_buffer(bytes, blocks_);
  if (!block) blocks_->return_prepaid();
  return block;
}

Result<Bytes> WorkMemory::reserve_buffers(Bytes min, Bytes want, milliseconds wait) {
  const auto got = buffers_->reservation().acquire(min, want, wait);
  if (got) buffers_->add_prepaid(*got);
  return got;
}

bool is_refusal(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kResourcesExhausted:
    case ErrorCode::kTimeout:
    case ErrorCode::kUnavailable:  // the daemon is away: the lease stays, it only cannot grow
      return true;
    default: return false;
  }
}

}  // namespace membroker::external_sort
