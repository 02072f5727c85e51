#pragma once

#include <endian.h>

#include <cstdint>
#include <cstring>
#include <span>

/// \file
/// Lines in memory and their order: bytes as unsigned numbers, a prefix before what it begins,
/// as `LC_ALL=C sort` has it.
///
/// Text given to these functions must be readable for kTextPadding bytes beyond the end of every
/// line, so that eight bytes can be loaded at once; what they hold does not matter.

namespace membroker::external_sort {

inline constexpr std::uint32_t kTextPadding = 8;

/// One line of a text, without its newline. While lines are being sorted `key` holds eight of its
/// bytes, big-endian, zeros beyond its end; afterwards it means nothing.
struct Line {
  std::uint64_t key = 0;
  std::uint32_t offset = 0;
  std::uint32_t length = 0;
};

/// The eight bytes of a line from `depth` on as a number that compares as they do.
inline std::uint64_t key_at(const char* line, std::uint32_t length, std::uint32_t depth) {
  if (depth >= length) return 0;
  std::uint64_t word = 0;
  std::memcpy(&word, line + depth, sizeof word);
  word = be64toh(word);
  const std::uint32_t rest = length - depth;
  return rest >= 8 ? word : word & (~std::uint64_t{0} << (8 * (8 - rest)));
}

/// True if line a comes before line b. Bytes before `depth` are known to be equal.
inline bool comes_before(const char* a, std::uint32_t a_length, const char* b,
                         std::uint32_t b_length, std::uint32_t depth) {
  const std::uint32_t common = a_length < b_length ? a_length : b_length;
  if (depth < common) {
    const int order = std::memcmp(a + depth, b + depth, common - depth);
    if (order != 0) return order < 0;
  }
  return a_length < b_length;
}

/// Sorts lines of `text`, whose keys are those at depth 0. Needs no memory but a bounded stack.
void sort_lines(const char* text, std::span<Line> lines);

}  // namespace membroker::external_sort
