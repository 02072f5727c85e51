#pragma once

#include <chrono>
#include <memory>

#include "membroker/allocator.h"
#include "membroker/buffer.h"
#include "membroker/memory_pool.h"
#include "membroker/spill.h"
#include "shared/bytes.h"

/// \file
/// All memory the sort puts records into, charged to the client's lease in three parts:
///  - blocks of input lines: most of it, and what a revocation can have back;
///  - buffers of runs being written and merged, and of the output: little, needed to get on;
///  - the workspace of spill files, taken before anything else: so spilling never needs a grant.
///
/// Thread: the sort's.

namespace membroker::external_sort {

struct Sizes {
  Bytes block_min = kMiB;  // of input lines with their index; larger as the lease grows
  Bytes block_max = 4 * kMiB;
  Bytes batch = 256 * kKiB;       // of a run, written and read at a time
  Bytes read_ahead = 256 * kKiB;  // per run being merged
  Bytes output = kMiB;

  /// The defaults, smaller where `capacity` is all there will ever be.
  static Sizes of_capacity(Bytes capacity);
};

class WorkMemory {
 public:
  WorkMemory(const std::shared_ptr<MemoryPool>& pool, const Sizes& sizes,
             std::shared_ptr<SpillWorkspace> workspace);

  const Sizes& sizes() const { return sizes_; }

  /// A block for lines. Waits for others' memory as long as the daemon thinks that it will come, at
  /// most `wait`; with `until_asked` no longer than until blocks held are asked back, by the daemon
  /// or because only the asker itself can make room. Errors: is_refusal() of which can be met by
  /// spilling.
  Result<MutableBuffer> allocate_block(Bytes bytes, std::chrono::milliseconds wait,
                                       bool until_asked);
  /// Bytes held in blocks.
  Bytes blocks_held() const { return blocks_->bytes_allocated(); }
  /// What the daemon would have back of them.
  Bytes spill_requested() const { return blocks_->reservation().spill_requested(); }

  /// Makes at least `min` bytes and up to `want` usable for buffers(); returns how many.
  Result<Bytes> reserve_buffers(Bytes min, Bytes want, std::chrono::milliseconds wait);
  const std::shared_ptr<ReservationAllocator>& buffers() const { return buffers_; }

  const std::shared_ptr<SpillWorkspace>& workspace() const { return workspace_; }

 private:
  Sizes sizes_;
  std::shared_ptr<ReservationAllocator> blocks_;
  std::shared_ptr<ReservationAllocator> buffers_;
  std::shared_ptr<SpillWorkspace> workspace_;
};

/// The memory is not to be had now, whatever the reason: spilling helps, or waiting does.
bool is_refusal(const Error& error);

}  // namespace membroker::external_sort
