#include "client/spill/codec.h"

#include <lz4.h>
#define ZSTD_STATIC_LINKING_ONLY  // for contexts in memory of our own
#include <zstd.h>

#include "shared/check.h"

namespace membroker::spill {
namespace {

constexpr int kZstdLevel = 1;
constexpr Bytes kChunkBytesMax = 64 * kKiB;
constexpr Bytes kRoomyBytes = 512 * kKiB;
constexpr std::size_t kTableAlignment = 64;

std::size_t aligned(std::size_t bytes) {
  return (bytes + kTableAlignment - 1) & ~(kTableAlignment - 1);
}

int as_int(std::size_t bytes) { return static_cast<int>(bytes); }

}  // namespace

Bytes codec_chunk_bytes(Bytes memory) noexcept {
  return memory >= kRoomyBytes ? kChunkBytesMax : kChunkBytesMax / 2;
}

Compressor::Compressor(SpillCompression kind, Bytes chunk_bytes, std::span<std::uint8_t> memory)
    : kind_(kind),
      out_(memory.first(static_cast<std::size_t>(chunk_bytes))),
      tables_(memory.subspan(aligned(static_cast<std::size_t>(chunk_bytes)))) {
  if (kind_ == SpillCompression::kLz4) {
    MB_CHECK(static_cast<std::size_t>(LZ4_sizeofState()) <= tables_.size());
    context_ = tables_.data();
  } else {
    context_ = ZSTD_initStaticCCtx(tables_.data(), tables_.size());
    MB_CHECK(context_ != nullptr);
  }
}

std::span<const std::uint8_t> Compressor::compress(std::span<const std::uint8_t> chunk) noexcept {
  // The output ends one byte short of the chunk: what does not fit is not worth it.
  const std::size_t room = std::min(chunk.size() - 1, out_.size());
  if (kind_ == SpillCompression::kLz4) {
    const int written = LZ4_compress_fast_extState(
        context_, reinterpret_cast<const char*>(chunk.data()), reinterpret_cast<char*>(out_.data()),
        as_int(chunk.size()), as_int(room), 1);
    return out_.first(static_cast<std::size_t>(written));
  }
  const std::size_t written = ZSTD_compressCCtx(static_cast<ZSTD_CCtx*>(context_), out_.data(),
                                                room, chunk.data(), chunk.size(), kZstdLevel);
  return out_.first(ZSTD_isError(written) != 0 ? 0 : written);
}

Decompressor::Decompressor(SpillCompression kind, Bytes chunk_bytes, std::span<std::uint8_t> memory)
    : kind_(kind), in_(memory.first(static_cast<std::size_t>(chunk_bytes))) {
  if (kind_ != SpillCompression::kZstd) return;
  const auto tables = memory.subspan(aligned(in_.size()));
  context_ = ZSTD_initStaticDCtx(tables.data(), tables.size());
  MB_CHECK(context_ != nullptr);
}

bool Decompressor::decompress(Bytes length, std::span<std::uint8_t> out) noexcept {
  const auto stored = in_.first(static_cast<std::size_t>(length));
  if (kind_ == SpillCompression::kLz4) {
    const int written = LZ4_decompress_safe(reinterpret_cast<const char*>(stored.data()),
                                            reinterpret_cast<char*>(out.data()),
                                            as_int(stored.size()), as_int(out.size()));
    return written == as_int(out.size());
  }
  return ZSTD_decompressDCtx(static_cast<ZSTD_DCtx*>(context_), out.data(), out.size(),
                             stored.data(), stored.size()) == out.size();
}

}  // namespace membroker::spill
