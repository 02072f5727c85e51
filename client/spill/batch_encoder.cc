#include "client/spill/batch_encoder.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "client/spill/codec.h"
#include "client/spill/running_hash.h"

namespace membroker::spill {
namespace {

constexpr std::size_t kHashStep = 64 * kKiB;  // copied and hashed while it is in the cache
constexpr std::uint32_t kPlainChunk = std::uint32_t{1} << 31;
constexpr std::uint8_t kZeros[kDirectBytes] = {};

// A filled block on its way to the disk.
class BlockWrite final : public IoRequest {
 public:
  BlockWrite(std::shared_ptr<FileQueue> queue, std::shared_ptr<SpillFile> file, Block block,
             Bytes how_many, Bytes at)
      : IoRequest(Kind::kWrite, file->fd.get(), block.data(), how_many, at),
        queue_(std::move(queue)),
        file_(std::move(file)),
        block_(std::move(block)) {}

  void complete(Bytes moved) noexcept override {
    block_ = Block();
    queue_->write_done(std::move(file_), offset, length, moved);
  }

 private:
  std::shared_ptr<FileQueue> queue_;
  std::shared_ptr<SpillFile> file_;
  Block block_;
};

// Appends bytes to a file, a block at a time.
class BlockStream {
 public:
  BlockStream(const EncodeTarget& target, Bytes piece)
      : target_(target), piece_(static_cast<std::size_t>(piece)), at_(target.file->append_end) {}

  void put(std::span<const std::uint8_t> bytes) {
    while (!bytes.empty()) {
      if (!block_) block_ = target_.workspace->take_block();
      const std::size_t step = std::min({bytes.size(), piece_ - filled_, kHashStep});
      std::uint8_t* to = block_.data() + filled_;
      std::memcpy(to, bytes.data(), step);
      if (hashing_) hash_.add({to, step});
      filled_ += step;
      bytes = bytes.subspan(step);
      if (filled_ == piece_) submit();
    }
  }
  void pad_to(Bytes unit) {
    const Bytes past = position() & (unit - 1);
    if (past != 0) put({kZeros, static_cast<std::size_t>(unit - past)});
  }
  /// Pads to whole blocks of direct I/O and submits the rest.
  void end() {
    pad_to(kDirectBytes);
    if (filled_ > 0) submit();
  }

  void begin_hash() { hashing_ = true; }
  std::uint64_t end_hash() {
    hashing_ = false;
    return hash_.value();
  }
  /// In the file.
  Bytes position() const { return at_ + static_cast<Bytes>(filled_); }

 private:
  void submit() {
    const auto length = static_cast<Bytes>(filled_);
    auto write =
        std::make_unique<BlockWrite>(target_.queue, target_.file, std::move(block_), length, at_);
    target_.queue->write_begins(*target_.file);
    target_.workspace->engine().submit(std::move(write));
    block_ = Block();
    at_ += length;
    filled_ = 0;
  }

  const EncodeTarget& target_;
  const std::size_t piece_;
  Block block_;
  std::size_t filled_ = 0;
  Bytes at_;
  RunningHash hash_;
  bool hashing_ = false;
};

void put_u32(BlockStream& stream, std::uint32_t value) {
  std::uint8_t bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  stream.put(bytes);
}

void put_compressed(BlockStream& stream, Compressor& compressor, std::size_t chunk_bytes,
                    std::span<const std::uint8_t> bytes) {
  while (!bytes.empty()) {
    const auto chunk = bytes.first(std::min(bytes.size(), chunk_bytes));
    const auto packed = compressor.compress(chunk);
    if (packed.empty()) {
      put_u32(stream, static_cast<std::uint32_t>(chunk.size()) | kPlainChunk);
      stream.put(chunk);
    } else {
      put_u32(stream, static_cast<std::uint32_t>(packed.size()));
      stream.put(packed);
    }
    bytes = bytes.subspan(chunk.size());
  }
}

// A null compressor: as they are.
void put_payload(BlockStream& stream, Compressor* compressor, Bytes chunk_bytes,
                 std::span<const Buffer> buffers) {
  for (const Buffer& buffer : buffers) {
    if (compressor == nullptr) {
      stream.put(buffer.bytes());
    } else {
      put_compressed(stream, *compressor, static_cast<std::size_t>(chunk_bytes), buffer.bytes());
    }
    stream.pad_to(kRecordBytes);
  }
}

// Of a batch whose size is known, equal pieces rather than full blocks and a small rest.
Bytes piece_bytes(Bytes batch, Bytes block) {
  const Bytes pieces = (batch + block - 1) / block;
  const Bytes piece = (batch + pieces - 1) / pieces;
  return round_up(piece, kDirectBytes).value_or(block);
}

}  // namespace

std::optional<Bytes> encoded_bytes_max(std::span<const Buffer> buffers,
                                       SpillCompression compression) {
  std::optional<Bytes> sum = 3 * kRecordBytes + table_length(buffers.size());
  for (const Buffer& buffer : buffers) {
    auto payload = round_up(buffer.size(), kRecordBytes);
    if (payload && compression != SpillCompression::kNone) {
      // Each chunk its length; the smallest chunk counts, and the padding once more.
      payload = checked_add(*payload, buffer.size() / (8 * kKiB) + 2 * kRecordBytes);
    }
    if (!payload) return std::nullopt;
    sum = checked_add(*sum, *payload);
    if (!sum) return std::nullopt;
  }
  return round_up(*sum, kDirectBytes);
}

Bytes encode_batch(const EncodeTarget& target, std::uint64_t batch_number,
                   std::span<const Buffer> buffers) {
  const Bytes start = target.file->append_end;
  const Bytes block = target.workspace->block_size();
  const bool plain = target.compression == SpillCompression::kNone;
  const Bytes most = encoded_bytes_max(buffers, target.compression).value_or(block);

  std::vector<std::uint64_t> sizes;
  BatchHeader header{static_cast<std::uint32_t>(buffers.size()), batch_number, 0, 0};
  for (const Buffer& buffer : buffers) {
    sizes.push_back(static_cast<std::uint64_t>(buffer.size()));
    header.size += buffer.size();
  }
  const auto table = std::as_bytes(std::span(sizes));
  const std::span<const std::uint8_t> table_bytes(
      reinterpret_cast<const std::uint8_t*>(table.data()), table.size());
  header.table_hash = hash_bytes(table_bytes);

  const Bytes chunk_bytes = codec_chunk_bytes(block);
  std::optional<CodecBlock> codec;
  std::optional<Compressor> compressor;
  if (!plain) {
    codec.emplace(target.workspace);
    compressor.emplace(target.compression, chunk_bytes, codec->memory());
  }
  BlockStream stream(target, plain ? piece_bytes(most, block) : block);
  if (start == 0) {
    FileHeader file{target.compression, target.checksum, 0, target.file->number};
    if (!plain) file.chunk_bytes = static_cast<std::uint32_t>(chunk_bytes);
    stream.put(encode(file));
  }
  stream.put(encode(header));
  stream.put(table_bytes);
  stream.pad_to(kRecordBytes);

  const Bytes payload_start = stream.position();
  if (target.checksum == SpillChecksum::kXxh3) stream.begin_hash();
  put_payload(stream, compressor ? &*compressor : nullptr, chunk_bytes, buffers);
  BatchTrailer trailer{batch_number, stream.position() - payload_start, 0};
  if (target.checksum == SpillChecksum::kXxh3) trailer.payload_hash = stream.end_hash();
  stream.put(encode(trailer));
  stream.end();
  target.file->append_end = stream.position();
  return target.file->append_end - start;
}

}  // namespace membroker::spill
