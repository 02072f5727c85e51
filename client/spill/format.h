#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "membroker/spill.h"
#include "shared/bytes.h"

/// \file
/// The records of a spill file, as README.md fixes them.

namespace membroker::spill {

inline constexpr Bytes kRecordBytes = 64;    // of each header, and what all parts are aligned to
inline constexpr Bytes kDirectBytes = 4096;  // what every write is a multiple of

using Record = std::array<std::uint8_t, kRecordBytes>;

struct FileHeader {
  SpillCompression compression = SpillCompression::kNone;
  SpillChecksum checksum = SpillChecksum::kNone;
  std::uint32_t chunk_bytes = 0;
  std::uint64_t file_number = 0;

  friend bool operator==(const FileHeader&, const FileHeader&) = default;
};

struct BatchHeader {
  std::uint32_t buffers = 0;
  std::uint64_t batch_number = 0;
  Bytes size = 0;  // sum of the table
  std::uint64_t table_hash = 0;

  friend bool operator==(const BatchHeader&, const BatchHeader&) = default;
};

struct BatchTrailer {
  std::uint64_t batch_number = 0;
  Bytes payload_length = 0;
  std::uint64_t payload_hash = 0;

  friend bool operator==(const BatchTrailer&, const BatchTrailer&) = default;
};

Record encode(const FileHeader& header) noexcept;
Record encode(const BatchHeader& header) noexcept;
Record encode(const BatchTrailer& trailer) noexcept;

// Errors: kCorrupt, what is wrong; the caller adds where.
Result<FileHeader> decode_file_header(const Record& record);
Result<BatchHeader> decode_batch_header(const Record& record);
Result<BatchTrailer> decode_batch_trailer(const Record& record);

/// XXH3 of the bytes.
std::uint64_t hash_bytes(std::span<const std::uint8_t> bytes) noexcept;

/// Length of the table of so many buffers, its padding included.
constexpr Bytes table_length(std::size_t buffers) {
  const Bytes bytes = static_cast<Bytes>(buffers) * 8;
  return (bytes + kRecordBytes - 1) & ~(kRecordBytes - 1);
}

}  // namespace membroker::spill
