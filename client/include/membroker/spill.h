#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "membroker/allocator.h"
#include "membroker/buffer.h"
#include "membroker/error.h"

/// \file
/// Batches of buffers through files, first in, first out: what a consumer does with its data when
/// it is asked for memory.
///
///     auto directories = membroker::SpillDirectories::open({"/var/tmp/etl"});
///     auto channel = membroker::spill_channel({.directories = *directories});
///     channel->writer.push_batch(buffers);          // copied: the buffers may be freed now
///     channel->writer.finish();                     // on disk, or an error
///     while (auto batch = channel->reader.next()) { // Result<optional<Batch>>
///       if (!*batch) break;                         // the end
///       consume(**batch);
///     }
///
/// Writing needs no memory but the workspace, which is paid for when it is made: so a consumer can
/// always spill, also inside a spill call-back. Many channels share one workspace: make one per
/// client and give it to each. Reading needs memory from the allocator of the options: `read_ahead`
/// bytes per open reader from the first `next` on, and the batches themselves.
///
/// A merge of many runs takes one channel per run: each finished run is one file (as long as it is
/// smaller than max_file_size), one descriptor, and costs no memory until it is read; a run with
/// read_ahead 128 KiB costs that plus its current batch. next_into() reads into memory the caller
/// has already.
///
/// Files have no name (O_TMPFILE, or created and unlinked at once): they are gone with the process.
/// Format: client/spill/README.md.

namespace membroker {

namespace spill {
class Directories;
class Quota;
class Workspace;
}  // namespace spill

inline constexpr std::int64_t kSpillWorkspaceBytes = std::int64_t{8} << 20;
inline constexpr std::int64_t kSpillWorkspaceBytesMin = std::int64_t{1} << 20;
inline constexpr std::int64_t kSpillReadAheadBytesMin = std::int64_t{64} << 10;
inline constexpr int kSpillBuffersPerBatchMax = 16384;

enum class SpillCompression { kNone, kLz4, kZstd };
enum class SpillChecksum { kNone, kXxh3 };
/// kAuto: direct where the file system takes it, else through the page cache. kOff: page cache.
enum class SpillDirectIo { kAuto, kOff };

/// Where spill files may be. Thread-safe, shared by channels.
class SpillDirectories {
 public:
  /// Takes directories that exist and are writable, or makes the last part of the path (mode 0700).
  /// Errors: kInvalid (empty list), kPermissionDenied, kNotFound, kIo: naming the path.
  static Result<std::shared_ptr<SpillDirectories>> open(std::vector<std::string> paths);

  virtual ~SpillDirectories() = default;
  /// Absolute, in the order given.
  virtual const std::vector<std::string>& paths() const noexcept = 0;

 private:
  friend class spill::Directories;
  SpillDirectories() = default;
};

/// An upper limit of bytes in spill files, shared by the channels that are given it. Charged before
/// bytes are written, credited when a file is gone. Thread-safe.
class SpillQuota {
 public:
  static std::shared_ptr<SpillQuota> create(std::int64_t limit_bytes);

  virtual ~SpillQuota() = default;
  virtual std::int64_t limit() const noexcept = 0;
  virtual std::int64_t used() const noexcept = 0;
  /// A limit below use takes nothing away: writes fail until use has fallen.
  virtual void set_limit(std::int64_t limit_bytes) noexcept = 0;

 private:
  friend class spill::Quota;
  SpillQuota() = default;
};

struct SpillWorkspaceOptions {
  /// At least kSpillWorkspaceBytesMin.
  std::int64_t bytes = kSpillWorkspaceBytes;
  /// Pays for the workspace while it exists, e.g. make_allocator(reservation in the lease's floor).
  /// Null: system_allocator(), charged to nobody.
  std::shared_ptr<BufferAllocator> allocator = {};
  /// False: never use io_uring. Where the kernel refuses it pread and pwrite are used anyway.
  bool io_uring = true;
};

/// The memory and the thread through which spill files are written and read. Thread-safe.
class SpillWorkspace {
 public:
  /// Errors: kInvalid (too small), and of the allocator.
  static Result<std::shared_ptr<SpillWorkspace>> create(SpillWorkspaceOptions options = {});

  virtual ~SpillWorkspace() = default;
  virtual std::int64_t bytes() const noexcept = 0;
  virtual bool uses_io_uring() const noexcept = 0;

 private:
  friend class spill::Workspace;
  SpillWorkspace() = default;
};

struct SpillOptions {
  /// Must be set.
  std::shared_ptr<SpillDirectories> directories = {};
  /// A new file is begun at the push after the one that took the file past this. At least 1.
  std::int64_t max_file_size = std::int64_t{128} << 20;
  SpillCompression compression = SpillCompression::kNone;
  SpillChecksum checksum = SpillChecksum::kXxh3;
  /// Null: no limit but the disk's.
  std::shared_ptr<SpillQuota> quota = {};
  SpillDirectIo direct_io = SpillDirectIo::kAuto;
  /// What an open reader keeps on order from the disk; at least kSpillReadAheadBytesMin.
  std::int64_t read_ahead = std::int64_t{4} << 20;
  /// Null: a workspace of the channel's own, of the default size, charged to nobody.
  std::shared_ptr<SpillWorkspace> workspace = {};
  /// Where read-ahead and the batches read come from. Null: system_allocator(), charged to nobody.
  std::shared_ptr<BufferAllocator> allocator = {};
};

/// Counters of one channel.
struct SpillStats {
  std::int64_t batches_written = 0;
  std::int64_t batches_read = 0;
  std::int64_t bytes_pushed = 0;   ///< Of the buffers, before compression.
  std::int64_t bytes_written = 0;  ///< Of the files, padding and headers included.
  std::int64_t bytes_read = 0;     ///< Of the buffers, after decompression.
  std::int64_t files_created = 0;
  std::int64_t files_open = 0;      ///< Now.
  std::int64_t file_bytes_now = 0;  ///< Written and not given back yet.
  bool direct_io = false;           ///< The last file created is written past the page cache.
};

/// The buffers of one push, in their order, each with its own memory from the options' allocator.
struct Batch {
  std::vector<Buffer> buffers;

  std::int64_t size() const noexcept {
    std::int64_t sum = 0;
    for (const Buffer& buffer : buffers) sum += buffer.size();
    return sum;
  }
};

namespace detail {
class SpillChannel;
struct SpillWriterToken;
struct SpillReaderToken;
}  // namespace detail

/// A producer's end. Copyable; copies are further producers, and the stream ends when the last one
/// is finished or destroyed. push_batch is thread-safe, also on one object; the rest is not.
class SpillWriter {
 public:
  SpillWriter() = default;
  /// Another producer.
  SpillWriter new_sink() const { return *this; }

  /// Appends one batch: all of it or nothing. The bytes are copied before this returns, so memory
  /// can be freed at once; waits for the disk when it is slower. No buffers: nothing is pushed.
  /// Batches of one producer come out in the order pushed; with several, in one order that agrees
  /// with each producer's. A batch takes at least 4 KiB of file: push 64 KiB and more at a time.
  /// Errors: kInvalid (too many buffers; the channel is as before), kClosed (the reader is gone, or
  /// this writer is finished), kForked, kDiskFull (disk or quota: which directory, how much),
  /// kPermissionDenied, kIo. After one of the last three the channel is poisoned: the reader gets
  /// what was pushed before and then this error, and every later push fails with it.
  Status push_batch(std::span<const Buffer> buffers);
  Status push_batch(const Batch& batch) { return push_batch(batch.buffers); }

  /// Ends this producer. The last one's waits until everything is written and gives the error of
  /// any write that failed. Finishing twice is allowed. A destructor ends too, but does not wait.
  Status finish();

  SpillStats stats() const;

 private:
  friend class detail::SpillChannel;
  std::shared_ptr<detail::SpillWriterToken> token_;  // shared by the copies: the last one ends
};

enum class SpillReady { kBatch, kPending, kEnd };

/// The answer of try_next.
struct SpillTryNext {
  SpillReady ready = SpillReady::kPending;
  Batch batch;  // set if ready is kBatch
};

/// The consumer's end: one per channel. Move-only; not thread-safe. When it is destroyed, writers
/// get an error at their next push and the files are freed.
class SpillReader {
 public:
  SpillReader() = default;
  SpillReader(SpillReader&&) noexcept = default;
  SpillReader& operator=(SpillReader&&) noexcept = default;

  /// The next batch, or nothing at the end. Waits for a writer while there is none.
  /// Errors: the allocator's refusal and kOutOfMemory (nothing is lost: free memory, call again);
  /// kCorrupt (file, offset and what is wrong), kIo, or what poisoned the channel: final, the same
  /// at each later call; kForked.
  Result<std::optional<Batch>> next();

  /// As next, but does not wait for writers (for the disk it may).
  Result<SpillTryNext> try_next();

  /// As next, but reads the buffers one after the other into `out` and returns how many bytes they
  /// are. Needs no memory but the read-ahead. Errors as of next, and kInvalid if `out` is too small
  /// (the message says how much it takes; the batch stays and can be read again).
  Result<std::optional<std::int64_t>> next_into(std::span<std::uint8_t> out);

  /// Gives the read-ahead memory back; the next read takes it again. Nothing is lost.
  void release_read_ahead();

  SpillStats stats() const;

 private:
  friend class detail::SpillChannel;
  std::shared_ptr<detail::SpillReaderToken> token_;  // unshared; its end tells the writers
};

struct SpillChannelEnds {
  SpillWriter writer;
  SpillReader reader;
};

/// Makes a channel. No file is created before the first push.
/// Errors: kInvalid (which option, and why); of the workspace, if one must be made.
Result<SpillChannelEnds> spill_channel(SpillOptions options);

}  // namespace membroker
