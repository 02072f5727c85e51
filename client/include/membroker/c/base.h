#pragma once

/// \file
/// Part of membroker.h: statuses and errors.

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// As a timeout: wait without end.
#define MB_FOREVER ((int64_t)-1)

/// Numbers are stable. Each but MB_OK and MB_INTERNAL is one more than the ErrorCode of the same
/// name in membroker/error.h.
typedef enum mb_status {
  MB_OK = 0,
  MB_INVALID = 1,              ///< An argument is malformed or out of range.
  MB_NOT_FOUND = 2,            ///< The thing named does not exist (tenant, resource, file).
  MB_PERMISSION_DENIED = 3,    ///< The caller may not do this.
  MB_RESOURCES_EXHAUSTED = 4,  ///< The bytes are not to be had now; see mb_error_denial.
  MB_TIMEOUT = 5,              ///< The deadline passed.
  MB_CANCELLED = 6,            ///< The caller withdrew the request.
  MB_UNAVAILABLE = 7,          ///< The daemon cannot be reached, or is going away.
  MB_GROW_IN_SPILL = 8,        ///< Growth was asked for from inside a spill call-back.
  MB_FORKED = 9,               ///< The process is a fork of the one that opened the client.
  MB_CLOSED = 10,              ///< The client, channel or file was closed.
  MB_IO = 11,                  ///< A system call on a file or socket failed.
  MB_DISK_FULL = 12,           ///< The spill disk or its quota is full.
  MB_CORRUPT = 13,             ///< Data read back is not what was written.
  MB_OUT_OF_MEMORY = 14,       ///< The process has no memory although the accounting has.
  MB_UNSUPPORTED = 15,         ///< Not available on this machine or in this build.
  MB_INTERNAL = 1000,          ///< The library met what it did not expect; worth a report.
  MB_STATUS_MAX = 0x7fffffff   ///< No status: keeps the type's size.
} mb_status;

/// What went wrong. Immutable; readable from any thread.
typedef struct mb_error mb_error;

/// What the daemon or the pool advises after a refusal.
typedef enum mb_denial_hint {
  MB_HINT_NONE = 0,
  MB_HINT_SPILL = 1,     ///< Spill some of your own and ask again.
  MB_HINT_ROLLBACK = 2,  ///< Give up work, e.g. restart with less.
  MB_HINT_SMALLER = 3,   ///< Ask for less.
  MB_HINT_WAIT = 4,      ///< Ask again after retry_after_ms.
  MB_HINT_MAX = 0x7fffffff
} mb_denial_hint;

/// The fields of a refusal (MB_RESOURCES_EXHAUSTED). Texts live as long as the error.
typedef struct mb_denial {
  size_t struct_size;
  int64_t requested_bytes;
  int64_t available_bytes;   ///< What could have been had at that moment.
  int64_t self_spill_bytes;  ///< What the asker should spill itself, if the hint says so.
  int64_t attainable_bytes;  ///< The largest request that can ever be met; 0 if unknown.
  int64_t retry_after_ms;    ///< 0: do not retry unchanged.
  mb_denial_hint hint;
  int32_t holder_count;  ///< Who holds the memory: mb_error_holder.
  const char* reason;    ///< The daemon's or pool's reason, e.g. "self_spill".
  const char* pool;      ///< The pool that refused.
} mb_denial;
#define MB_DENIAL_INIT \
  { sizeof(mb_denial), 0, 0, 0, 0, 0, MB_HINT_NONE, 0, NULL, NULL }

/// One consumer or lease holder named by a refusal. The name lives as long as the error.
typedef struct mb_holder {
  size_t struct_size;
  const char* name;
  int64_t held_bytes;
  int32_t can_spill;  ///< 1 or 0.
  int32_t reserved;
} mb_holder;
#define MB_HOLDER_INIT \
  { sizeof(mb_holder), NULL, 0, 0, 0 }

/// "0.1.0". Static storage.
const char* mb_version(void);

/// A stable lower-case name, e.g. "resources_exhausted"; "unknown" for a number that is none.
/// Static storage.
const char* mb_status_name(mb_status status);

/// The status that came with the error; MB_OK for NULL.
mb_status mb_error_status(const mb_error* error);
/// One sentence for people: what was asked, what was wrong, where, what to do. Lives as long as the
/// error.
const char* mb_error_message(const mb_error* error);
/// Fills in the fields of a refusal. MB_NOT_FOUND if the error is no refusal.
mb_status mb_error_denial(const mb_error* denied, mb_denial* out, mb_error** error);
/// Fills in one of the refusal's holders, the largest first. MB_NOT_FOUND if index is none of 0 to
/// holder_count - 1.
mb_status mb_error_holder(const mb_error* denied, int32_t index, mb_holder* out, mb_error** error);
void mb_error_drop(mb_error* error);

/// Ends a text that a function gave to the caller.
void mb_string_drop(char* text);

#ifdef __cplusplus
}
#endif
