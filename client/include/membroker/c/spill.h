#pragma once

/// \file
/// Part of membroker.h: batches of bytes through files, first in, first out. See
/// membroker/spill.h for how to use channels well. Files have no name: they are gone with the
/// process.

#include "membroker/c/buffer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mb_spill_directories mb_spill_directories;
typedef struct mb_spill_quota mb_spill_quota;
typedef struct mb_spill_workspace mb_spill_workspace;
typedef struct mb_spill_writer mb_spill_writer;
typedef struct mb_spill_reader mb_spill_reader;
typedef struct mb_batch mb_batch;

/// Takes directories that exist and are writable, or makes the last part of the path (mode 0700).
/// MB_INVALID (none), MB_PERMISSION_DENIED, MB_NOT_FOUND, MB_IO: naming the path.
mb_status mb_spill_directories_open(const char* const* paths, size_t count,
                                    mb_spill_directories** out, mb_error** error);
/// Absolute, in the order given; NULL beyond the last. Lives as long as the handle.
const char* mb_spill_directories_path(const mb_spill_directories* directories, int32_t index);
void mb_spill_directories_drop(mb_spill_directories* directories);

/// An upper limit of bytes in spill files, shared by the channels that are given it.
mb_status mb_spill_quota_new(int64_t limit_bytes, mb_spill_quota** out, mb_error** error);
/// The limit, and the bytes charged now.
int64_t mb_spill_quota_limit(const mb_spill_quota* quota);
int64_t mb_spill_quota_used(const mb_spill_quota* quota);
/// A limit below use takes nothing away: writes fail until use has fallen.
mb_status mb_spill_quota_set_limit(mb_spill_quota* quota, int64_t limit_bytes, mb_error** error);
void mb_spill_quota_drop(mb_spill_quota* quota);

typedef struct mb_spill_workspace_options {
  size_t struct_size;
  int64_t bytes;            ///< At least 1 MiB.
  mb_allocator* allocator;  ///< Pays for it. NULL: the system's, charged to nobody.
  int32_t io_uring;         ///< 0: never use it. 1: where the kernel has it.
  int32_t reserved;
} mb_spill_workspace_options;
#define MB_SPILL_WORKSPACE_OPTIONS_INIT \
  { sizeof(mb_spill_workspace_options), (int64_t)8 << 20, NULL, 1, 0 }

/// The memory and the thread through which spill files are written and read: one for many channels.
/// `options` may be NULL. MB_INVALID, and of the allocator.
mb_status mb_spill_workspace_new(const mb_spill_workspace_options* options,
                                 mb_spill_workspace** out, mb_error** error);
/// The client's own workspace, paid for by its first resource. Made at the first call: take it
/// before there is something to spill, and not in a spill call-back. Waits for the session and for
/// the bytes. MB_TIMEOUT (what is missing; it still comes, ask again), MB_INVALID (opened with
/// floor 0), MB_GROW_IN_SPILL, MB_CLOSED, MB_FORKED, and of mb_client_wait_connected.
mb_status mb_client_spill_workspace(mb_client* client, int64_t timeout_ms, mb_spill_workspace** out,
                                    mb_error** error);
/// Its memory, and 1 or 0: whether the kernel lets it use io_uring.
int64_t mb_spill_workspace_bytes(const mb_spill_workspace* workspace);
int32_t mb_spill_workspace_uses_io_uring(const mb_spill_workspace* workspace);
void mb_spill_workspace_drop(mb_spill_workspace* workspace);

typedef enum mb_compression {
  MB_COMPRESSION_NONE = 0,
  MB_COMPRESSION_LZ4 = 1,
  MB_COMPRESSION_ZSTD = 2,
  MB_COMPRESSION_MAX = 0x7fffffff
} mb_compression;

typedef struct mb_spill_options {
  size_t struct_size;
  mb_spill_directories* directories;  ///< Required. Handles stay the caller's.
  mb_spill_quota* quota;              ///< NULL: no limit but the disk's.
  mb_spill_workspace* workspace;      ///< NULL: one of the channel's own, charged to nobody.
  mb_allocator* allocator;            ///< Of read-ahead and batches. NULL: charged to nobody.
  int64_t max_file_bytes;             ///< A new file is begun after the push that passes this.
  int64_t read_ahead_bytes;           ///< At least 64 KiB.
  mb_compression compression;
  int32_t checksum;   ///< 1: each batch is checked when read. 0: not.
  int32_t direct_io;  ///< 1: past the page cache where the file system can. 0: through it.
  int32_t reserved;
} mb_spill_options;
#define MB_SPILL_OPTIONS_INIT                                                               \
  {                                                                                         \
    sizeof(mb_spill_options), NULL, NULL, NULL, NULL, (int64_t)128 << 20, (int64_t)4 << 20, \
        MB_COMPRESSION_NONE, 1, 1, 0                                                        \
  }

/// Makes a channel, with no file before the first push. MB_INVALID (which option, and why).
mb_status mb_spill_channel(const mb_spill_options* options, mb_spill_writer** writer,
                           mb_spill_reader** reader, mb_error** error);

/// Counters of one channel.
typedef struct mb_spill_stats {
  size_t struct_size;
  int64_t batches_written;
  int64_t batches_read;
  int64_t bytes_pushed;   ///< Before compression.
  int64_t bytes_written;  ///< Of the files, padding and headers included.
  int64_t bytes_read;     ///< After decompression.
  int64_t files_created;
  int64_t files_open;      ///< Now.
  int64_t file_bytes_now;  ///< Written and not given back yet.
  int32_t direct_io;       ///< 1: the last file created is written past the page cache.
  int32_t reserved;
} mb_spill_stats;
#define MB_SPILL_STATS_INIT \
  { sizeof(mb_spill_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/// Bytes of the caller's, for the time of a call.
typedef struct mb_bytes {
  const void* data;
  int64_t size;
} mb_bytes;

/// Appends one batch: all of it or nothing. The bytes are copied before this returns; waits for the
/// disk when it is slower. No parts: nothing is pushed. Safe inside a spill call-back. MB_INVALID
/// (more than 16384 parts), MB_CLOSED (the reader is gone, or this writer has finished), MB_FORKED;
/// MB_DISK_FULL, MB_PERMISSION_DENIED, MB_IO: the channel is poisoned then: the reader gets what
/// was pushed before and this error, and later pushes fail with it.
mb_status mb_spill_writer_push(mb_spill_writer* writer, const mb_bytes* parts, size_t count,
                               mb_error** error);
/// The same with buffers.
mb_status mb_spill_writer_push_batch(mb_spill_writer* writer, const mb_buffer* const* buffers,
                                     size_t count, mb_error** error);
/// Another producer: the stream ends when the last one has finished or was dropped.
mb_status mb_spill_writer_new_sink(const mb_spill_writer* writer, mb_spill_writer** out,
                                   mb_error** error);
/// Ends this producer; not thread-safe. The last one's waits until everything is written and gives
/// the error of any write that failed. Allowed twice.
mb_status mb_spill_writer_finish(mb_spill_writer* writer, mb_error** error);
/// Fills in the channel's counters.
mb_status mb_spill_writer_get_stats(const mb_spill_writer* writer, mb_spill_stats* out,
                                    mb_error** error);
/// Finishes without waiting.
void mb_spill_writer_drop(mb_spill_writer* writer);

typedef enum mb_spill_ready {
  MB_SPILL_BATCH = 0,    ///< There is a batch.
  MB_SPILL_PENDING = 1,  ///< None yet; a writer may push more.
  MB_SPILL_END = 2,      ///< The stream has ended.
  MB_SPILL_READY_MAX = 0x7fffffff
} mb_spill_ready;

/// ---- readers are not thread-safe ----

/// The next batch, to be dropped by the caller; waits for a writer while there is none. At the end
/// *out is NULL. The allocator's refusal and MB_OUT_OF_MEMORY (free memory and call again);
/// MB_CORRUPT, MB_IO, or what poisoned the channel: final; MB_FORKED.
mb_status mb_spill_reader_next(mb_spill_reader* reader, mb_batch** out, mb_error** error);
/// The same without waiting for writers. *out is NULL unless *ready is MB_SPILL_BATCH.
mb_status mb_spill_reader_try_next(mb_spill_reader* reader, mb_spill_ready* ready, mb_batch** out,
                                   mb_error** error);
/// As next, but reads the parts one after the other into memory of the caller's and gives their
/// size; -1 at the end. MB_INVALID if the room is too small: the message says how much it takes,
/// and the batch can be read again.
mb_status mb_spill_reader_next_into(mb_spill_reader* reader, void* room, int64_t room_bytes,
                                    int64_t* size, mb_error** error);
/// Gives the read-ahead memory back; the next read takes it again.
mb_status mb_spill_reader_release_read_ahead(mb_spill_reader* reader, mb_error** error);
mb_status mb_spill_reader_get_stats(const mb_spill_reader* reader, mb_spill_stats* out,
                                    mb_error** error);
/// Frees the files; writers get an error at their next push.
void mb_spill_reader_drop(mb_spill_reader* reader);

/// The parts of one push, in their order.
int64_t mb_batch_count(const mb_batch* batch);
/// Sum of the parts' sizes.
int64_t mb_batch_size(const mb_batch* batch);
/// A handle of its own to one part, from 0. MB_NOT_FOUND beyond the last.
mb_status mb_batch_buffer(const mb_batch* batch, int64_t index, mb_buffer** out, mb_error** error);
void mb_batch_drop(mb_batch* batch);

#ifdef __cplusplus
}
#endif
