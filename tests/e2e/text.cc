#include "tests/e2e/text.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <string_view>
#include <vector>

#include "tests/integration/daemon_process.h"

namespace membroker::e2e {

std::string package_lines(std::int64_t bytes, std::uint64_t seed) {
  constexpr std::array<std::string_view, 6> kFields = {
      "Package: ", "Version: ", "Depends: lib", "Description-md5: ", " ", "Section: "};
  std::mt19937_64 random(seed);
  std::string text;
  text.reserve(static_cast<std::size_t>(bytes) + 256);
  while (static_cast<std::int64_t>(text.size()) < bytes) {
    const std::uint64_t number = random();
    text += kFields[number % kFields.size()];
    const std::size_t words = (number >> 8) % 6;
    for (std::size_t i = 0; i < words; ++i) {
      for (std::uint64_t word = random() % 10'000; word > 0; word /= 26) {
        text += static_cast<char>('a' + word % 26);
      }
      text += ' ';
    }
    text += '\n';
  }
  return text;
}

bool gnu_sort(const std::string& input, const std::string& output) {
  testing::ChildProcess sort({"/usr/bin/env", "LC_ALL=C", "/usr/bin/sort", "-o", output, input},
                             output + ".log");
  return sort.wait(std::chrono::minutes(2)) == 0;
}

bool same_files(const std::string& a, const std::string& b) {
  std::ifstream first(a, std::ios::binary);
  std::ifstream second(b, std::ios::binary);
  std::vector<char> x(1 << 20);
  std::vector<char> y(1 << 20);
  while (first && second) {
    first.read(x.data(), static_cast<std::streamsize>(x.size()));
    second.read(y.data(), static_cast<std::streamsize>(y.size()));
    if (first.gcount() != second.gcount() ||
        !std::equal(x.begin(), x.begin() + first.gcount(), y.begin())) {
      return false;
    }
  }
  return first.eof() && second.eof();
}

}  // namespace membroker::e2e
