#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "client/spill/file_queue.h"
#include "client/spill/format.h"
#include "client/spill/read_ahead.h"
#include "client/spill/workspace.h"
#include "membroker/spill.h"

namespace membroker::spill {

/// The reading end of a channel. Not thread-safe.
class BatchReader {
 public:
  BatchReader(std::shared_ptr<Workspace> workspace, std::shared_ptr<FileQueue> queue,
              std::shared_ptr<BufferAllocator> allocator, Bytes read_ahead);

  /// As SpillReader's.
  Result<std::optional<Batch>> next();
  Result<SpillTryNext> try_next();
  Result<std::optional<Bytes>> next_into(std::span<std::uint8_t> out);
  void release_read_ahead() noexcept { input_.release(); }

 private:
  using Parts = std::vector<std::span<std::uint8_t>>;

  Result<SpillReady> begin_batch(bool wait);
  Result<Batch> read_batch();
  Status read_heads();
  Status read_file_header();
  Status read_payload(const Parts& parts);
  Status read_bytes(std::span<std::uint8_t> out, class RunningHash* hash);
  Status read_padding(class RunningHash* hash);
  Status read_compressed(const Parts& parts, class RunningHash* hash);
  Status read_trailer(Bytes payload_start, std::uint64_t hash);
  Error final_error(Error error);
  Error corrupt(Bytes offset, const std::string& what) const;

  const std::shared_ptr<Workspace> workspace_;
  const std::shared_ptr<FileQueue> queue_;
  const std::shared_ptr<BufferAllocator> allocator_;

  ReadAhead input_;
  std::optional<Error> final_;  // the answer from now on
  FileHeader file_header_;
  std::uint64_t batches_seen_ = 0;
  // The batch begun: its heads are read, its payload is not.
  std::optional<BatchHeader> begun_;
  std::vector<std::uint64_t> sizes_;
};

}  // namespace membroker::spill
