#pragma once

/// \file
/// Part of membroker.h: who reserves memory, how much, and how it spills.

#include "membroker/c/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mb_consumer mb_consumer;
typedef struct mb_reservation mb_reservation;
typedef struct mb_no_spill mb_no_spill;
typedef struct mb_ticket mb_ticket;

typedef enum mb_spill_trigger {
  MB_SPILL_REVOCATION = 0,  ///< The daemon wants bytes back.
  MB_SPILL_OTHER = 1,       ///< Another consumer of this process needs them.
  MB_SPILL_SELF = 2,        ///< The consumer itself is acquiring and nobody else could help.
  MB_SPILL_EXPLICIT = 3,    ///< mb_consumer_spill was called.
  MB_SPILL_TRIGGER_MAX = 0x7fffffff
} mb_spill_trigger;

/// Lives during the call.
typedef struct mb_spill_request {
  size_t struct_size;  ///< As the library knows it; may be larger than the caller's.
  int64_t bytes;       ///< Wanted. More may be freed, or less, or nothing.
  int64_t timeout_ms;  ///< Until then; MB_FOREVER: no deadline.
  mb_spill_trigger trigger;
  int32_t reserved;
} mb_spill_request;

/// Frees memory, gives it back by mb_reservation_shrink or mb_reservation_free, and returns the
/// bytes freed; 0: cannot now. Runs on a library thread with no library lock held
/// (mb_consumer_spill runs it on the caller's). From inside it mb_reservation_try_grow and _acquire
/// fail with MB_GROW_IN_SPILL, and _grow is a counted overdraft. Not called twice at once for a
/// consumer.
typedef int64_t (*mb_spill_function)(void* context, const mb_spill_request* request);

typedef struct mb_consumer_options {
  size_t struct_size;
  const char* name;         ///< Required.
  mb_spill_function spill;  ///< NULL: it cannot, or polls mb_reservation_spill_requested.
  void* spill_context;
  /// When the consumer's last user is gone; at once if `spill` is NULL. May be NULL.
  mb_context_drop spill_context_drop;
  int64_t page_bytes;      ///< What a page has when less is required.
  int32_t can_spill;       ///< 1 without a call-back: cooperative. With a call-back it is 1.
  int32_t spill_priority;  ///< Higher is asked first (a cache before a hash table).
} mb_consumer_options;
#define MB_CONSUMER_OPTIONS_INIT \
  { sizeof(mb_consumer_options), NULL, NULL, NULL, NULL, (int64_t)1 << 20, 0, 0 }

/// A consumer of no pool yet. If this fails the context is not dropped.
mb_status mb_consumer_new(const mb_consumer_options* options, mb_consumer** out, mb_error** error);
/// Registers with `pool` and gives an empty reservation; the registration ends with the last of the
/// consumer's reservations and pages. A consumer that is registered already is left alone: the
/// reservation is of a clone with a new id.
mb_status mb_consumer_register(mb_consumer* consumer, mb_pool* pool, mb_reservation** out,
                               mb_error** error);
/// Same name and settings, another id, not registered. The spill context is shared.
mb_status mb_consumer_clone(const mb_consumer* consumer, mb_consumer** out, mb_error** error);

/// Lives as long as the handle.
const char* mb_consumer_name(const mb_consumer* consumer);
/// Unique in the process; 0 for NULL.
uint64_t mb_consumer_id(const mb_consumer* consumer);
/// 1 or 0.
int32_t mb_consumer_can_spill(const mb_consumer* consumer);
/// 0 for NULL too.
int32_t mb_consumer_spill_priority(const mb_consumer* consumer);
/// Bytes reserved, over all its reservations.
int64_t mb_consumer_used(const mb_consumer* consumer);
/// The most it has had reserved, since its making or the last reset. With several reservations at a
/// time exact in a tracked pool only, else too high by what they had been given and not used yet:
/// about half of the pool at most, and 2 MiB each (16 in a large pool).
int64_t mb_consumer_peak(const mb_consumer* consumer);
/// Sets the peak to what is used now.
void mb_consumer_reset_peak(mb_consumer* consumer);
/// Runs the spill call-back now, on this thread, for `bytes` (INT64_MAX: all it can), and gives the
/// bytes freed. MB_UNSUPPORTED without a call-back; MB_RESOURCES_EXHAUSTED if it is running.
mb_status mb_consumer_spill(mb_consumer* consumer, int64_t bytes, int64_t* freed, mb_error** error);

/// Memory charged to a consumer; 64-byte aligned.
typedef struct mb_page {
  void* data;
  int64_t bytes;
} mb_page;

/// Memory of at least `required_bytes` and, where to be had, the consumer's page size. May spill
/// others, and the consumer itself at the last; waits at most 5 s. MB_RESOURCES_EXHAUSTED: "Unable
/// to acquire N bytes of memory, got M".
mb_status mb_consumer_allocate_page(mb_consumer* consumer, int64_t required_bytes, mb_page* out,
                                    mb_error** error);
/// A page of `elements` * 8 bytes.
mb_status mb_consumer_allocate_array(mb_consumer* consumer, int64_t elements, mb_page* out,
                                     mb_error** error);
/// MB_INVALID for a page that is not this consumer's or was freed before.
mb_status mb_consumer_free_page(mb_consumer* consumer, const mb_page* page, mb_error** error);

/// What the consumer can have of the pool at most: sets both outputs; the bytes are 0 unless
/// finite.
mb_status mb_pool_limit_for(const mb_pool* pool, const mb_consumer* consumer, mb_limit_kind* kind,
                            int64_t* bytes, mb_error** error);

void mb_consumer_drop(mb_consumer* consumer);

/// All or nothing. Waits for the daemon at most 50 ms and never for a spill.
/// MB_RESOURCES_EXHAUSTED (with a denial), MB_GROW_IN_SPILL, MB_CLOSED, MB_FORKED, MB_INVALID.
mb_status mb_reservation_try_grow(mb_reservation* reservation, int64_t bytes, mb_error** error);
/// Never refused: what the pool does not have is an overdraft, visible to the daemon at once and
/// repaid first. MB_INVALID.
mb_status mb_reservation_grow(mb_reservation* reservation, int64_t bytes, mb_error** error);
/// Gives bytes back; their memory must be free already. MB_INVALID beyond the size.
mb_status mb_reservation_shrink(mb_reservation* reservation, int64_t bytes, mb_error** error);
/// Shrinks, and gives the size after it.
mb_status mb_reservation_try_shrink(mb_reservation* reservation, int64_t bytes, int64_t* size,
                                    mb_error** error);
/// Grows (by grow) or shrinks to a size. Not atomic as a whole.
mb_status mb_reservation_resize(mb_reservation* reservation, int64_t bytes, mb_error** error);
/// Grows (by try_grow) or shrinks to a size. Not atomic as a whole.
mb_status mb_reservation_try_resize(mb_reservation* reservation, int64_t bytes, mb_error** error);
/// Gives all bytes back and returns how many that were. The reservation can grow again.
int64_t mb_reservation_free(mb_reservation* reservation);
/// Moves bytes to a new reservation of the same consumer; the pool sees no change. MB_INVALID
/// beyond the size.
mb_status mb_reservation_split(mb_reservation* reservation, int64_t bytes, mb_reservation** out,
                               mb_error** error);
/// An empty reservation of the same consumer.
mb_status mb_reservation_new_empty(const mb_reservation* reservation, mb_reservation** out,
                                   mb_error** error);
/// Moves all bytes to a new reservation of the same consumer.
mb_status mb_reservation_take(mb_reservation* reservation, mb_reservation** out, mb_error** error);
/// Bytes reserved by it.
int64_t mb_reservation_size(const mb_reservation* reservation);

typedef struct mb_acquire_options {
  size_t struct_size;
  int32_t priority;                 ///< Clamped to the tenant's maximum by the daemon.
  int32_t spillable_while_waiting;  ///< 1: its own spill call-back may run while it waits.
} mb_acquire_options;
#define MB_ACQUIRE_OPTIONS_INIT \
  { sizeof(mb_acquire_options), 0, 0 }

/// Grows by as much as can be had up to `want`, at least `min`, and gives how much that was. May
/// wait until the timeout for the daemon, for others' releases and for this process's consumers to
/// spill. Neither this nor try_grow may be called holding a lock that a spill call-back takes.
/// 0 <= min <= want; with min 0 nothing to be had is the answer 0. `options` may be NULL.
/// MB_RESOURCES_EXHAUSTED, MB_TIMEOUT, MB_GROW_IN_SPILL, MB_CLOSED, MB_FORKED, MB_INVALID.
mb_status mb_reservation_acquire(mb_reservation* reservation, int64_t min_bytes, int64_t want_bytes,
                                 int64_t timeout_ms, const mb_acquire_options* options,
                                 int64_t* granted, mb_error** error);

/// Called once, on a library thread without locks or before the call that asked returns: with the
/// bytes and NULL, or with 0 and the error, which lives during the call. The reservation has grown
/// already.
typedef void (*mb_acquire_function)(void* context, int64_t granted, const mb_error* error);

/// As mb_reservation_acquire, without blocking. If it returns MB_OK, `done` has been or will be
/// called; else it will not be. `ticket` may be NULL; dropping it does not cancel. Dropping the
/// reservation does.
mb_status mb_reservation_acquire_async(mb_reservation* reservation, int64_t min_bytes,
                                       int64_t want_bytes, int64_t timeout_ms,
                                       const mb_acquire_options* options, mb_acquire_function done,
                                       void* context, mb_ticket** ticket, mb_error** error);
/// `done` is called with MB_CANCELLED, unless it has been or is being called.
void mb_ticket_cancel(mb_ticket* ticket);
void mb_ticket_drop(mb_ticket* ticket);

/// For cooperative consumers: bytes to spill and give back at the next safe point; 0: none.
int64_t mb_reservation_spill_requested(const mb_reservation* reservation);

/// The consumer it belongs to, by a handle of its own.
mb_status mb_reservation_consumer(const mb_reservation* reservation, mb_consumer** out,
                                  mb_error** error);
/// The pool it is in, by a handle of its own. MB_FORKED for a reservation made in a forked child
/// out of one of its parent's.
mb_status mb_reservation_pool(const mb_reservation* reservation, mb_pool** out, mb_error** error);

/// Gives its bytes back.
void mb_reservation_drop(mb_reservation* reservation);

/// Until it ends, the reservation's consumer is not chosen for spilling. A call-back that runs
/// already is not stopped: the consumer's own lock orders the two.
mb_status mb_no_spill_begin(const mb_reservation* reservation, mb_no_spill** out, mb_error** error);
/// The same by the consumer.
mb_status mb_consumer_no_spill_begin(const mb_consumer* consumer, mb_no_spill** out,
                                     mb_error** error);
void mb_no_spill_end(mb_no_spill* section);

#ifdef __cplusplus
}
#endif
