#include "client/examples/external_sort/line_sort.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace membroker::external_sort {
namespace {

// Lays the lines out as a block has them, sorts, and reads them back.
std::vector<std::string> sorted(const std::vector<std::string>& lines) {
  std::string text;
  std::vector<Line> index;
  for (const std::string& line : lines) {
    index.push_back({.offset = static_cast<std::uint32_t>(text.size()),
                     .length = static_cast<std::uint32_t>(line.size())});
    text += line + '\n';
  }
  text.append(kTextPadding, '\x7f');
  for (Line& line : index) line.key = key_at(text.data() + line.offset, line.length, 0);
  sort_lines(text.data(), index);
  std::vector<std::string> result;
  for (const Line& line : index) result.push_back(text.substr(line.offset, line.length));
  return result;
}

void expect_sorted(std::vector<std::string> lines) {
  const std::vector<std::string> ours = sorted(lines);
  std::sort(lines.begin(), lines.end());  // char_traits<char> compares as unsigned
  ASSERT_TRUE(ours == lines);
}

TEST(LineSort, OrdersAPrefixFirst) {
  expect_sorted({"abc", "ab", "", "abcd", "abcdefgh", "abcdefghi", "abcdefg", "b", "a"});
}

TEST(LineSort, ComparesBytesAsUnsigned) { expect_sorted({"\xff", "a", "\x80", "\x01", "~"}); }

TEST(LineSort, KnowsANulFromTheEnd) {
  using std::string_literals::operator""s;
  expect_sorted({"a\0\0"s, "a"s, "a\0"s, "\0"s, ""s, "a\0b"s, "a\0\0\0\0\0\0\0\0"s,
                 "a\0\0\0\0\0\0\0"s, "a\0\0\0\0\0\0"s, "a\1"s});
}

TEST(LineSort, SortsRandomLinesOfFewBytes) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 300; ++round) {
    SCOPED_TRACE(round);
    std::vector<std::string> lines(random() % 400);
    const std::size_t longest = 1 + random() % 40;
    for (std::string& line : lines) {
      line.resize(random() % longest);
      for (char& c : line) c = static_cast<char>(random() % 3);
    }
    expect_sorted(std::move(lines));
  }
}

// Enough of them to be parted by digits, which may lie anywhere in the first eight bytes or later.
TEST(LineSort, SortsManyLinesThatDifferAnywhere) {
  std::mt19937_64 random(13);
  for (std::size_t common = 0; common < 20; ++common) {
    SCOPED_TRACE(common);
    std::vector<std::string> lines(2'000, std::string(common, '\xf0'));
    for (std::string& line : lines) {
      for (std::size_t rest = random() % 12; rest > 0; --rest) {
        line += static_cast<char>(random() % 2 == 0 ? random() : random() % 2);
      }
    }
    expect_sorted(std::move(lines));
  }
}

TEST(LineSort, SortsLinesThatEachDigitPartsBadly) {
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < 3'000; ++i) {
    lines.push_back(std::string(i % 1'500, 'a') + static_cast<char>('b' + i % 2));
  }
  expect_sorted(std::move(lines));
}

TEST(LineSort, SortsLongCommonPrefixes) {
  std::mt19937_64 random(12);
  std::vector<std::string> lines(3'000, std::string(2'000, 'p'));
  for (std::string& line : lines) line += std::to_string(random() % 2'000);
  expect_sorted(std::move(lines));
}

TEST(LineSort, DoesNotSlowDownOnWhatIsSortedOrEqual) {
  std::vector<std::string> lines;
  for (int i = 0; i < 200'000; ++i) lines.push_back(std::to_string(1'000'000 + i));
  expect_sorted(lines);
  std::reverse(lines.begin(), lines.end());
  expect_sorted(lines);
  expect_sorted(std::vector<std::string>(200'000, "all the same"));
}

}  // namespace
}  // namespace membroker::external_sort
