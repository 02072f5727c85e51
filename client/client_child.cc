#include "client/client_child.h"

#include <algorithm>
#include <utility>

#include "membroker/allocator.h"
#include "membroker/memory_pool.h"
#include "membroker/spill.h"
#include "shared/bytes.h"

namespace membroker::detail {

ChildBudget::ChildBudget(std::string resource, std::int64_t bytes, std::uint64_t generation)
    : resource_(std::move(resource)),
      bytes_(bytes),
      generation_(generation),
      pool_(MemoryPool::greedy(bytes)),
      allocator_(make_allocator(pool_, "buffers")) {}

Result<std::shared_ptr<SpillWorkspace>> ChildBudget::spill_workspace(
    std::chrono::milliseconds timeout) {
  // One thread makes it: two would take its bytes twice.
  const std::unique_lock lock(mutex_, Deadline(timeout).at);
  if (!lock) {
    return fail(ErrorCode::kTimeout, "another thread still waits for the spill workspace");
  }
  if (workspace_) return workspace_;
  const std::int64_t bytes = fixed_workspace(bytes_);
  if (bytes > bytes_) {
    return fail(ErrorCode::kInvalid, "child_budget_bytes is " + format_bytes(bytes_) +
                                         "; a spill workspace needs at least " +
                                         format_bytes(bytes));
  }
  auto reservation = MemoryConsumer("spill workspace").register_with(pool_);
  if (auto got = reservation.acquire(bytes, bytes, timeout); !got) return fail(got.error());
  auto made =
      SpillWorkspace::create({.bytes = bytes, .allocator = make_allocator(std::move(reservation))});
  if (!made) return made;
  return workspace_ = *std::move(made);
}

ResourceStats ChildBudget::stats() const {
  ResourceStats stats;
  stats.resource = resource_;
  stats.held_bytes = bytes_;
  stats.reserved_bytes = pool_->reserved();
  stats.slack_bytes = std::max<std::int64_t>(0, bytes_ - stats.reserved_bytes);
  return stats;
}

std::int64_t fixed_workspace(std::int64_t capacity_bytes) {
  return std::clamp(capacity_bytes / 8, kSpillWorkspaceBytesMin, kSpillWorkspaceBytes);
}

}  // namespace membroker::detail
