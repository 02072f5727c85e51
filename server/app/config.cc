#include "server/app/config.h"

#include <grp.h>
#include <pwd.h>

#include <array>
#include <utility>

#include "server/app/config_compile.h"
#include "server/broker/small_file.h"
#include "shared/format.h"

namespace membroker::app {
namespace {

constexpr std::size_t kFileBytesMax = std::size_t{1} << 20;
constexpr std::size_t kNameBufferBytes = 16'384;

std::optional<uid_t> look_up_user(const std::string& name) {
  passwd entry{};
  passwd* found = nullptr;
  std::vector<char> buffer(kNameBufferBytes);
  ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  return found == nullptr ? std::nullopt : std::optional(found->pw_uid);
}

std::optional<gid_t> look_up_group(const std::string& name) {
  group entry{};
  group* found = nullptr;
  std::vector<char> buffer(kNameBufferBytes);
  ::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  return found == nullptr ? std::nullopt : std::optional(found->gr_gid);
}

}  // namespace

ConfigHost ConfigHost::system() {
  return {.memory = [] { return broker::read_memory_capacity(); },
          .uid_of = look_up_user,
          .gid_of = look_up_group};
}

Result<AppConfig> parse_config(std::string_view text, const std::string& file_name,
                               const ConfigHost& host) {
  ConfigErrors errors(file_name);
  try {
    const toml::table root = toml::parse(text);
    const ConfigIr ir = read_config(root, errors);
    if (errors.empty()) {  // else what is missing would be reported a second time
      AppConfig config = compile_config(ir, host, errors);
      if (errors.empty()) return config;
    }
  } catch (const toml::parse_error& error) {
    errors.add(position_of(error.source()), "not TOML: " + std::string(error.description()));
  }
  return fail(ErrorCode::kInvalid, errors.text());
}

Result<AppConfig> load_config(const std::string& path, const ConfigHost& host) {
  const auto text = broker::read_small_file(path, kFileBytesMax);
  if (!text) {
    return fail(text.error().code(),
                text.error().message() + "; name the configuration with --config FILE");
  }
  return parse_config(*text, path, host);
}

}  // namespace membroker::app
