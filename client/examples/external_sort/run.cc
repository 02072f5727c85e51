#include "client/examples/external_sort/run.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

namespace membroker::external_sort {

Result<RunWriter> RunWriter::create(const RunStore& store, MutableBuffer& batch) {
  SpillOptions options;
  options.directories = store.directories;
  options.workspace = store.memory->workspace();
  options.allocator = store.memory->buffers();
  options.read_ahead = store.memory->sizes().read_ahead;
  auto channel = spill_channel(std::move(options));
  if (!channel) return fail(channel.error());
  RunWriter writer;
  writer.writer_ = std::move(channel->writer);
  writer.run_.reader = std::move(channel->reader);
  writer.batch_ = &batch;
  return writer;
}

Status RunWriter::append_to_next(std::string_view line) {
  if (used_ > 0) {
    const std::string_view full(reinterpret_cast<const char*>(batch_->data()),
                                static_cast<std::size_t>(used_));
    used_ = 0;
    if (auto pushed = push(full); !pushed) return pushed;
  }
  if (static_cast<Bytes>(line.size()) > batch_->size()) return push(line);
  return append(line);
}

Status RunWriter::push(std::string_view lines) {
  // Copied by the channel before it returns: no owner is needed.
  const Buffer buffer =
      Buffer::wrap({reinterpret_cast<const std::uint8_t*>(lines.data()), lines.size()});
  if (auto pushed = writer_.push_batch({&buffer, 1}); !pushed) return pushed;
  run_.bytes += buffer.size();
  run_.longest_batch = std::max(run_.longest_batch, buffer.size());
  return {};
}

Result<Run> RunWriter::finish() {
  if (used_ > 0) {
    const std::string_view rest(reinterpret_cast<const char*>(batch_->data()),
                                static_cast<std::size_t>(used_));
    used_ = 0;
    if (auto pushed = push(rest); !pushed) return fail(pushed.error());
  }
  if (auto finished = writer_.finish(); !finished) return fail(finished.error());
  return std::move(run_);
}

namespace {

Bytes batch_memory(Bytes longest_batch) {
  return round_up(longest_batch + kTextPadding, kBufferAlignment).value_or(kBytesMax);
}

}  // namespace

Bytes run_memory(const Sizes& sizes, Bytes longest_batch) {
  return batch_memory(longest_batch) + sizes.read_ahead;
}

Result<std::unique_ptr<RunSource>> RunSource::open(Run run, const WorkMemory& memory) {
  auto batch = allocate_buffer(batch_memory(run.longest_batch), memory.buffers());
  if (!batch) return fail(batch.error());
  return std::unique_ptr<RunSource>(new RunSource(std::move(run), *std::move(batch)));
}

Result<bool> RunSource::next() {
  if (at_ == end_) {
    const auto room = static_cast<std::size_t>(batch_.size() - kTextPadding);
    const auto got = run_.reader.next_into({batch_.data(), room});
    if (!got) return fail(got.error());
    if (!*got) return false;
    at_ = reinterpret_cast<const char*>(batch_.data());
    end_ = at_ + **got;
  }
  const void* newline = std::memchr(at_, '\n', static_cast<std::size_t>(end_ - at_));
  if (newline == nullptr) {
    return fail(ErrorCode::kCorrupt, "a run read back from its spill file has half a line");
  }
  const char* const next = static_cast<const char*>(newline) + 1;
  line_ = {at_, static_cast<std::size_t>(next - at_)};
  at_ = next;
  return true;
}

}  // namespace membroker::external_sort
