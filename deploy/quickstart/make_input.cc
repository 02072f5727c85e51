// Makes a large file to sort out of a real one: copies of its lines, each copy in another order,
// each line with a prefix. The same arguments give the same bytes.
//
//   quickstart_input BASE OUTPUT BYTES SEED

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

constexpr std::size_t kPrefixBytes = 3;  // two hexadecimal digits and a blank

// splitmix64: small, and the same numbers everywhere.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
  }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(next() % n); }

 private:
  std::uint64_t state_;
};

int fail(const char* what, const char* path) {
  std::fprintf(stderr, "quickstart_input: %s %s: %s\n", what, path, std::strerror(errno));
  return 1;
}

bool read_all(const char* path, std::string& text) {
  const File file(std::fopen(path, "rb"), &std::fclose);
  if (file == nullptr) return false;
  std::vector<char> part(1 << 20);
  while (const std::size_t n = std::fread(part.data(), 1, part.size(), file.get())) {
    text.append(part.data(), n);
  }
  return std::ferror(file.get()) == 0;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

bool write_copies(std::FILE* file, std::vector<std::string_view>& lines, std::uint64_t bytes,
                  std::uint64_t seed) {
  Random random(seed);
  std::string line;
  for (std::uint64_t written = 0; written < bytes;) {
    for (std::size_t i = lines.size(); i > 1; --i) {
      std::swap(lines[i - 1], lines[random.below(i)]);
    }
    for (const std::string_view text : lines) {
      const auto digits = static_cast<unsigned>(random.below(256));
      line.assign({"0123456789abcdef"[digits / 16], "0123456789abcdef"[digits % 16], ' '});
      line.append(text).push_back('\n');
      if (std::fwrite(line.data(), 1, line.size(), file) != line.size()) return false;
      written += text.size() + kPrefixBytes + 1;
    }
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: quickstart_input BASE OUTPUT BYTES SEED\n");
    return 2;
  }
  std::string text;
  if (!read_all(argv[1], text)) return fail("read", argv[1]);
  std::vector<std::string_view> lines = split_lines(text);
  if (lines.empty()) {
    std::fprintf(stderr, "quickstart_input: %s has no lines\n", argv[1]);
    return 1;
  }
  File output(std::fopen(argv[2], "wb"), &std::fclose);
  if (output == nullptr) return fail("open", argv[2]);
  std::setvbuf(output.get(), nullptr, _IOFBF, 1 << 20);
  if (!write_copies(output.get(), lines, std::strtoull(argv[3], nullptr, 10),
                    std::strtoull(argv[4], nullptr, 10)) ||
      std::fclose(output.release()) != 0) {
    return fail("write", argv[2]);
  }
  return 0;
}
