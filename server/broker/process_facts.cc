#include "server/broker/process_facts.h"

#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "server/broker/small_file.h"
#include "shared/fd.h"
#include "shared/format.h"

namespace membroker::broker {
namespace {

constexpr std::size_t kStatBytesMax = 4'096;
constexpr std::size_t kAuxvBytesMax = 4'096;
// An image that is just being made has nothing but the end mark.
constexpr std::size_t kAuxvEntryBytes = 2 * sizeof(unsigned long);

template <class Number>
std::optional<Number> number_at(std::string_view text) {
  Number value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  return parsed.ec == std::errc() ? std::optional(value) : std::nullopt;
}

// kNotFound also where the process ended between opening and reading (ESRCH). Any other error, as
// of no descriptor left, says nothing of the process.
Result<std::string> read_of(pid_t pid, const char* name, std::size_t bytes_max) {
  if (pid <= 0) return fail(ErrorCode::kNotFound, strf("%d is no process id", pid));
  auto text = read_small_file(strf("/proc/%d/%s", pid, name), bytes_max);
  if (text || text.error().code() != ErrorCode::kNotFound) return text;
  return fail(ErrorCode::kNotFound,
              strf("there is no process %d (%s)", pid, text.error().message().c_str()));
}

// The field of /proc/<pid>/stat with that number, the third or a later one, and what follows. The
// second is the command in brackets and may hold anything, brackets too.
std::string_view stat_field(std::string_view stat, int number) {
  std::size_t at = stat.rfind(')');
  for (int field = 2; field < number && at != std::string_view::npos; ++field) {
    at = stat.find(' ', at + 1);
  }
  return at == std::string_view::npos ? std::string_view() : stat.substr(at + 1);
}

// "Pss:      185 kB" among the lines.
std::optional<Bytes> kilobytes(std::string_view text, std::string_view label) {
  std::size_t at = text.find(label);
  if (at == std::string_view::npos) return std::nullopt;
  at = text.find_first_not_of(' ', at + label.size());
  if (at == std::string_view::npos) return std::nullopt;
  const auto number = number_at<Bytes>(text.substr(at));
  return number ? checked_mul(*number, kKiB) : std::nullopt;
}

}  // namespace

Result<std::uint64_t> process_start_time(pid_t pid) {
  const auto stat = read_of(pid, "stat", kStatBytesMax);
  if (!stat) return fail(stat.error());
  const auto ticks = number_at<std::uint64_t>(stat_field(*stat, 22));
  if (!ticks) return fail(ErrorCode::kIo, strf("/proc/%d/stat has no start time (field 22)", pid));
  return *ticks;
}

Result<std::uint64_t> process_image(pid_t pid) {
  const auto auxv = read_of(pid, "auxv", kAuxvBytesMax);
  if (!auxv) return fail(auxv.error());
  if (auxv->size() <= kAuxvEntryBytes) {
    return fail(ErrorCode::kNotFound, strf("process %d has no image now", pid));
  }
  return std::max<std::uint64_t>(XXH3_64bits(auxv->data(), auxv->size()), kImageUnknown + 1);
}

Result<Bytes> process_share(pid_t pid) {
  const auto rollup = read_of(pid, "smaps_rollup", kStatBytesMax);
  if (!rollup) return fail(rollup.error());
  const auto share = kilobytes(*rollup, "\nPss:");
  if (!share) return fail(ErrorCode::kNotFound, strf("process %d has no memory", pid));
  return *share - std::min(*share, kilobytes(*rollup, "\nPss_File:").value_or(0));
}

Result<Bytes> process_resident(pid_t pid) {
  const auto statm = read_of(pid, "statm", kStatBytesMax);
  if (!statm) return fail(statm.error());
  // "size resident shared …", in pages; shared is what belongs to files and shared memory.
  const std::string_view text = *statm;
  const std::size_t second = text.find(' ');
  const std::size_t third = text.find(' ', second + 1);
  if (second == std::string_view::npos || third == std::string_view::npos) {
    return fail(ErrorCode::kIo, strf("/proc/%d/statm has no three fields", pid));
  }
  const Bytes resident = number_at<Bytes>(text.substr(second + 1)).value_or(0);
  const Bytes shared = number_at<Bytes>(text.substr(third + 1)).value_or(0);
  return std::max<Bytes>(0, resident - shared) * ::sysconf(_SC_PAGESIZE);
}

Result<std::vector<ProcessEntry>> list_processes() {
  std::vector<ProcessEntry> result;
  std::error_code error;
  for (auto at = std::filesystem::directory_iterator("/proc", error);
       !error && at != std::filesystem::directory_iterator(); at.increment(error)) {
    const std::string name = at->path().filename().string();
    const auto pid = number_at<pid_t>(name);
    if (!pid) continue;
    const auto stat = read_of(*pid, "stat", kStatBytesMax);
    if (!stat) {
      const ErrorCode why = stat.error().code();
      // Gone, or another user's where /proc hides them; anything else would hide them all.
      if (why == ErrorCode::kNotFound || why == ErrorCode::kPermissionDenied) continue;
      return fail(stat.error());
    }
    const std::string_view state = stat_field(*stat, 3);
    const auto parent = number_at<pid_t>(stat_field(*stat, 4));
    const auto start_time = number_at<std::uint64_t>(stat_field(*stat, 22));
    if (state.empty() || state[0] == 'Z' || state[0] == 'X' || !parent || !start_time) continue;
    result.push_back({*pid, *parent, *start_time});
  }
  if (error) return fail(errno_error("list /proc", error.value()));
  std::sort(result.begin(), result.end(),
            [](const ProcessEntry& a, const ProcessEntry& b) { return a.pid < b.pid; });
  return result;
}

}  // namespace membroker::broker
