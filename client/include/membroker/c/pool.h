#pragma once

/// \file
/// Part of membroker.h: budgets that reservations share. A pool accounts and allocates nothing. It
/// lives until its last handle and its last reservation are gone.

#include "membroker/c/client.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Bytes of a nested pool's workspace lent out.
typedef struct mb_loan mb_loan;

/// Grants everything.
mb_status mb_pool_unbounded(mb_pool** out, mb_error** error);
/// First come, first served. MB_INVALID for a negative size, here and below.
mb_status mb_pool_greedy(int64_t size_bytes, mb_pool** out, mb_error** error);
/// Of what unspillable consumers leave, each spillable one that holds or wants memory may have an
/// equal part.
mb_status mb_pool_fair_spill(int64_t size_bytes, mb_pool** out, mb_error** error);
/// Between tasks: each of N active ones may have at most 1/N, and at least 1/2N before it is told
/// to spill, for which acquiring waits. Consumers register with the pools of mb_pool_task.
mb_status mb_pool_task_fair(int64_t size_bytes, mb_pool** out, mb_error** error);
/// The pool of one task, the same one for the same id while somebody holds it. MB_UNSUPPORTED if
/// `pool` was not made by mb_pool_task_fair.
mb_status mb_pool_task(mb_pool* pool, uint64_t id, mb_pool** out, mb_error** error);

/// The same pool; its refusals list the `top_n` largest consumers registered through this handle.
mb_status mb_pool_tracked(mb_pool* pool, size_t top_n, mb_pool** out, mb_error** error);

/// Watches what is reserved through the pools tracked with it, and what is really allocated.
typedef struct mb_watch mb_watch;

/// `allocated` says how much memory is really in use; called on any thread. NULL: the pages and
/// the allocators that charge the watched pools; the context is then not used and not dropped.
mb_status mb_watch_open(int64_t (*allocated)(void* context), void* context,
                        mb_context_drop context_drop, mb_watch** out, mb_error** error);
/// As mb_pool_tracked; every change of the reservations is seen by the watch, which costs them
/// their fast path.
mb_status mb_pool_watched(mb_pool* pool, size_t top_n, mb_watch* watch, mb_pool** out,
                          mb_error** error);

typedef struct mb_watch_figures {
  size_t struct_size;
  int64_t reserved_bytes;
  int64_t peak_bytes;  ///< Reserved at most since mb_watch_reset_peaks.
  int64_t max_bytes;   ///< Reserved at most since the watch was made.
  int64_t allocated_bytes;
  int64_t drift_bytes;       ///< Allocated less reserved.
  int64_t peak_drift_bytes;  ///< At most, as seen after each change since mb_watch_reset_peaks.
  int64_t peak_drift_reserved_bytes;  ///< Reserved then.
} mb_watch_figures;
#define MB_WATCH_FIGURES_INIT \
  { sizeof(mb_watch_figures), 0, 0, 0, 0, 0, 0, 0 }

mb_status mb_watch_report(const mb_watch* watch, mb_watch_figures* out, mb_error** error);
/// The same for people, with the consumer and the pool of the largest drift; to be ended by
/// mb_string_drop.
mb_status mb_watch_describe(const mb_watch* watch, char** out, mb_error** error);
/// Whose change of which pool's reservations the largest drift was seen after; texts to be ended by
/// mb_string_drop, empty before the first change.
mb_status mb_watch_peak_drift(const mb_watch* watch, char** consumer, char** pool,
                              mb_error** error);
/// The peaks begin again at what is reserved now.
mb_status mb_watch_reset_peaks(mb_watch* watch, mb_error** error);
void mb_watch_drop(mb_watch* watch);

/// A child over one reservation in its parent that keeps up to `retained_bytes` once it has them.
mb_status mb_pool_nested(mb_pool* parent, const char* name, int64_t retained_bytes, mb_pool** out,
                         mb_error** error);
/// The next four: MB_UNSUPPORTED if `nested` was not made by mb_pool_nested.
/// Sets the floor under what is given back to the parent. Takes nothing by itself.
mb_status mb_pool_retain(mb_pool* nested, int64_t bytes, mb_error** error);
/// Up to `bytes` that the child holds unused, without asking the parent; maybe 0.
mb_status mb_pool_borrow(mb_pool* nested, int64_t bytes, mb_loan** out, mb_error** error);
/// Ends the retaining: gives all unused bytes back to the parent, and the others when free.
mb_status mb_pool_release_unused(mb_pool* nested, mb_error** error);

/// How many bytes were lent.
int64_t mb_loan_bytes(const mb_loan* loan);
/// Gives the bytes back to the nested pool.
void mb_loan_drop(mb_loan* loan);

/// One call to a pool that the program makes itself. Lives during the call.
typedef struct mb_pool_change {
  size_t struct_size;  ///< As the library knows it; may be larger than the caller's.
  uint64_t consumer_id;
  const char* consumer_name;
  int64_t size_bytes;  ///< Of the reservation, before growing and after shrinking.
  int64_t bytes;       ///< To grow or shrink by; more than 0.
} mb_pool_change;

/// A consumer of such a pool. Lives during the call.
typedef struct mb_pool_consumer {
  size_t struct_size;  ///< As the library knows it; may be larger than the caller's.
  uint64_t id;
  const char* name;
  int32_t can_spill;  ///< 1 or 0.
  int32_t spill_priority;
} mb_pool_consumer;

/// A pool that the program makes itself. The functions are called concurrently; those that ask or
/// give bytes are called before a reservation grows and after it shrinks.
typedef struct mb_pool_functions {
  size_t struct_size;
  const char* name;  ///< Copied. Required, as are the functions.
  void* context;
  mb_context_drop context_drop;  ///< Called when the pool ends. May be NULL.
  /// MB_OK, or the refusal.
  mb_status (*try_grow)(void* context, const mb_pool_change* change);
  /// Cannot be refused.
  void (*grow)(void* context, const mb_pool_change* change);
  void (*shrink)(void* context, const mb_pool_change* change);
  int64_t (*reserved)(void* context);
  int64_t limit_bytes;  ///< -1: infinite. For people.
  /// The rest may be NULL. Grows by `change->bytes`, or by as much as can be had but at least
  /// `min`; may wait until the timeout. MB_OK and how much it was, or the refusal. NULL: try_grow
  /// with all, then with the least.
  mb_status (*acquire)(void* context, const mb_pool_change* change, int64_t min_bytes,
                       int64_t timeout_ms, int64_t* granted);
  /// A consumer's first reservation is about to be made; its last one is gone.
  void (*register_consumer)(void* context, const mb_pool_consumer* consumer);
  void (*unregister_consumer)(void* context, uint64_t consumer_id);
  /// What the consumer can have at most; -1: infinite. NULL: limit_bytes.
  int64_t (*limit_for)(void* context, uint64_t consumer_id);
} mb_pool_functions;
#define MB_POOL_FUNCTIONS_INIT                                                                 \
  {                                                                                            \
    sizeof(mb_pool_functions), NULL, NULL, NULL, NULL, NULL, NULL, NULL, -1, NULL, NULL, NULL, \
        NULL                                                                                   \
  }

/// Makes a pool of these functions. If it fails, the context is not dropped. MB_INVALID: something
/// required is NULL.
mb_status mb_pool_derived(const mb_pool_functions* functions, mb_pool** out, mb_error** error);

typedef enum mb_limit_kind {
  MB_LIMIT_INFINITE = 0,
  MB_LIMIT_FINITE = 1,
  MB_LIMIT_UNKNOWN = 2,
  MB_LIMIT_MAX = 0x7fffffff
} mb_limit_kind;

/// What a pool can ever hold: sets both outputs; the bytes are 0 unless finite.
mb_status mb_pool_limit(const mb_pool* pool, mb_limit_kind* kind, int64_t* bytes, mb_error** error);
/// Bytes reserved by all its consumers.
int64_t mb_pool_reserved(const mb_pool* pool);

/// Texts for people, to be ended by mb_string_drop: the name; "greedy(used: 50.0 B, pool_size:
/// 100.0 B)"; a line for each of the k largest consumers.
mb_status mb_pool_name(const mb_pool* pool, char** out, mb_error** error);
mb_status mb_pool_describe(const mb_pool* pool, char** out, mb_error** error);
mb_status mb_pool_report_top(const mb_pool* pool, size_t k, char** out, mb_error** error);

/// The figures of a pool at one moment.
typedef struct mb_pool_metrics mb_pool_metrics;

typedef struct mb_pool_totals {
  size_t struct_size;
  int64_t reserved_bytes;
  int64_t overdraft_bytes;  ///< The part of reserved beyond the pool's size now.
  int64_t overdrawn_total;  ///< Counter: ever taken beyond the size by growing without asking.
  uint64_t refusals;        ///< Counter.
  uint64_t spills;          ///< Counter: spill call-backs run.
  int64_t spilled_bytes;    ///< Counter: bytes they gave back.
  int64_t consumer_count;   ///< Registered now.
} mb_pool_totals;
#define MB_POOL_TOTALS_INIT \
  { sizeof(mb_pool_totals), 0, 0, 0, 0, 0, 0, 0 }

typedef struct mb_consumer_metrics {
  size_t struct_size;
  uint64_t id;
  const char* name;  ///< Lives as long as the mb_pool_metrics.
  int64_t reserved_bytes;
  int64_t peak_bytes;  ///< As of mb_consumer_peak().
  int32_t can_spill;
  int32_t reserved;
} mb_consumer_metrics;
#define MB_CONSUMER_METRICS_INIT \
  { sizeof(mb_consumer_metrics), 0, NULL, 0, 0, 0, 0 }

/// The figures of this moment, to be dropped by the caller.
mb_status mb_pool_get_metrics(const mb_pool* pool, mb_pool_metrics** out, mb_error** error);
mb_status mb_pool_metrics_totals(const mb_pool_metrics* metrics, mb_pool_totals* out,
                                 mb_error** error);
/// The largest first, from 0. MB_NOT_FOUND beyond the last.
mb_status mb_pool_metrics_consumer(const mb_pool_metrics* metrics, int64_t index,
                                   mb_consumer_metrics* out, mb_error** error);
void mb_pool_metrics_drop(mb_pool_metrics* metrics);

/// Who holds bytes of a pool at one moment: what leaked, if all should have been given back.
typedef struct mb_pool_holders mb_pool_holders;

typedef struct mb_pool_holder {
  size_t struct_size;
  const char* consumer;  ///< Texts live as long as the mb_pool_holders.
  uint64_t consumer_id;  ///< 0: nobody that is registered; `consumer` is a pool then.
  int64_t held_bytes;
  /// Through which pools of the pool's, the outermost first: "join/probe" of a consumer of a nested
  /// pool in a nested pool, "task 7" of a task's. "": registered with the pool itself.
  const char* within;
  int32_t can_spill;  ///< 1 or 0.
  int32_t reserved;
} mb_pool_holder;
#define MB_POOL_HOLDER_INIT \
  { sizeof(mb_pool_holder), NULL, 0, 0, NULL, 0, 0 }

/// Down to the consumers inside nested pools, where what a nested pool keeps or lends is by its own
/// name; those with nothing are left out. To be dropped by the caller.
mb_status mb_pool_get_holders(const mb_pool* pool, mb_pool_holders** out, mb_error** error);
int64_t mb_pool_holders_count(const mb_pool_holders* holders);
/// The largest first, from 0. MB_NOT_FOUND beyond the last.
mb_status mb_pool_holders_one(const mb_pool_holders* holders, int64_t index, mb_pool_holder* out,
                              mb_error** error);
void mb_pool_holders_drop(mb_pool_holders* holders);

void mb_pool_drop(mb_pool* pool);

#ifdef __cplusplus
}
#endif
