#pragma once

/// \file
/// Part of membroker.h: memory, charged to a reservation where the allocator does, and contiguous
/// bytes that are written while they have one owner, then frozen and shared.

#include "membroker/c/consumer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mb_buffer mb_buffer;
typedef struct mb_mutable_buffer mb_mutable_buffer;

/// As an alignment: the least there is, 64 bytes. The most is 2 MiB.
#define MB_ALIGNMENT ((int64_t)64)

/// malloc's heap. Charges nobody.
mb_status mb_allocator_system(mb_allocator** out, mb_error** error);
/// mimalloc's heap; MB_UNSUPPORTED where libmimalloc.so.2 is not installed. Charges nobody.
mb_status mb_allocator_mimalloc(mb_allocator** out, mb_error** error);
/// What is used where none is given: the system's until it is set.
mb_status mb_allocator_default(mb_allocator** out, mb_error** error);
/// NULL sets it back to the system's. The handle stays the caller's.
mb_status mb_allocator_set_default(mb_allocator* allocator, mb_error** error);
/// Names of the backends this machine has, the preferred one first, from 0; NULL beyond the last.
/// "system" is always among them. Static storage.
const char* mb_allocator_supported_backend(int32_t index);

/// Registers a consumer of that name, which cannot spill, with the pool, and charges it the bytes
/// asked for: reserves first and allocates then, gives back after freeing, and never overdraws.
/// `backend` NULL: the default one.
mb_status mb_allocator_charged(mb_pool* pool, const char* consumer_name, mb_allocator* backend,
                               mb_allocator** out, mb_error** error);
/// The same with a reservation of the caller's, whose bytes are prepaid. On success the reservation
/// is the allocator's: its handle has ended.
mb_status mb_allocator_of_reservation(mb_reservation* reservation, mb_allocator* backend,
                                      mb_allocator** out, mb_error** error);
/// The next five: MB_UNSUPPORTED for an allocator that charges no reservation.
/// Grows the reservation by mb_reservation_acquire and makes the bytes usable: allocations spend
/// them first, without asking the pool.
mb_status mb_allocator_prepay(mb_allocator* allocator, int64_t min_bytes, int64_t want_bytes,
                              int64_t timeout_ms, const mb_acquire_options* options,
                              int64_t* granted, mb_error** error);
/// Bytes reserved and not spent yet.
mb_status mb_allocator_prepaid(mb_allocator* allocator, int64_t* bytes, mb_error** error);
/// Gives what is prepaid and not spent back to the pool; `bytes`, which may be NULL: how much that
/// was.
mb_status mb_allocator_return_prepaid(mb_allocator* allocator, int64_t* bytes, mb_error** error);
/// While `keep` is 1, freed blocks become prepaid bytes again instead of going back to the pool.
mb_status mb_allocator_keep_freed(mb_allocator* allocator, int32_t keep, mb_error** error);
/// Bytes the allocator has reserved.
mb_status mb_allocator_reserved(mb_allocator* allocator, int64_t* bytes, mb_error** error);

/// `bytes` at a multiple of max(alignment, 64), contents undefined. 0 bytes are one address shared
/// by all, which may be freed like any other. MB_INVALID (negative; alignment no power of two up to
/// 2 MiB), MB_OUT_OF_MEMORY, and the pool's refusal.
mb_status mb_allocate(mb_allocator* allocator, int64_t bytes, int64_t alignment, void** out,
                      mb_error** error);
/// Makes a block of `old_bytes` `new_bytes` long; the first min(old, new) are kept, the address may
/// change. After an error the block is as it was.
mb_status mb_reallocate(mb_allocator* allocator, void* block, int64_t old_bytes, int64_t new_bytes,
                        int64_t alignment, void** out, mb_error** error);
/// Gives a block back. Bytes and alignment must be those it has. A NULL block does nothing.
mb_status mb_deallocate(mb_allocator* allocator, void* block, int64_t bytes, int64_t alignment,
                        mb_error** error);

/// Counters of one allocator: bytes asked for, no slack of the backend.
typedef struct mb_allocator_stats {
  size_t struct_size;
  int64_t bytes_allocated;        ///< Live now.
  int64_t max_memory;             ///< Highest value of bytes_allocated.
  int64_t total_bytes_allocated;  ///< Ever; growing a block adds the difference only.
  int64_t num_allocations;        ///< Allocations, and reallocations to more.
} mb_allocator_stats;
#define MB_ALLOCATOR_STATS_INIT \
  { sizeof(mb_allocator_stats), 0, 0, 0, 0 }

/// Fills in the counters.
mb_status mb_allocator_get_stats(const mb_allocator* allocator, mb_allocator_stats* out,
                                 mb_error** error);
/// "system", "mimalloc". Lives as long as the handle.
const char* mb_allocator_backend_name(const mb_allocator* allocator);
/// Returns to the system what the backend keeps for later, as far as it can.
mb_status mb_allocator_release_unused(mb_allocator* allocator, mb_error** error);
/// The allocator lives on, and so does its reservation, until its last block is freed.
void mb_allocator_drop(mb_allocator* allocator);

/// ---- bytes with one owner: not thread-safe ----

/// `size_bytes`, undefined but for the padding up to the capacity (the next multiple of 64), which
/// is zero. `allocator` NULL: the default one. MB_INVALID, and of mb_allocate.
mb_status mb_mutable_buffer_new(int64_t size_bytes, mb_allocator* allocator, int64_t alignment,
                                mb_mutable_buffer** out, mb_error** error);
/// NULL for NULL; else not NULL, also of an empty one. Valid until it is resized, frozen or
/// dropped.
void* mb_mutable_buffer_data(mb_mutable_buffer* buffer);
/// Bytes in use, and bytes allocated: a multiple of 64.
int64_t mb_mutable_buffer_size(const mb_mutable_buffer* buffer);
int64_t mb_mutable_buffer_capacity(const mb_mutable_buffer* buffer);
/// Bytes up to min(old, new) are kept, new ones are undefined. With `shrink_to_fit` 1, a smaller
/// size gives capacity back.
mb_status mb_mutable_buffer_resize(mb_mutable_buffer* buffer, int64_t size_bytes,
                                   int32_t shrink_to_fit, mb_error** error);
/// Makes the capacity at least that, never smaller; the size stays.
mb_status mb_mutable_buffer_reserve(mb_mutable_buffer* buffer, int64_t capacity_bytes,
                                    mb_error** error);
/// Zeroes the bytes between size and capacity. Freezing does it too.
mb_status mb_mutable_buffer_zero_padding(mb_mutable_buffer* buffer, mb_error** error);
/// Ends writing: the bytes become immutable. On success the handle of the mutable one has ended.
mb_status mb_mutable_buffer_freeze(mb_mutable_buffer* buffer, mb_buffer** out, mb_error** error);
void mb_mutable_buffer_drop(mb_mutable_buffer* buffer);

/// ---- immutable bytes with shared ownership ----

/// Bytes of the caller's, which stay as they are until `release` (may be NULL: as long as the
/// process) has been called with `context`: after the last handle that shares them. If this fails
/// `release` is not called.
mb_status mb_buffer_wrap(const void* data, int64_t size_bytes, mb_context_drop release,
                         void* context, mb_buffer** out, mb_error** error);
/// NULL for NULL; else not NULL, also of an empty one.
const void* mb_buffer_data(const mb_buffer* buffer);
/// Bytes, and bytes allocated from the data on: of a slice and of foreign bytes, the size.
int64_t mb_buffer_size(const mb_buffer* buffer);
int64_t mb_buffer_capacity(const mb_buffer* buffer);
/// Another handle to the same bytes.
mb_status mb_buffer_share(const mb_buffer* buffer, mb_buffer** out, mb_error** error);
/// Part of the bytes, which keeps the whole alive. MB_INVALID beyond the end; nothing is clamped.
mb_status mb_buffer_slice(const mb_buffer* buffer, int64_t offset, int64_t length, mb_buffer** out,
                          mb_error** error);
/// A copy of a part. `allocator` NULL: the default one.
mb_status mb_buffer_copy_slice(const mb_buffer* buffer, int64_t offset, int64_t length,
                               mb_allocator* allocator, mb_buffer** out, mb_error** error);
/// 1: the same bytes. 0: others. -1: one is NULL.
int32_t mb_buffer_equals(const mb_buffer* a, const mb_buffer* b);
void mb_buffer_drop(mb_buffer* buffer);

#ifdef __cplusplus
}
#endif
