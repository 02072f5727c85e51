#include "server/broker/capacity.h"

#include <charconv>
#include <string_view>
#include <vector>

#include "server/broker/small_file.h"

namespace membroker::broker {
namespace {

constexpr std::size_t kDepthMax = 64;

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const auto end = std::min(text.find(separator), text.size());
    parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

std::optional<Bytes> parse_number(std::string_view text) {
  Bytes value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < 0) return std::nullopt;
  return value;
}

Result<Bytes> read_machine(const std::string& root) {
  const std::string path = root + "/proc/meminfo";
  const auto text = read_small_file(path);
  if (!text) return fail(text.error());
  constexpr std::string_view kKey = "MemTotal:";
  for (std::string_view line : split(*text, '\n')) {
    if (!line.starts_with(kKey)) continue;
    line.remove_prefix(kKey.size());
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    const auto kib = parse_number(line);
    const auto bytes = kib ? checked_mul(*kib, kKiB) : std::nullopt;
    if (bytes && *bytes > 0) return *bytes;
  }
  return fail(ErrorCode::kIo, path + " has no MemTotal; give the capacity in bytes");
}

// The limit in one folder; nothing where the file is missing or says "max". Kernels write "no
// limit" of v1 as a number beyond any machine, which usable() passes over.
std::optional<Bytes> read_limit(const std::string& file) {
  const auto text = read_small_file(file, 256);
  return text ? parse_number(*text) : std::nullopt;
}

void tighten(std::optional<Bytes>& least, std::optional<Bytes> limit) {
  if (limit && (!least || *limit < *least)) least = limit;
}

// From the process's own folder up to the mount. In a container the path may be the host's, which
// is not to be seen here; the mount itself then is the container's.
std::optional<Bytes> tightest(const std::string& mount, std::string_view path,
                              const char* file_name) {
  std::optional<Bytes> least;
  while (path.ends_with('/')) path.remove_suffix(1);
  for (std::size_t depth = 0; depth < kDepthMax; ++depth) {
    tighten(least, read_limit(mount + std::string(path) + "/" + file_name));
    if (path.empty()) break;
    path = path.substr(0, path.rfind('/') == std::string_view::npos ? 0 : path.rfind('/'));
  }
  return least;
}

bool names_memory(std::string_view controllers) {
  for (const std::string_view name : split(controllers, ',')) {
    if (name == "memory") return true;
  }
  return false;
}

std::optional<Bytes> read_cgroup(const std::string& root) {
  const auto text = read_small_file(root + "/proc/self/cgroup");
  if (!text) return std::nullopt;  // a kernel without cgroups
  std::optional<Bytes> least;
  for (const std::string_view line : split(*text, '\n')) {  // "4:memory:/a/b" or "0::/a/b"
    const auto first = line.find(':');
    const auto second = line.find(':', first == std::string_view::npos ? line.size() : first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const std::string_view path = line.substr(second + 1);
    if (names_memory(controllers)) {
      tighten(least, tightest(root + "/sys/fs/cgroup/memory", path, "memory.limit_in_bytes"));
    } else if (controllers.empty()) {
      tighten(least, tightest(root + "/sys/fs/cgroup", path, "memory.max"));
    }
  }
  return least;
}

}  // namespace

Result<MemoryCapacity> read_memory_capacity(const std::string& root) {
  const auto machine = read_machine(root);
  if (!machine) return fail(machine.error());
  return MemoryCapacity{*machine, read_cgroup(root)};
}

}  // namespace membroker::broker
