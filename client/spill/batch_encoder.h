#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "client/spill/file_queue.h"
#include "client/spill/format.h"
#include "client/spill/spill_file.h"
#include "client/spill/workspace.h"
#include "membroker/spill.h"

/// \file
/// One batch into a file, through blocks of the workspace.

namespace membroker::spill {

/// Where and how a batch is written. All must outlive the call.
struct EncodeTarget {
  const std::shared_ptr<Workspace>& workspace;
  const std::shared_ptr<FileQueue>& queue;
  const std::shared_ptr<SpillFile>& file;
  SpillCompression compression;
  SpillChecksum checksum;
};

/// The most a batch may take of a file, its padding included; nothing if that is no number.
std::optional<Bytes> encoded_bytes_max(std::span<const Buffer> buffers,
                                       SpillCompression compression);

/// Writes the batch at the file's append_end (a file header before it at 0) and moves append_end.
/// Waits for blocks; when it returns all writes are submitted, not done. Returns the bytes taken.
Bytes encode_batch(const EncodeTarget& target, std::uint64_t batch_number,
                   std::span<const Buffer> buffers);

}  // namespace membroker::spill
