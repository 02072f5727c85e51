#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "membroker/client.h"

/// \file
/// What a forked child of a connected client's process has instead of the lease, if
/// ClientOptions::child_budget_bytes says so: memory of a fixed size, known to the child alone.

namespace membroker::detail {

/// Made in the child, so that no lock of it can have been held at the fork. Thread-safe.
class ChildBudget {
 public:
  ChildBudget(std::string resource, std::int64_t bytes, std::uint64_t generation);

  /// Of which process it is: a child's child has its own.
  std::uint64_t generation() const { return generation_; }
  const std::string& resource() const { return resource_; }
  const std::shared_ptr<MemoryPool>& pool() const { return pool_; }
  const std::shared_ptr<BufferAllocator>& allocator() const { return allocator_; }
  Result<std::shared_ptr<SpillWorkspace>> spill_workspace(std::chrono::milliseconds timeout);
  ResourceStats stats() const;

 private:
  const std::string resource_;
  const std::int64_t bytes_;
  const std::uint64_t generation_;
  const std::shared_ptr<MemoryPool> pool_;
  const std::shared_ptr<BufferAllocator> allocator_;
  std::timed_mutex mutex_;
  std::shared_ptr<SpillWorkspace> workspace_;  // guarded by mutex_
};

/// An eighth of all there will ever be, within what a workspace can use.
std::int64_t fixed_workspace(std::int64_t capacity_bytes);

}  // namespace membroker::detail
