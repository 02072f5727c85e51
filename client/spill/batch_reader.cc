#include "client/spill/batch_reader.h"

#include <algorithm>
#include <cstring>

#include "client/spill/codec.h"
#include "client/spill/running_hash.h"
#include "shared/format.h"

namespace membroker::spill {
namespace {

constexpr std::size_t kHashStep = 64 * kKiB;  // copied and hashed while it is in the cache
constexpr std::uint32_t kPlainChunk = std::uint32_t{1} << 31;

}  // namespace

BatchReader::BatchReader(std::shared_ptr<Workspace> workspace, std::shared_ptr<FileQueue> queue,
                         std::shared_ptr<BufferAllocator> allocator, Bytes read_ahead)
    : workspace_(workspace),
      queue_(queue),
      allocator_(allocator),
      input_(std::move(workspace), std::move(queue), std::move(allocator), read_ahead) {}

Error BatchReader::final_error(Error error) {
  final_ = std::move(error);
  return *final_;
}

Error BatchReader::corrupt(Bytes offset, const std::string& what) const {
  return Error(ErrorCode::kCorrupt, input_.file().at(offset) + ": " + what);
}

// Comes to the start of a batch's payload, with its heads in begun_ and sizes_.
Result<SpillReady> BatchReader::begin_batch(bool wait) {
  if (workspace_->forked()) {
    return fail(ErrorCode::kForked, "this process is a fork of the one that opened the channel");
  }
  if (final_) return fail(*final_);
  if (begun_) return SpillReady::kBatch;
  auto turn = queue_->next_turn(wait);
  if (!turn) return fail(final_error(turn.error()));
  if (turn->ready == SpillReady::kEnd) input_.release();
  if (turn->ready != SpillReady::kBatch) return turn->ready;
  if (auto prepared = input_.prepare(); !prepared) return fail(prepared.error());
  if (input_.use(std::move(turn->file))) {
    if (auto read = read_file_header(); !read) return fail(final_error(read.error()));
  }
  if (auto read = read_heads(); !read) return fail(final_error(read.error()));
  return SpillReady::kBatch;
}

Status BatchReader::read_file_header() {
  Record record;
  if (auto read = input_.read(record); !read) return read;
  auto header = decode_file_header(record);
  if (!header) return fail(corrupt(0, header.error().message()));
  const bool chunks_fit = header->chunk_bytes == codec_chunk_bytes(workspace_->block_size());
  if (header->file_number != input_.file().number ||
      (header->compression != SpillCompression::kNone && !chunks_fit)) {
    return fail(corrupt(0, "the file header is another file's"));
  }
  file_header_ = *header;
  return {};
}

Status BatchReader::read_heads() {
  // The first batch follows the file header, the others begin whole blocks.
  const Bytes past = input_.position() & (kDirectBytes - 1);
  if (past != 0 && input_.position() != kRecordBytes) {
    if (auto skipped = input_.skip(kDirectBytes - past); !skipped) return skipped;
  }
  const Bytes start = input_.position();
  Record record;
  if (auto read = input_.read(record); !read) return read;
  auto header = decode_batch_header(record);
  if (!header) return fail(corrupt(start, header.error().message()));
  if (header->batch_number != batches_seen_) {
    return fail(corrupt(start, strf("batch %llu where batch %llu must be",
                                    static_cast<unsigned long long>(header->batch_number),
                                    static_cast<unsigned long long>(batches_seen_))));
  }
  sizes_.resize(static_cast<std::size_t>(table_length(header->buffers)) / sizeof(std::uint64_t));
  const std::span<std::uint8_t> table(reinterpret_cast<std::uint8_t*>(sizes_.data()),
                                      sizes_.size() * sizeof(std::uint64_t));
  if (auto read = input_.read(table); !read) return read;
  sizes_.resize(header->buffers);
  Bytes left = header->size;
  for (const std::uint64_t size : sizes_) {
    if (size > static_cast<std::uint64_t>(left)) {
      return fail(corrupt(start + kRecordBytes, "the table of sizes exceeds the batch"));
    }
    left -= static_cast<Bytes>(size);
  }
  const auto used = table.first(sizes_.size() * sizeof(std::uint64_t));
  if (left != 0 || hash_bytes(used) != header->table_hash) {
    return fail(corrupt(start + kRecordBytes, "the table of sizes does not match its checksum"));
  }
  begun_ = *header;
  return {};
}

Status BatchReader::read_bytes(std::span<std::uint8_t> out, RunningHash* hash) {
  while (!out.empty()) {
    const auto step = out.first(std::min(out.size(), kHashStep));
    if (auto read = input_.read(step); !read) return read;
    if (hash != nullptr) hash->add(step);
    out = out.subspan(step.size());
  }
  return {};
}

// To the next multiple of kRecordBytes.
Status BatchReader::read_padding(RunningHash* hash) {
  std::uint8_t padding[kRecordBytes];
  const Bytes past = input_.position() & (kRecordBytes - 1);
  const auto rest = static_cast<std::size_t>(past == 0 ? 0 : kRecordBytes - past);
  return read_bytes({padding, rest}, hash);
}

Status BatchReader::read_compressed(const Parts& parts, RunningHash* hash) {
  const CodecBlock codec(workspace_);
  const Bytes chunk_bytes = codec_chunk_bytes(workspace_->block_size());
  Decompressor decompressor(file_header_.compression, chunk_bytes, codec.memory());
  for (std::span<std::uint8_t> part : parts) {
    while (!part.empty()) {
      const auto chunk = part.first(std::min(part.size(), static_cast<std::size_t>(chunk_bytes)));
      const Bytes at = input_.position();
      std::uint32_t word = 0;
      std::uint8_t word_bytes[sizeof word];
      if (auto read = read_bytes(word_bytes, hash); !read) return read;
      std::memcpy(&word, word_bytes, sizeof word);
      const std::size_t length = word & ~kPlainChunk;
      const bool plain = (word & kPlainChunk) != 0;
      if (length > chunk.size() || (plain && length != chunk.size())) {
        return fail(corrupt(at, "a chunk of impossible length"));
      }
      const auto to = plain ? chunk : decompressor.input().first(length);
      if (auto read = read_bytes(to, hash); !read) return read;
      if (!plain && !decompressor.decompress(static_cast<Bytes>(length), chunk)) {
        return fail(corrupt(at, "a chunk cannot be decompressed"));
      }
      part = part.subspan(chunk.size());
    }
    if (auto read = read_padding(hash); !read) return read;
  }
  return {};
}

Status BatchReader::read_payload(const Parts& parts) {
  RunningHash running;
  RunningHash* hash = file_header_.checksum == SpillChecksum::kXxh3 ? &running : nullptr;
  const Bytes start = input_.position();
  if (file_header_.compression != SpillCompression::kNone) {
    if (auto read = read_compressed(parts, hash); !read) return read;
  } else {
    for (const std::span<std::uint8_t> part : parts) {
      if (auto read = read_bytes(part, hash); !read) return read;
      if (auto read = read_padding(hash); !read) return read;
    }
  }
  return read_trailer(start, hash != nullptr ? hash->value() : 0);
}

Status BatchReader::read_trailer(Bytes payload_start, std::uint64_t hash) {
  const Bytes at = input_.position();
  Record record;
  if (auto read = input_.read(record); !read) return read;
  auto trailer = decode_batch_trailer(record);
  if (!trailer) return fail(corrupt(at, trailer.error().message()));
  if (*trailer != BatchTrailer{batches_seen_, at - payload_start, hash}) {
    return fail(corrupt(payload_start, strf("the payload of batch %llu does not match its checksum",
                                            static_cast<unsigned long long>(batches_seen_))));
  }
  input_.let_go();
  queue_->batch_taken(begun_->size);
  ++batches_seen_;
  begun_.reset();
  return {};
}

Result<Batch> BatchReader::read_batch() {
  if (auto prepared = input_.prepare(); !prepared) return fail(prepared.error());
  std::vector<MutableBuffer> memory;
  Parts parts;
  for (const std::uint64_t size : sizes_) {
    auto buffer = allocate_buffer(static_cast<Bytes>(size), allocator_);
    if (!buffer) return fail(buffer.error());
    parts.push_back(buffer->bytes());
    memory.push_back(std::move(*buffer));
  }
  if (auto read = read_payload(parts); !read) return fail(final_error(read.error()));
  Batch batch;
  for (MutableBuffer& buffer : memory) batch.buffers.push_back(std::move(buffer).freeze());
  return batch;
}

Result<std::optional<Batch>> BatchReader::next() {
  auto ready = begin_batch(true);
  if (!ready) return fail(ready.error());
  if (*ready == SpillReady::kEnd) return std::nullopt;
  auto batch = read_batch();
  if (!batch) return fail(batch.error());
  return std::optional<Batch>(std::move(*batch));
}

Result<SpillTryNext> BatchReader::try_next() {
  auto ready = begin_batch(false);
  if (!ready) return fail(ready.error());
  if (*ready != SpillReady::kBatch) return SpillTryNext{*ready, {}};
  auto batch = read_batch();
  if (!batch) return fail(batch.error());
  return SpillTryNext{SpillReady::kBatch, std::move(*batch)};
}

Result<std::optional<Bytes>> BatchReader::next_into(std::span<std::uint8_t> out) {
  auto ready = begin_batch(true);
  if (!ready) return fail(ready.error());
  if (*ready == SpillReady::kEnd) return std::nullopt;
  const Bytes size = begun_->size;
  if (static_cast<std::uint64_t>(size) > out.size()) {
    return fail(ErrorCode::kInvalid,
                strf("the next batch takes %lld bytes, the memory given is %zu",
                     static_cast<long long>(size), out.size()));
  }
  if (auto prepared = input_.prepare(); !prepared) return fail(prepared.error());
  Parts parts;
  for (const std::uint64_t part : sizes_) {
    parts.push_back(out.first(static_cast<std::size_t>(part)));
    out = out.subspan(static_cast<std::size_t>(part));
  }
  if (auto read = read_payload(parts); !read) return fail(final_error(read.error()));
  return std::optional<Bytes>(size);
}

}  // namespace membroker::spill
