#include "server/app/config.h"
#include "server/app/config_ir.h"
#include "shared/format.h"

namespace membroker::app {
namespace {

std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      result += strf("\\u%04X", static_cast<unsigned>(c));
    } else {
      result += c;
    }
  }
  return result + '"';
}

std::string milliseconds(Millis time) { return strf("\"%lldms\"", static_cast<long long>(time)); }

std::string number(Bytes bytes) { return strf("%lld", static_cast<long long>(bytes)); }

template <class Id>
std::string list(const std::vector<Id>& ids) {
  std::string result = "[";
  for (const Id id : ids) result += strf("%s%u", result.size() > 1 ? ", " : "", id);
  return result + "]";
}

void line(std::string& text, const char* key, const std::string& value) {
  text += strf("%s = %s\n", key, value.c_str());
}

void print_policy(std::string& text, const arbiter::TenantPolicy& policy) {
  line(text, "guarantee", number(policy.guarantee));
  line(text, "guarantee_mode", quoted(kGuaranteeModes[static_cast<std::size_t>(policy.mode)]));
  if (policy.limit != kBytesMax) line(text, "limit", number(policy.limit));
  line(text, "weight", strf("%d", policy.weight));
  line(text, "priority", strf("%d", policy.priority));
  line(text, "priority_max", strf("%d", policy.priority_max));
  line(text, "on_overdue", quoted(kOnOverdue[static_cast<std::size_t>(policy.on_overdue)]));
}

void print_pressure(std::string& text, const broker::PressureConfig& pressure) {
  text += "\n[pressure]\n";
  line(text, "enabled", pressure.enabled ? "true" : "false");
  line(text, "file", quoted(pressure.file));
  line(text, "high_percent", strf("%d", pressure.high_percent));
  line(text, "low_percent", strf("%d", pressure.low_percent));
  line(text, "step", number(pressure.step));
  line(text, "grow", number(pressure.grow));
  line(text, "floor", number(pressure.floor));
  line(text, "interval", milliseconds(pressure.interval));
  line(text, "hold", milliseconds(pressure.hold));
}

}  // namespace

std::string print_config(const AppConfig& config) {
  std::string text;
  line(text, "runtime_directory", quoted(config.runtime_directory));
  line(text, "state_directory", quoted(config.state_directory));
  text += "\n[log]\n";
  line(text, "level", quoted(config.log_level));
  line(text, "format", quoted(kLogFormats[static_cast<std::size_t>(config.log_format)]));
  text += "\n[socket]\n";
  line(text, "mode", strf("\"%04o\"", config.socket_mode));
  line(text, "allow_unwatched", config.allow_unwatched ? "true" : "false");
  text += "\n[admin]\n";
  line(text, "mode", strf("\"%04o\"", config.admin_socket_mode));
  line(text, "uids", list(config.admin_uids));
  line(text, "gids", list(config.admin_gids));
  const broker::BrokerTimes& times = config.broker.times;
  text += "\n[times]\n";
  line(text, "heartbeat_interval", milliseconds(times.heartbeat_interval));
  line(text, "session_ttl", milliseconds(times.session_ttl));
  line(text, "suspect_grace", milliseconds(times.suspect_grace));
  line(text, "recover_window", milliseconds(times.recover_window));
  line(text, "shutdown_grace", milliseconds(times.shutdown_grace));
  text += "\n[limits]\n";
  line(text, "sessions_max", number(config.broker.limits.sessions_max));
  line(text, "sessions_per_uid_max", number(config.broker.limits.sessions_per_uid_max));
  print_pressure(text, config.pressure);
  for (const broker::ResourceConfig& resource : config.broker.resources) {
    text += strf("\n[resources.%s]\n", quoted(resource.name).c_str());
    line(text, "capacity", number(resource.capacity));
    line(text, "floor_max", number(resource.floor_max));
    line(text, "policy", quoted(kPolicies[static_cast<std::size_t>(resource.policy)]));
  }
  for (const broker::TenantConfig& tenant : config.broker.tenants) {
    text += "\n[[tenant]]\n";
    line(text, "path", quoted(tenant.path));
    line(text, "uids", list(tenant.uids));
    line(text, "gids", list(tenant.gids));
    if (const auto ram = tenant.policies.find("ram"); ram != tenant.policies.end()) {
      print_policy(text, ram->second);
    }
    for (const auto& [resource, policy] : tenant.policies) {
      if (resource == "ram") continue;
      text += strf("[tenant.resources.%s]\n", quoted(resource).c_str());
      print_policy(text, policy);
    }
  }
  return text;
}

}  // namespace membroker::app
