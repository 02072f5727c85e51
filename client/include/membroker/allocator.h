#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "membroker/error.h"

/// \file
/// Where the bytes of buffers come from. A MemoryPool says who may have how much; a BufferAllocator
/// allocates, and the one made by make_allocator() charges what it allocates to a reservation.
///
///     auto allocator = membroker::make_allocator(client.pool(), "join build");
///     auto buffer = membroker::allocate_buffer(1 << 20, allocator);   // charged, or an error
///
/// Blocks of kLargeBlockBytes and more are mapped and unmapped one by one, by every backend: what
/// is freed has left the process when `free` returns.

namespace membroker {

class MemoryPool;
class MemoryReservation;

inline constexpr std::int64_t kBufferAlignment = 64;
inline constexpr std::int64_t kLargeBlockBytes = std::int64_t{1} << 20;
/// The largest alignment an allocator takes.
inline constexpr std::int64_t kAlignmentMax = std::int64_t{2} << 20;

/// Counters of one allocator. Bytes are those asked for: no slack of the backend.
struct AllocatorStats {
  std::int64_t bytes_allocated = 0;        ///< Live now.
  std::int64_t max_memory = 0;             ///< Highest value of bytes_allocated.
  std::int64_t total_bytes_allocated = 0;  ///< Ever; growing a block adds the difference only.
  std::int64_t num_allocations = 0;        ///< allocate, and reallocate to more.
};

/// Thread-safe. Held by shared_ptr: whatever was allocated keeps its allocator alive.
class BufferAllocator {
 public:
  virtual ~BufferAllocator() = default;
  BufferAllocator(const BufferAllocator&) = delete;
  BufferAllocator& operator=(const BufferAllocator&) = delete;

  /// `size` bytes at a multiple of max(alignment, kBufferAlignment), contents undefined. Size 0
  /// gives one address shared by all, which may be freed like any other.
  /// Errors: kInvalid (size < 0; alignment no power of two in 1..kAlignmentMax), kOutOfMemory, and
  /// of an allocator that charges: the pool's refusal. After an error nothing has changed.
  Result<std::uint8_t*> allocate(std::int64_t size, std::int64_t alignment = kBufferAlignment);

  /// Makes a block of `old_size` bytes `new_size` bytes long; the first min(old, new) are kept, the
  /// address may change. `old_size` and `alignment` must be those the block has. An allocator that
  /// charges pays for the difference only, although both blocks may exist for a moment.
  /// Errors as of allocate; then the block is as it was.
  Result<std::uint8_t*> reallocate(std::uint8_t* block, std::int64_t old_size,
                                   std::int64_t new_size,
                                   std::int64_t alignment = kBufferAlignment);

  /// Gives the block back. `size` and `alignment` must be those it has.
  void free(std::uint8_t* block, std::int64_t size,
            std::int64_t alignment = kBufferAlignment) noexcept;

  /// Returns to the system what the backend keeps for later, as far as it can. Changes no counter.
  virtual void release_unused() noexcept {}

  /// "system", "mimalloc"; an allocator over another one gives that one's name.
  virtual std::string_view backend_name() const noexcept = 0;

  /// Told by spill files that are written through memory of this allocator: who pays for it counts
  /// the bytes. False: nobody pays.
  virtual bool count_spilled(std::int64_t bytes_written) noexcept;

  AllocatorStats stats() const noexcept;
  std::int64_t bytes_allocated() const noexcept { return live_.load(std::memory_order_relaxed); }
  std::int64_t max_memory() const noexcept { return peak_.load(std::memory_order_relaxed); }

 protected:
  BufferAllocator() = default;

  // Arguments are valid: sizes > 0, alignment a power of two >= kBufferAlignment.
  virtual Result<std::uint8_t*> do_allocate(std::int64_t size, std::int64_t alignment) = 0;
  virtual Result<std::uint8_t*> do_reallocate(std::uint8_t* block, std::int64_t old_size,
                                              std::int64_t new_size, std::int64_t alignment) = 0;
  virtual void do_free(std::uint8_t* block, std::int64_t size, std::int64_t alignment) noexcept = 0;

 private:
  void count_growth(std::int64_t bytes) noexcept;

  std::atomic<std::int64_t> live_{0};
  std::atomic<std::int64_t> peak_{0};
  std::atomic<std::int64_t> total_{0};
  std::atomic<std::int64_t> allocations_{0};
};

/// malloc's heap. Always there; the same object at each call. Charges nobody.
std::shared_ptr<BufferAllocator> system_allocator();

/// mimalloc's heap, where libmimalloc.so.2 is installed. It is loaded privately at the first call:
/// the process's own malloc stays what it is. Charges nobody.
/// Errors: kUnsupported (what could not be loaded).
Result<std::shared_ptr<BufferAllocator>> mimalloc_allocator();

/// What allocate_buffer uses when it is given none: system_allocator() until it is set. Charges
/// nobody.
std::shared_ptr<BufferAllocator> default_allocator();
/// Null sets it back to system_allocator().
void set_default_allocator(std::shared_ptr<BufferAllocator> allocator);

/// Names of the backends this machine has, the preferred one first; "system" is always among them.
std::vector<std::string> supported_backends();

/// An allocator whose blocks are charged to one reservation, by the bytes asked for: it reserves
/// first and allocates then, and gives back after freeing. If the backend has no memory the charge
/// is undone. It never overdraws. It lives, and so does the reservation, until its last block is
/// freed.
///
/// Bytes the caller has reserved beforehand (by `acquire`, which may wait and be answered in part,
/// or in order to be able to spill) are made usable with add_prepaid(): allocations spend these
/// first, without asking the pool.
class ReservationAllocator : public BufferAllocator {
 public:
  /// The reservation charged. Growing it does not by itself make bytes usable: see add_prepaid.
  /// Do not shrink, resize, free, split or move it.
  virtual MemoryReservation& reservation() noexcept = 0;

  /// Says that the reservation was grown by `bytes` (>= 0) for allocations to come.
  virtual void add_prepaid(std::int64_t bytes) noexcept = 0;
  /// Bytes reserved and not spent yet.
  virtual std::int64_t prepaid() const noexcept = 0;
  /// Gives what is prepaid and not spent back to the pool; returns how much that was.
  virtual std::int64_t return_prepaid() noexcept = 0;
  /// While on, freed blocks become prepaid bytes again instead of going back to the pool: for a
  /// workspace that must not be lost between two uses. Off at first; turning it off keeps what is
  /// prepaid until return_prepaid.
  virtual void keep_freed(bool keep) noexcept = 0;
};

/// Charges `reservation`; what it holds already is prepaid. Null backend: default_allocator().
std::shared_ptr<ReservationAllocator> make_allocator(
    MemoryReservation reservation, std::shared_ptr<BufferAllocator> backend = nullptr);

/// Registers a consumer of that name, which cannot spill, with the pool and charges it.
std::shared_ptr<ReservationAllocator> make_allocator(
    std::shared_ptr<MemoryPool> pool, std::string consumer_name = "allocator",
    std::shared_ptr<BufferAllocator> backend = nullptr);

}  // namespace membroker
