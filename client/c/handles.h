#pragma once

#include <memory>
#include <string>
#include <utility>

#include "client/c/guard.h"
#include "membroker/buffer.h"
#include "membroker/c/buffer.h"
#include "membroker/client.h"
#include "membroker/memory_pool.h"

/// \file
/// The handles that more than one file of the C ABI looks into.

struct mb_client {
  membroker::Client value;
};

struct mb_pool {
  std::shared_ptr<membroker::MemoryPool> value;  // shared with its reservations and other handles
};

struct mb_consumer {
  membroker::MemoryConsumer value;
};

struct mb_reservation {
  membroker::MemoryReservation value;
};

struct mb_allocator {
  explicit mb_allocator(std::shared_ptr<membroker::BufferAllocator> allocator)
      : value(std::move(allocator)), backend_name(value->backend_name()) {}

  std::shared_ptr<membroker::BufferAllocator> value;  // shared with what it has allocated
  std::string backend_name;
};

struct mb_buffer {
  membroker::Buffer value;
};

namespace membroker::c {

/// Null for a null handle.
inline std::shared_ptr<BufferAllocator> allocator_of(const mb_allocator* handle) {
  return handle == nullptr ? nullptr : handle->value;
}

Result<AcquireOptions> acquire_options(const mb_acquire_options* given);

}  // namespace membroker::c
