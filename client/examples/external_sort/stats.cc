#include "client/examples/external_sort/stats.h"

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <memory>

#include "shared/fd.h"
#include "shared/format.h"

namespace membroker::external_sort {

std::string SortStats::to_json(const ClientStats& client) const {
  const ResourceStats lease = client.resources.empty() ? ResourceStats{} : client.resources.front();
  std::string json = "{\n";
  const auto real = [&](const char* name, double value) {
    json += strf("  \"%s\": %.3f,\n", name, value);
  };
  const auto number = [&](const char* name, std::int64_t value) {
    json += strf("  \"%s\": %" PRId64 ",\n", name, value);
  };
  const auto count = [&](const char* name, std::uint64_t value) {
    json += strf("  \"%s\": %" PRIu64 ",\n", name, value);
  };
  real("seconds", seconds);
  real("read_seconds", read_seconds);
  number("input_bytes", input_bytes);
  number("output_bytes", output_bytes);
  number("lines", lines);
  number("runs", runs);
  number("merge_passes", merge_passes);
  number("spilled_bytes", spilled_bytes);
  number("refusals", refusals);
  number("revocations_served", revocations_served);
  number("lease_peak_bytes", lease.peak_held_bytes);
  number("reserved_peak_bytes", lease.peak_reserved_bytes);
  number("overdrawn_total_bytes", lease.overdrawn_total);
  count("revocations_asked", lease.revocations_asked);
  count("revocations_answered", lease.revocations_answered);
  count("revocations_late", lease.revocations_late);
  count("reconnects", client.reconnects);
  count("session_id", client.session_id);
  json += strf("  \"attaches\": %" PRIu64 "\n}\n", client.attach);
  return json;
}

Status SortStats::write_json(const std::string& path, const ClientStats& client) const {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "we"),
                                                             &std::fclose);
  if (file == nullptr) return fail(errno_error("open " + path + " for writing", errno));
  const std::string json = to_json(client);
  if (std::fwrite(json.data(), 1, json.size(), file.get()) != json.size() ||
      std::fflush(file.get()) != 0) {
    return fail(errno_error("write " + path, errno));
  }
  return {};
}

}  // namespace membroker::external_sort
