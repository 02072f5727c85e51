#include "client/client_options.h"

#include <errno.h>  // program_invocation_short_name
#include <sys/un.h>

#include <cstdlib>
#include <set>

#include "client/lease/session_protocol.h"
#include "shared/format.h"
#include "shared/utf8.h"

namespace membroker::detail {
namespace {

constexpr std::size_t kTextBytesMax = 128;  // names and labels, as the daemon has it
constexpr std::size_t kTenantBytesMax = 255;
constexpr std::size_t kLabelsMax = 16;
constexpr const char* kDefaultSocket = "/run/membroker/broker.sock";

std::string from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

}  // namespace

void set_defaults(ClientOptions& options) {
  if (options.tenant.empty()) options.tenant = from_environment("MEMBROKER_TENANT");
  if (options.socket.empty()) options.socket = from_environment("MEMBROKER_SOCKET");
  if (options.socket.empty()) options.socket = kDefaultSocket;
  if (options.client_name.empty()) {
    options.client_name = std::string(cut_text(program_invocation_short_name, kTextBytesMax));
  }
}

namespace {

Status check_text(const char* option, const std::string& text, std::size_t most) {
  if (text.size() <= most) return {};
  return fail(ErrorCode::kInvalid, strf("ClientOptions::%s has %zu bytes; at most %zu are allowed",
                                        option, text.size(), most));
}

Status check_resources(const std::vector<ResourceOptions>& resources) {
  if (resources.empty() || resources.size() > lease::kLeasesPerSessionMax) {
    return fail(ErrorCode::kInvalid,
                strf("ClientOptions::resources names %zu; 1 to %zu are allowed", resources.size(),
                     lease::kLeasesPerSessionMax));
  }
  std::set<std::string> names;
  for (const ResourceOptions& resource : resources) {
    if (resource.name.empty() || resource.name.size() > kTextBytesMax) {
      return fail(ErrorCode::kInvalid,
                  strf("ClientOptions::resources: a name has 1 to %zu bytes", kTextBytesMax));
    }
    if (!names.insert(resource.name).second) {
      return fail(ErrorCode::kInvalid,
                  "ClientOptions::resources names \"" + resource.name + "\" twice");
    }
    if (resource.floor_bytes < 0) {
      return fail(ErrorCode::kInvalid,
                  "ClientOptions::resources: the floor of \"" + resource.name + "\" is negative");
    }
  }
  return {};
}

Status check_away(const ClientOptions& options) {
  const WhenAway& away = options.when_away;
  const bool standalone = away.mode == WhenAway::Mode::kStandalone;
  if (standalone ? away.bytes <= 0 : away.bytes != 0) {
    return fail(ErrorCode::kInvalid,
                strf("ClientOptions::when_away has %lld bytes; standalone takes at least 1, the "
                     "other modes 0",
                     static_cast<long long>(away.bytes)));
  }
  if (options.child_budget_bytes < 0) {
    return fail(ErrorCode::kInvalid, strf("ClientOptions::child_budget_bytes is %lld; 0 means that "
                                          "a forked child has none",
                                          static_cast<long long>(options.child_budget_bytes)));
  }
  return {};
}

}  // namespace

Status check(const ClientOptions& options) {
  if (options.tenant.empty()) {
    return fail(ErrorCode::kInvalid,
                "no tenant: set ClientOptions::tenant or MEMBROKER_TENANT to whom the memory is "
                "lent (membrokerctl tenants lists them)");
  }
  if (auto ok = check_text("tenant", options.tenant, kTenantBytesMax); !ok) return ok;
  if (auto ok = check_text("socket", options.socket, sizeof(sockaddr_un{}.sun_path) - 1); !ok) {
    return ok;
  }
  if (auto ok = check_text("client_name", options.client_name, kTextBytesMax); !ok) return ok;
  if (options.labels.size() > kLabelsMax) {
    return fail(ErrorCode::kInvalid, strf("ClientOptions::labels has %zu pairs; at most %zu are "
                                          "allowed",
                                          options.labels.size(), kLabelsMax));
  }
  for (const auto& [key, value] : options.labels) {
    if (auto ok = check_text("labels", key, kTextBytesMax); !ok) return ok;
    if (auto ok = check_text("labels", value, kTextBytesMax); !ok) return ok;
  }
  if (auto ok = check_away(options); !ok) return ok;
  return check_resources(options.resources);
}

}  // namespace membroker::detail
