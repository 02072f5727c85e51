#include "client/spill/channel.h"

#include "shared/format.h"

namespace membroker {
namespace detail {
namespace {

Status check(const SpillOptions& options) {
  if (!options.directories) {
    return fail(ErrorCode::kInvalid, "SpillOptions::directories is not set");
  }
  if (options.max_file_size < 1) {
    return fail(ErrorCode::kInvalid, strf("SpillOptions::max_file_size is %lld: at least 1",
                                          static_cast<long long>(options.max_file_size)));
  }
  if (options.read_ahead < kSpillReadAheadBytesMin) {
    return fail(ErrorCode::kInvalid, strf("SpillOptions::read_ahead is %lld: at least %lld",
                                          static_cast<long long>(options.read_ahead),
                                          static_cast<long long>(kSpillReadAheadBytesMin)));
  }
  return {};
}

}  // namespace

SpillChannel::SpillChannel(const SpillOptions& options, std::shared_ptr<spill::Workspace> workspace)
    : queue_(std::make_shared<spill::FileQueue>()),
      appender_({.directories = std::static_pointer_cast<spill::Directories>(options.directories),
                 .quota = std::static_pointer_cast<spill::Quota>(options.quota),
                 .workspace = std::move(workspace),
                 .reader_allocator = options.allocator,
                 .max_file_size = options.max_file_size,
                 .compression = options.compression,
                 .checksum = options.checksum,
                 .direct_io = options.direct_io},
                queue_) {}

Result<SpillChannelEnds> SpillChannel::open(SpillOptions options) {
  if (auto good = check(options); !good) return fail(good.error());
  if (!options.workspace) {
    auto workspace = SpillWorkspace::create();
    if (!workspace) return fail(workspace.error());
    options.workspace = std::move(*workspace);
  }
  if (!options.allocator) options.allocator = system_allocator();
  auto workspace = std::static_pointer_cast<spill::Workspace>(options.workspace);
  auto channel = std::make_shared<SpillChannel>(options, workspace);
  SpillChannelEnds ends;
  ends.writer.token_ = std::make_shared<SpillWriterToken>(channel);
  ends.reader.token_ = std::make_shared<SpillReaderToken>(channel, std::move(workspace),
                                                          options.allocator, options.read_ahead);
  return ends;
}

}  // namespace detail

namespace {

Error no_writer() { return Error(ErrorCode::kClosed, "this spill writer is finished"); }
Error no_reader() { return Error(ErrorCode::kClosed, "this spill reader is empty"); }

}  // namespace

Status SpillWriter::push_batch(std::span<const Buffer> buffers) {
  if (!token_) return fail(no_writer());
  return token_->channel->appender().push(buffers);
}

Status SpillWriter::finish() {
  if (!token_) return {};
  const auto channel = token_->channel;
  token_.reset();
  return channel->queue().wait_if_ended();
}

SpillStats SpillWriter::stats() const {
  return token_ ? token_->channel->queue().stats() : SpillStats{};
}

Result<std::optional<Batch>> SpillReader::next() {
  if (!token_) return fail(no_reader());
  return token_->reader.next();
}

Result<SpillTryNext> SpillReader::try_next() {
  if (!token_) return fail(no_reader());
  return token_->reader.try_next();
}

Result<std::optional<std::int64_t>> SpillReader::next_into(std::span<std::uint8_t> out) {
  if (!token_) return fail(no_reader());
  return token_->reader.next_into(out);
}

void SpillReader::release_read_ahead() {
  if (token_) token_->reader.release_read_ahead();
}

SpillStats SpillReader::stats() const {
  return token_ ? token_->channel->queue().stats() : SpillStats{};
}

Result<SpillChannelEnds> spill_channel(SpillOptions options) {
  return detail::SpillChannel::open(std::move(options));
}

}  // namespace membroker
