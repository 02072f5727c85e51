#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "client/spill/file_queue.h"
#include "client/spill/workspace.h"
#include "membroker/spill.h"

namespace membroker::spill {

/// A file as a stream of bytes, with reads on order ahead of the reader. Not thread-safe.
class ReadAhead {
 public:
  ReadAhead(std::shared_ptr<Workspace> workspace, std::shared_ptr<FileQueue> queue,
            std::shared_ptr<BufferAllocator> allocator, Bytes bytes);
  ~ReadAhead();
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  /// Holds the file to read from: another one than before from its start, true; the same one from
  /// where it was, false.
  bool use(std::shared_ptr<SpillFile> file);
  /// Lets go of the file until the next use(): so that one that is read out is gone at once.
  void let_go() noexcept { file_.reset(); }
  const SpillFile& file() const noexcept { return *file_; }
  /// Makes sure that there is memory to read into. Errors: the allocator's; nothing has changed.
  Status prepare();
  /// The next bytes, all of `out`. After prepare(). Errors: kCorrupt (the file is too short), kIo,
  /// what poisoned the channel: final.
  Status read(std::span<std::uint8_t> out);
  /// Passes over the next bytes. Errors as of read.
  Status skip(Bytes bytes);
  /// In the file, of the next byte.
  Bytes position() const noexcept { return position_; }
  /// Gives the memory back; prepare() takes it again, and reading goes on where it was.
  void release() noexcept;

 private:
  struct Slots;
  class SlotRead;
  Status fill();
  Status order(bool wait);
  Status advance(std::uint8_t* out, Bytes bytes);

  const std::shared_ptr<Workspace> workspace_;
  const std::shared_ptr<FileQueue> queue_;
  const std::shared_ptr<BufferAllocator> allocator_;
  const Bytes slot_bytes_;
  const std::size_t slot_count_;

  std::shared_ptr<Slots> slots_;  // shared with the reads on order
  std::shared_ptr<SpillFile> file_;
  std::optional<std::uint64_t> file_number_;  // of the last one used
  Bytes position_ = 0;
  Bytes ordered_end_ = 0;   // read, or on order, up to here
  std::size_t oldest_ = 0;  // slot with the byte at position_
  std::size_t in_use_ = 0;  // slots from oldest_ on
  FileQueue::Readable readable_;
};

}  // namespace membroker::spill
