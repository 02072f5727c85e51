// Any bytes as a configuration file: never a crash; what is accepted prints to what is accepted
// again, and means the same.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "server/app/config.h"
#include "shared/check.h"

namespace {

using namespace membroker;  // NOLINT: a program of its own

app::ConfigHost host() {
  return {.memory = []() -> Result<broker::MemoryCapacity> {
            return broker::MemoryCapacity{16 * kGiB, std::nullopt};
          },
          .uid_of = [](const std::string& name) -> std::optional<uid_t> {
            return static_cast<uid_t>(name.size());
          },
          .gid_of = [](const std::string& name) -> std::optional<gid_t> {
            return static_cast<gid_t>(name.size());
          }};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto config = app::parse_config(text, "fuzz.toml", host());
  if (!config) {
    MB_CHECK(config.error().message().starts_with("fuzz.toml:"));
    return 0;
  }
  MB_CHECK(!config->broker.resources.empty());
  const std::string printed = app::print_config(*config);
  const auto again = app::parse_config(printed, "printed.toml", host());
  MB_CHECK(again.has_value());
  MB_CHECK(app::print_config(*again) == printed);
  return 0;
}
