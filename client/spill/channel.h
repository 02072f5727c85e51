#pragma once

#include <memory>

#include "client/spill/appender.h"
#include "client/spill/batch_reader.h"
#include "client/spill/file_queue.h"
#include "membroker/spill.h"

namespace membroker::detail {

/// What the two ends of a channel share.
class SpillChannel {
 public:
  static Result<SpillChannelEnds> open(SpillOptions options);

  SpillChannel(const SpillOptions& options, std::shared_ptr<spill::Workspace> workspace);

  spill::Appender& appender() noexcept { return appender_; }
  spill::FileQueue& queue() noexcept { return *queue_; }

 private:
  friend struct SpillReaderToken;

  const std::shared_ptr<spill::FileQueue> queue_;  // shared with the requests under way
  spill::Appender appender_;
};

/// One for all copies of a writer: the last of them ends the stream.
struct SpillWriterToken {
  explicit SpillWriterToken(std::shared_ptr<SpillChannel> of) : channel(std::move(of)) {}
  ~SpillWriterToken() { channel->queue().end_writers(); }
  SpillWriterToken(const SpillWriterToken&) = delete;
  SpillWriterToken& operator=(const SpillWriterToken&) = delete;

  const std::shared_ptr<SpillChannel> channel;
};

struct SpillReaderToken {
  SpillReaderToken(std::shared_ptr<SpillChannel> of, std::shared_ptr<spill::Workspace> workspace,
                   std::shared_ptr<BufferAllocator> allocator, Bytes read_ahead)
      : channel(std::move(of)),
        reader(std::move(workspace), channel->queue_, std::move(allocator), read_ahead) {}
  ~SpillReaderToken() { channel->queue().end_reader(); }
  SpillReaderToken(const SpillReaderToken&) = delete;
  SpillReaderToken& operator=(const SpillReaderToken&) = delete;

  const std::shared_ptr<SpillChannel> channel;
  spill::BatchReader reader;
};

}  // namespace membroker::detail
