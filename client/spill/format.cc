#include "client/spill/format.h"

#include <xxhash.h>

#include <bit>
#include <cstring>
#include <string_view>

namespace membroker::spill {
namespace {

static_assert(std::endian::native == std::endian::little, "spill files are little-endian");

constexpr std::string_view kFileMagic = "MBSPILL1";
constexpr std::string_view kBatchMagic = "BATC";
constexpr std::string_view kTrailerMagic = "ENDB";
constexpr std::size_t kHashAt = 56;

template <class T>
void put(Record& record, std::size_t at, T value) noexcept {
  std::memcpy(record.data() + at, &value, sizeof value);
}

template <class T>
T get(const Record& record, std::size_t at) noexcept {
  T value;
  std::memcpy(&value, record.data() + at, sizeof value);
  return value;
}

void put_magic(Record& record, std::string_view magic) noexcept {
  std::memcpy(record.data(), magic.data(), magic.size());
}

void seal(Record& record) noexcept { put(record, kHashAt, hash_bytes({record.data(), kHashAt})); }

Status check(const Record& record, std::string_view magic, const char* what) {
  if (std::memcmp(record.data(), magic.data(), magic.size()) != 0) {
    return fail(ErrorCode::kCorrupt, std::string("no ") + what + " where one must be");
  }
  if (get<std::uint64_t>(record, kHashAt) != hash_bytes({record.data(), kHashAt})) {
    return fail(ErrorCode::kCorrupt, std::string(what) + " does not match its checksum");
  }
  return {};
}

}  // namespace

std::uint64_t hash_bytes(std::span<const std::uint8_t> bytes) noexcept {
  return XXH3_64bits(bytes.data(), bytes.size());
}

Record encode(const FileHeader& header) noexcept {
  Record record{};
  put_magic(record, kFileMagic);
  put(record, 8, static_cast<std::uint32_t>(header.compression));
  put(record, 12, static_cast<std::uint32_t>(header.checksum));
  put(record, 16, header.chunk_bytes);
  put(record, 24, header.file_number);
  seal(record);
  return record;
}

Record encode(const BatchHeader& header) noexcept {
  Record record{};
  put_magic(record, kBatchMagic);
  put(record, 4, header.buffers);
  put(record, 8, header.batch_number);
  put(record, 16, static_cast<std::uint64_t>(header.size));
  put(record, 24, header.table_hash);
  seal(record);
  return record;
}

Record encode(const BatchTrailer& trailer) noexcept {
  Record record{};
  put_magic(record, kTrailerMagic);
  put(record, 8, trailer.batch_number);
  put(record, 16, static_cast<std::uint64_t>(trailer.payload_length));
  put(record, 24, trailer.payload_hash);
  seal(record);
  return record;
}

Result<FileHeader> decode_file_header(const Record& record) {
  if (auto good = check(record, kFileMagic, "file header"); !good) return fail(good.error());
  const auto compression = get<std::uint32_t>(record, 8);
  const auto checksum = get<std::uint32_t>(record, 12);
  if (compression > static_cast<std::uint32_t>(SpillCompression::kZstd) ||
      checksum > static_cast<std::uint32_t>(SpillChecksum::kXxh3)) {
    return fail(ErrorCode::kCorrupt, "file header names an unknown compression or checksum");
  }
  return FileHeader{static_cast<SpillCompression>(compression),
                    static_cast<SpillChecksum>(checksum), get<std::uint32_t>(record, 16),
                    get<std::uint64_t>(record, 24)};
}

Result<BatchHeader> decode_batch_header(const Record& record) {
  if (auto good = check(record, kBatchMagic, "batch header"); !good) return fail(good.error());
  BatchHeader header{get<std::uint32_t>(record, 4), get<std::uint64_t>(record, 8),
                     get<Bytes>(record, 16), get<std::uint64_t>(record, 24)};
  if (header.buffers == 0 || header.buffers > kSpillBuffersPerBatchMax || header.size < 0) {
    return fail(ErrorCode::kCorrupt, "batch header holds impossible figures");
  }
  return header;
}

Result<BatchTrailer> decode_batch_trailer(const Record& record) {
  if (auto good = check(record, kTrailerMagic, "batch trailer"); !good) return fail(good.error());
  return BatchTrailer{get<std::uint64_t>(record, 8), get<Bytes>(record, 16),
                      get<std::uint64_t>(record, 24)};
}

}  // namespace membroker::spill
