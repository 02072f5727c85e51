#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "client/spill/batch_encoder.h"
#include "client/spill/directories.h"
#include "client/spill/file_queue.h"
#include "client/spill/quota.h"
#include "client/spill/workspace.h"

namespace membroker::spill {

struct AppenderOptions {
  std::shared_ptr<Directories> directories;
  std::shared_ptr<Quota> quota;  // may be null
  std::shared_ptr<Workspace> workspace;
  std::shared_ptr<BufferAllocator> reader_allocator;  // counts what is written, if no other does
  Bytes max_file_size = 0;
  SpillCompression compression = SpillCompression::kNone;
  SpillChecksum checksum = SpillChecksum::kXxh3;
  SpillDirectIo direct_io = SpillDirectIo::kAuto;
};

/// The writing end: one push at a time, into the youngest file. Thread-safe. Its mutex is held
/// while a batch is copied, also over a wait for the disk, and before the queue's.
class Appender {
 public:
  Appender(AppenderOptions options, std::shared_ptr<FileQueue> queue)
      : options_(std::move(options)), queue_(std::move(queue)) {}

  /// As SpillWriter::push_batch.
  Status push(std::span<const Buffer> buffers);

 private:
  Result<std::shared_ptr<SpillFile>> file_with_room(Bytes needed);
  Status extend(SpillFile& file, Bytes end, bool& full);
  Result<std::shared_ptr<SpillFile>> new_file(Bytes needed);

  const AppenderOptions options_;
  const std::shared_ptr<FileQueue> queue_;

  std::mutex mutex_;
  std::weak_ptr<SpillFile> youngest_;  // the queue's: gone with the reader
  std::uint64_t files_made_ = 0;
  std::uint64_t batches_made_ = 0;
};

}  // namespace membroker::spill
