#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "client/spill/spill_file.h"
#include "membroker/spill.h"
#include "shared/bytes.h"

namespace membroker::spill {

/// What both ends of a channel and the I/O thread share: the files in order, how far each is
/// written and read, who is still there, and the error that ended it. Thread-safe; its mutex is a
/// leaf, never held over a system call.
class FileQueue {
 public:
  // The appender's side.

  /// Why nothing can be pushed any more, if so.
  std::optional<Error> refusal() const;
  void add_file(std::shared_ptr<SpillFile> file);
  /// A write of the file is about to be submitted; write_done() will follow.
  void write_begins(SpillFile& file);
  /// Everything of one more batch has been submitted. Error: the channel was poisoned or its
  /// reader left meanwhile; the batch is not part of the stream then.
  Status commit(SpillFile& file, Bytes pushed, Bytes stored);
  /// Nothing more will be appended to it.
  void finish_file(const std::shared_ptr<SpillFile>& file);
  /// The stream ends with this error, after what was committed. The first error stays.
  void poison(const Error& error);
  /// The last writer is gone: the stream ends.
  void end_writers();
  /// If the last writer is gone: waits until no write is under way and gives the channel's error,
  /// if there is one.
  Status wait_if_ended();

  // The I/O thread's side.

  /// `moved` as of IoRequest::complete. Lets go of the file before anyone learns of it.
  void write_done(std::shared_ptr<SpillFile> file, Bytes offset, Bytes length,
                  Bytes moved) noexcept;

  // The reader's side.

  struct Turn {
    SpillReady ready = SpillReady::kPending;
    std::shared_ptr<SpillFile> file;  // where the next batch is, if ready is kBatch
  };
  /// Where the next batch is. Waits for a writer if `wait`. Errors: what poisoned the channel, once
  /// everything before has been read.
  Result<Turn> next_turn(bool wait);

  struct Readable {
    Bytes end = 0;       // the file may be read up to here
    bool final = false;  // it will not grow
  };
  /// Waits until the file can be read beyond `offset`, or is final. Errors: what poisoned the
  /// channel.
  Result<Readable> wait_readable(const SpillFile& file, Bytes offset);
  /// The batch of the last turn, which held so many bytes, has been read. Its file may be gone.
  void batch_taken(Bytes size);
  /// Frees the files; from now on writers are refused.
  void end_reader();

  SpillStats stats() const;

 private:
  // What has to be done about files when the lock is given up.
  struct Later {
    std::vector<std::shared_ptr<SpillFile>> closed;
    std::shared_ptr<SpillFile> trimmed;
  };
  void trim_if_last(const std::shared_ptr<SpillFile>& file, Later& later);
  void drop_drained(Later& later);
  void drop(std::shared_ptr<SpillFile> file, Later& later);
  void finish(Later later);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<SpillFile>> files_;  // oldest first; only the last may be unfinished
  std::optional<Error> error_;
  bool writers_ended_ = false;
  bool reader_ended_ = false;
  int writes_pending_ = 0;
  SpillStats stats_;
};

}  // namespace membroker::spill
