#pragma once

/// \file
/// Part of membroker.h: a process's session with membrokerd, or a fixed capacity of its own.
///
/// Nothing is connected until the first bytes are asked for, so a process may open a client and
/// fork its workers afterwards. In a fork()ed child of a process that is connected every call fails
/// with MB_FORKED until it calls exec(), but see child_budget_bytes. The library installs no signal
/// handlers and prints nothing.

#include "membroker/c/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mb_client mb_client;
typedef struct mb_pool mb_pool;
typedef struct mb_allocator mb_allocator;

/// One named budget that a client wants a lease of.
typedef struct mb_resource_options {
  size_t struct_size;  ///< Of an array: the same in each element.
  const char* name;
  /// What the client needs in order to spill at all: lent when the session opens, never revoked. A
  /// client refused for it opens with less, down to 1 MiB. While others hold everything it opens
  /// with none: then its workspace is asked for as any memory is, before any request of its
  /// consumers, and stays reserved. 0: no workspace.
  int64_t floor_bytes;
} mb_resource_options;
#define MB_RESOURCE_OPTIONS_INIT \
  { sizeof(mb_resource_options), "ram", (int64_t)8 << 20 }

/// A pair for people, shown by membrokerctl.
typedef struct mb_label {
  const char* key;
  const char* value;
} mb_label;

typedef enum mb_log_level {
  MB_LOG_DEBUG = 0,
  MB_LOG_INFO = 1,
  MB_LOG_WARN = 2,
  MB_LOG_ERROR = 3,
  MB_LOG_LEVEL_MAX = 0x7fffffff
} mb_log_level;

/// One line of the library's log ("attached session=7 epoch=3"), which lives during the call.
/// Called from a library thread; must not block and must not call the library.
typedef void (*mb_log_function)(void* context, mb_log_level level, const char* line);

/// Called once, when the library is done with a context. May be on a library thread.
typedef void (*mb_context_drop)(void* context);

/// What becomes of growth while the daemon is away: its connection is lost, or it could not be
/// reached so far. What is held stays held in every mode, and shrinking and mb_reservation_grow
/// always work.
typedef enum mb_when_away {
  /// Slack serves; what it cannot serve waits for the daemon, as for any answer.
  MB_WHEN_AWAY_WAIT = 0,
  /// Slack serves; what it cannot serve is refused at once with MB_UNAVAILABLE.
  MB_WHEN_AWAY_KEEP = 1,
  /// All growth is refused at once with MB_UNAVAILABLE.
  MB_WHEN_AWAY_FAIL = 2,
  /// The first resource may grow by itself until it holds standalone_bytes; the daemon hears of it
  /// as overdraft when it is back. The other resources are as with MB_WHEN_AWAY_KEEP.
  MB_WHEN_AWAY_STANDALONE = 3,
  MB_WHEN_AWAY_MAX = 0x7fffffff
} mb_when_away;

typedef struct mb_client_options {
  size_t struct_size;
  const char* tenant;       ///< Path, e.g. "acme/etl". NULL: the variable MEMBROKER_TENANT.
  const char* socket;       ///< NULL: MEMBROKER_SOCKET, else /run/membroker/broker.sock.
  const char* client_name;  ///< For people; at most 128 bytes. NULL: the program's name.
  const mb_label* labels;   ///< At most 16, of at most 128 bytes each.
  size_t label_count;
  const mb_resource_options* resources;  ///< At most 8. NULL: "ram" with a floor of 8 MiB.
  size_t resource_count;
  mb_log_function log;  ///< NULL: the log goes nowhere.
  void* log_context;
  mb_context_drop log_context_drop;  ///< May be NULL. Not called if opening fails.
  int32_t priority;                  ///< Among the tenant's requests; clamped by the daemon.
  mb_when_away when_away;
  int64_t standalone_bytes;  ///< Of MB_WHEN_AWAY_STANDALONE, then at least 1; else 0.
  /// What a forked child may use all the same: in it the first resource's pool, the allocator and
  /// the spill workspace are of a fixed capacity of this size, its own. 0: nothing.
  int64_t child_budget_bytes;
} mb_client_options;
#define MB_CLIENT_OPTIONS_INIT                                                          \
  {                                                                                     \
    sizeof(mb_client_options), NULL, NULL, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, 0, \
        MB_WHEN_AWAY_WAIT, 0, 0                                                         \
  }

typedef enum mb_connection_state {
  MB_CONNECTION_IDLE = 0,        ///< Not used yet: nothing is connected.
  MB_CONNECTION_CONNECTING = 1,  ///< An attempt is under way.
  MB_CONNECTION_ATTACHED = 2,    ///< The session is up.
  MB_CONNECTION_AWAY = 3,        ///< The daemon cannot be reached; attempts go on.
  MB_CONNECTION_REFUSED = 4,     ///< The daemon refused the session: see last_error.
  MB_CONNECTION_CLOSED = 5,      ///< Closed, and the session has ended.
  MB_CONNECTION_FORKED = 6,      ///< This process is a fork of the one that opened the client.
  MB_CONNECTION_EMBEDDED = 7,    ///< A client without a daemon.
  MB_CONNECTION_MAX = 0x7fffffff
} mb_connection_state;

/// A stable lower-case name, e.g. "attached"; "unknown" for a number that is none. Static storage.
const char* mb_connection_state_name(mb_connection_state state);

/// The state of a client at one moment, and of its leases.
typedef struct mb_client_stats mb_client_stats;

/// Counters are since the client was opened. Texts live as long as the mb_client_stats.
typedef struct mb_session_stats {
  size_t struct_size;
  uint64_t session_id;  ///< 0 until attached.
  uint64_t epoch;       ///< Number of the daemon's life.
  uint64_t attach;      ///< How often this session has said Hello.
  uint64_t reconnects;  ///< Counter: sessions resumed after a loss.
  mb_connection_state state;
  int32_t resource_count;
  const char* last_error;  ///< Why the daemon is away or refused; "" while all is well.
} mb_session_stats;
#define MB_SESSION_STATS_INIT \
  { sizeof(mb_session_stats), 0, 0, 0, 0, MB_CONNECTION_IDLE, 0, NULL }

/// One lease. `…_total` and the last six are counters.
typedef struct mb_resource_stats {
  size_t struct_size;
  const char* resource;
  int64_t held_bytes;         ///< granted + overdrawn - returned.
  int64_t reserved_bytes;     ///< Claimed by consumers.
  int64_t slack_bytes;        ///< Leased, not reserved.
  int64_t reclaimable_bytes;  ///< Reserved by consumers that can spill now.
  int64_t allocated_bytes;    ///< Really allocated inside reservations.
  int64_t spilled_bytes;      ///< Counter: written to spill files.
  int64_t floor_bytes;        ///< Never revoked.
  int64_t debt_bytes;         ///< The part of held that the daemon has not covered.
  int64_t peak_held_bytes;
  int64_t peak_reserved_bytes;  ///< An upper bound: with what was given out and not used yet.
  int64_t granted_total;        ///< Bytes ever lent, the floor included.
  int64_t overdrawn_total;      ///< Bytes ever taken beyond the lease by growing without asking.
  int64_t returned_total;       ///< Bytes ever given back.
  uint64_t requests_asked;
  uint64_t requests_granted;
  uint64_t requests_denied;
  uint64_t revocations_asked;
  uint64_t revocations_answered;
  uint64_t revocations_late;
} mb_resource_stats;
#define MB_RESOURCE_STATS_INIT \
  { sizeof(mb_resource_stats), NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/// What is still held when a client is closed.
typedef struct mb_close_report mb_close_report;

typedef struct mb_close_holder {
  size_t struct_size;
  const char* resource;  ///< Texts live as long as the report.
  const char* consumer;
  int64_t held_bytes;
  const char* within;  ///< Through which pools, as in mb_pool_holder.
} mb_close_holder;
#define MB_CLOSE_HOLDER_INIT \
  { sizeof(mb_close_holder), NULL, NULL, 0, NULL }

/// Checks the options and connects nothing. MB_INVALID (which option, and why), MB_FORKED.
mb_status mb_client_open(const mb_client_options* options, mb_client** out, mb_error** error);

/// A client without a daemon: one resource, "ram", of a fixed capacity. MB_INVALID unless
/// 0 < capacity_bytes.
mb_status mb_client_embedded(int64_t capacity_bytes, mb_client** out, mb_error** error);

/// Connects now and waits at most timeout_ms for the session. MB_TIMEOUT (attempts go on),
/// MB_NOT_FOUND, MB_PERMISSION_DENIED, MB_INVALID, MB_RESOURCES_EXHAUSTED (the daemon's refusal),
/// MB_FORKED, MB_CLOSED.
mb_status mb_client_wait_connected(mb_client* client, int64_t timeout_ms, mb_error** error);

/// The pool that accounts for `resource` (NULL: "ram"). MB_NOT_FOUND if the options do not name it.
/// Of a closed or forked client it is a pool whose calls fail.
mb_status mb_client_pool(mb_client* client, const char* resource, mb_pool** out, mb_error** error);

/// Allocates memory charged to the first resource (membroker/c/buffer.h).
mb_status mb_client_allocator(mb_client* client, mb_allocator** out, mb_error** error);

/// The figures of this moment, to be dropped by the caller. Never fails for want of a daemon.
mb_status mb_client_get_stats(mb_client* client, mb_client_stats** out, mb_error** error);
/// Fills in what concerns the session.
mb_status mb_client_stats_session(const mb_client_stats* stats, mb_session_stats* out,
                                  mb_error** error);
/// The lease of the index-th resource of the options, from 0. MB_NOT_FOUND beyond the last.
mb_status mb_client_stats_resource(const mb_client_stats* stats, int32_t index,
                                   mb_resource_stats* out, mb_error** error);
void mb_client_stats_drop(mb_client_stats* stats);

/// Ends what can be ended: from now on nothing grows, idle memory is returned, and the session ends
/// if nothing is held. Waits for the daemon at most 500 ms. A second call reports anew. `out` may
/// be NULL. The handle stays: drop it too. MB_FORKED.
mb_status mb_client_close(mb_client* client, mb_close_report** out, mb_error** error);
/// 1: all was returned and the daemon was told so, or there was no session. 0: something is held
/// and stays charged until it is freed or the process ends, or the daemon could not be reached.
int32_t mb_close_report_ended(const mb_close_report* report);
/// How many consumers still hold bytes.
int32_t mb_close_report_holder_count(const mb_close_report* report);
/// Fills in one of them, from 0, the largest first. MB_NOT_FOUND beyond the last.
mb_status mb_close_report_holder(const mb_close_report* report, int32_t index, mb_close_holder* out,
                                 mb_error** error);
void mb_close_report_drop(mb_close_report* report);

/// Closes without a report. Pools, allocators and reservations may outlive the client: they can be
/// freed but not grown, and the session ends with the last of them.
void mb_client_drop(mb_client* client);

#ifdef __cplusplus
}
#endif
