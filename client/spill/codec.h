#pragma once

#include <cstdint>
#include <span>

#include "membroker/spill.h"
#include "shared/bytes.h"

/// \file
/// Compression of chunks, in memory that is given: so that spilling compressed allocates nothing.

namespace membroker::spill {

/// Bytes compressed at once, for a codec that works in `memory` bytes: 64 KiB, or 32 KiB where
/// zstd's tables for 64 KiB (0.3 MB) would not fit.
Bytes codec_chunk_bytes(Bytes memory) noexcept;

/// Not thread-safe. `memory` must live as long: at least 256 KiB, aligned to 64.
class Compressor {
 public:
  Compressor(SpillCompression kind, Bytes chunk_bytes, std::span<std::uint8_t> memory);

  /// The compressed chunk, valid until the next call; empty if it would not be smaller.
  std::span<const std::uint8_t> compress(std::span<const std::uint8_t> chunk) noexcept;

 private:
  const SpillCompression kind_;
  std::span<std::uint8_t> out_;
  std::span<std::uint8_t> tables_;
  void* context_ = nullptr;  // zstd's, inside tables_
};

/// Not thread-safe. `memory` as of Compressor.
class Decompressor {
 public:
  Decompressor(SpillCompression kind, Bytes chunk_bytes, std::span<std::uint8_t> memory);

  /// Where to put a compressed chunk; never larger than a chunk.
  std::span<std::uint8_t> input() const noexcept { return in_; }
  /// Decompresses the first `length` bytes of input(). False unless they fill `out` exactly.
  bool decompress(Bytes length, std::span<std::uint8_t> out) noexcept;

 private:
  const SpillCompression kind_;
  std::span<std::uint8_t> in_;
  void* context_ = nullptr;  // zstd's, after in_
};

}  // namespace membroker::spill
