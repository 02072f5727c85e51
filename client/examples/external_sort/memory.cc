#include "client/examples/external_sort/memory.h"

#include <algorithm>
#include <utility>

namespace membroker::external_sort {
namespace {

// Less would make spilling wait for the disk at every batch.
constexpr Bytes kWorkspaceMin = 4 * kMiB;
// Others may have to spill first.
constexpr std::chrono::seconds kPatience{60};

}  // namespace

Sizes Sizes::of_capacity(Bytes capacity) {
  Sizes sizes;
  sizes.block_min = std::clamp(capacity / 32, 64 * kKiB, sizes.block_min);
  sizes.block_max = std::clamp(capacity / 32, 64 * kKiB, sizes.block_max);
  sizes.batch = std::clamp(capacity / 64, kSpillReadAheadBytesMin, sizes.batch);
  sizes.read_ahead = std::clamp(capacity / 64, kSpillReadAheadBytesMin, sizes.read_ahead);
  sizes.output = std::clamp(capacity / 64, 64 * kKiB, sizes.output);
  sizes.workspace = std::clamp(capacity / 8, kSpillWorkspaceBytesMin, sizes.workspace);
  return sizes;
}

Result<WorkMemory> WorkMemory::create(const std::shared_ptr<MemoryPool>& pool, const Sizes& sizes) {
  WorkMemory memory;
  memory.sizes_ = sizes;
  auto paid = MemoryConsumer("spill workspace").register_with(pool);
  const auto got =
      paid.acquire(std::min(kWorkspaceMin, sizes.workspace), sizes.workspace, kPatience);
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

Result<MutableBuffer> WorkMemory::allocate_block(Bytes bytes, std::chrono::milliseconds wait) {
  // Reserved first: acquire() may wait for its turn, an allocator's own charge does not.
  const auto got = blocks_->reservation().acquire(bytes, bytes, wait);
  if (!got) return fail(got.error());
  blocks_->add_prepaid(*got);
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
    case ErrorCode::kUnavailable:  // the daemon is away: the lease stays, it only cannot grow
      return true;
    default: return false;
  }
}

}  // namespace membroker::external_sort
