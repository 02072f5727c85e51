#include "client/examples/external_sort/line_sort.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

namespace membroker::external_sort {
namespace {

constexpr std::size_t kInsertionMax = 12;
constexpr std::uint32_t kKeyBytes = 8;
// Digits of keys part many lines at once, with no branch to guess wrong; few are not worth it.
constexpr std::size_t kDigitMin = 256;
constexpr int kDigitBits = 8;
constexpr std::size_t kDigits = std::size_t{1} << kDigitBits;

using DigitEnds = std::array<std::size_t, kDigits>;

/// Puts lines in the order of `kDigitBits` bits of their keys, from bit `shift` on. Returns where
/// those of each digit end.
DigitEnds order_by_digit(std::span<Line> lines, int shift) {
  const auto digit_of = [shift](const Line& line) { return (line.key >> shift) % kDigits; };
  DigitEnds ends{};
  for (const Line& line : lines) ++ends[digit_of(line)];
  DigitEnds next;
  std::size_t sum = 0;
  for (std::size_t digit = 0; digit < kDigits; ++digit) {
    next[digit] = sum;
    ends[digit] = sum += ends[digit];
  }
  for (std::size_t digit = 0; digit < kDigits; ++digit) {
    while (next[digit] < ends[digit]) {
      // Follows a cycle of lines, each to where the one before lay.
      Line line = lines[next[digit]];
      for (std::size_t its = digit_of(line); its != digit; its = digit_of(line)) {
        std::swap(line, lines[next[its]++]);
      }
      lines[next[digit]++] = line;
    }
  }
  return ends;
}

/// Multikey sort over cached keys: lines are parted by eight bytes at a time, so shared prefixes
/// are compared once per part and the text is touched once per eight bytes. Many lines are parted
/// by the first digit in which their keys differ, fewer by a pivot.
class LineSorter {
 public:
  explicit LineSorter(const char* text) : text_(text) {}

  void sort(std::span<Line> lines, std::uint32_t depth) {
    // Pivots that part badly could cost quadratic time; this many parts in all cannot.
    parts_left_ = 4 * lines.size() * static_cast<std::size_t>(std::bit_width(lines.size()) + 1);
    sort_part(lines, depth);
  }

 private:
  bool before(const Line& a, const Line& b, std::uint32_t depth) const {
    if (a.key != b.key) return a.key < b.key;
    return comes_before(text_ + a.offset, a.length, text_ + b.offset, b.length,
                        std::min({depth + kKeyBytes, a.length, b.length}));
  }

  void insertion_sort(std::span<Line> lines, std::uint32_t depth) const {
    for (std::size_t i = 1; i < lines.size(); ++i) {
      const Line line = lines[i];
      std::size_t at = i;
      for (; at > 0 && before(line, lines[at - 1], depth); --at) lines[at] = lines[at - 1];
      lines[at] = line;
    }
  }

  static std::uint64_t median(std::uint64_t a, std::uint64_t b, std::uint64_t c) {
    return std::max(std::min(a, b), std::min(std::max(a, b), c));
  }

  static std::uint64_t pivot(std::span<const Line> lines) {
    const std::size_t n = lines.size();
    const auto key = [&](std::size_t i) { return lines[i].key; };
    if (n < 128) return median(key(0), key(n / 2), key(n - 1));
    const std::size_t step = n / 8;
    return median(median(key(0), key(step), key(2 * step)),
                  median(key(3 * step), key(4 * step), key(5 * step)),
                  median(key(6 * step), key(7 * step), key(n - 1)));
  }

  /// Lines with one key at `depth`: puts those that end within it first, shortest first (zeros
  /// beyond the end look like NULs of the line), gives the others their next key and returns them.
  std::span<Line> next_key(std::span<Line> lines, std::uint32_t depth) const {
    const std::uint32_t next = depth + kKeyBytes;
    const auto longer = std::partition(lines.begin(), lines.end(),
                                       [&](const Line& line) { return line.length <= next; });
    std::sort(lines.begin(), longer,
              [](const Line& a, const Line& b) { return a.length < b.length; });
    const std::span<Line> rest(longer, lines.end());
    for (Line& line : rest) line.key = key_at(text_ + line.offset, line.length, next);
    return rest;
  }

  struct Part {
    std::span<Line> lines;
    std::uint32_t depth;
  };

  // Of the parts made of a part, the largest is gone on with and the others are at most half of it:
  // the stack is bounded by the logarithm of the number of lines, however long their common
  // prefixes are.
  void sort_part(std::span<Line> lines, std::uint32_t depth) {
    Part part{lines, depth};
    while (part.lines.size() > kInsertionMax) {
      if (parts_left_ < part.lines.size()) {
        std::sort(part.lines.begin(), part.lines.end(),
                  [&](const Line& a, const Line& b) { return before(a, b, part.depth); });
        return;
      }
      parts_left_ -= part.lines.size();
      part = part.lines.size() < kDigitMin ? part_by_pivot(part) : part_by_digit(part);
    }
    insertion_sort(part.lines, part.depth);
  }

  /// Parts it and sorts all but the largest part, which is returned.
  Part part_by_pivot(Part part) {
    const std::span<Line> lines = part.lines;
    const std::uint64_t middle = pivot(lines);
    std::size_t less_end = 0;
    std::size_t more_begin = lines.size();
    for (std::size_t i = 0; i < more_begin;) {
      if (lines[i].key < middle) {
        std::swap(lines[i++], lines[less_end++]);
      } else if (lines[i].key > middle) {
        std::swap(lines[i], lines[--more_begin]);
      } else {
        ++i;
      }
    }
    Part parts[3] = {{lines.first(less_end), part.depth},
                     {next_key(lines.subspan(less_end, more_begin - less_end), part.depth),
                      part.depth + kKeyBytes},
                     {lines.subspan(more_begin), part.depth}};
    std::sort(std::begin(parts), std::end(parts),
              [](const Part& a, const Part& b) { return a.lines.size() < b.lines.size(); });
    sort_part(parts[0].lines, parts[0].depth);
    sort_part(parts[1].lines, parts[1].depth);
    return parts[2];
  }

  /// The same by the first digit in which the keys differ.
  Part part_by_digit(Part part) {
    std::uint64_t differing = 0;
    for (const Line& line : part.lines) differing |= line.key ^ part.lines.front().key;
    if (differing == 0) return {next_key(part.lines, part.depth), part.depth + kKeyBytes};
    const int shift = std::max(static_cast<int>(std::bit_width(differing)) - kDigitBits, 0);
    const DigitEnds ends = order_by_digit(part.lines, shift);
    std::span<Line> largest;
    std::size_t begin = 0;
    for (const std::size_t end : ends) {
      std::span<Line> lines = part.lines.subspan(begin, end - begin);
      begin = end;
      if (lines.size() > largest.size()) std::swap(lines, largest);
      if (lines.size() > 1) sort_part(lines, part.depth);
    }
    return {largest, part.depth};
  }

  const char* text_;
  std::size_t parts_left_ = 0;  // lines that may still be moved by parting
};

}  // namespace

void sort_lines(const char* text, std::span<Line> lines) { LineSorter(text).sort(lines, 0); }

}  // namespace membroker::external_sort
