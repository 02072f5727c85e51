#include "server/app/config_compile.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include "server/arbiter/rules.h"
#include "server/broker/tenant_path.h"
#include "shared/format.h"

namespace membroker::app {
namespace {

constexpr std::size_t kTenantsMax = 10'000;
constexpr std::size_t kResourcesMax = 16;
constexpr std::size_t kResourceNameMax = 63;
constexpr std::int64_t kIdMax = 0xffff'fffe;
const char* const kRam = "ram";

const char* text(const std::string& words) { return words.c_str(); }

std::vector<std::string> components(const std::string& path) {
  std::vector<std::string> parts{""};
  for (const char c : path) {
    if (c == '/') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

class Compiler {
 public:
  Compiler(const ConfigIr& ir, const ConfigHost& host, ConfigErrors& errors)
      : ir_(ir), host_(host), errors_(errors) {}

  AppConfig run() {
    general();
    times();
    limits();
    resources();
    pressure();
    tenants();
    guarantees();
    return std::move(config_);
  }

 private:
  void general();
  void directory(const Given<std::string>& given, const char* key, std::string& out);
  void mode(const Given<std::string>& given, const char* key, unsigned& out);
  void times();
  void limits();
  void resources();
  void pressure();
  void tenants();
  bool path_is_good(const Located<std::string>& path);
  arbiter::TenantPolicy policy(const PolicyIr& ir, const PolicyIr& fallback);
  void guarantees();
  template <class Id, class Lookup>
  void ids(const Given<std::vector<Located<NameOrId>>>& given, const char* kind,
           const Lookup& look_up, std::vector<Id>& out);
  template <class T>
  void number(const Given<std::int64_t>& given, const char* key, Range range, T& out) {
    if (const auto value = in_range(given, key, range, errors_)) out = static_cast<T>(*value);
  }
  void time(const Given<Millis>& given, const char* key, Range range, Millis& out) {
    out = in_range(given, key, range, errors_, "ms").value_or(out);
  }

  const ConfigIr& ir_;
  const ConfigHost& host_;
  ConfigErrors& errors_;
  AppConfig config_;
  std::map<std::string, Position> capacity_at_;
  std::map<std::string, Position> tenant_at_;
};

template <class Id, class Lookup>
void Compiler::ids(const Given<std::vector<Located<NameOrId>>>& given, const char* kind,
                   const Lookup& look_up, std::vector<Id>& out) {
  if (!given) return;
  out.clear();
  for (const auto& [entry, at] : given->value) {
    if (!entry.name.empty()) {
      if (const auto id = look_up(entry.name)) {
        out.push_back(*id);
      } else {
        errors_.add(at, strf("there is no %s \"%s\" on this machine; write a name or a number that "
                             "exists",
                             kind, text(entry.name)));
      }
    } else if (entry.id < 0 || entry.id > kIdMax) {
      errors_.add(at, strf("%lld is no %s id; write 0 to %lld", static_cast<long long>(entry.id),
                           kind, static_cast<long long>(kIdMax)));
    } else {
      out.push_back(static_cast<Id>(entry.id));
    }
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
}

void Compiler::directory(const Given<std::string>& given, const char* key, std::string& out) {
  if (!given) return;
  const std::string& path = given->value;
  if (!is_absolute_path(path)) {
    errors_.add(given->at, strf("%s must be an absolute path, such as \"%s\"", key, text(out)));
    return;
  }
  out = path;
  while (out.size() > 1 && out.back() == '/') out.pop_back();
}

void Compiler::mode(const Given<std::string>& given, const char* key, unsigned& out) {
  if (!given) return;
  const std::string& digits = given->value;
  unsigned value = 0;
  const char* const end = digits.data() + digits.size();
  const auto parsed = std::from_chars(digits.data(), end, value, 8);
  if (parsed.ec != std::errc() || parsed.ptr != end || value > 0777) {
    errors_.add(given->at, strf("%s must be an octal mode in quotes, such as \"0660\"", key));
    return;
  }
  out = value;
}

void Compiler::general() {
  directory(ir_.runtime_directory, "runtime_directory", config_.runtime_directory);
  directory(ir_.state_directory, "state_directory", config_.state_directory);
  if (ir_.log_level) config_.log_level = kLogLevels[ir_.log_level->value];
  if (ir_.log_format) config_.log_format = static_cast<LogFormat>(ir_.log_format->value);
  mode(ir_.socket_mode, "mode in [socket]", config_.socket_mode);
  mode(ir_.admin_mode, "mode in [admin]", config_.admin_socket_mode);
  if (ir_.allow_unwatched) config_.allow_unwatched = ir_.allow_unwatched->value;
  ids(ir_.admin_uids, "user", host_.uid_of, config_.admin_uids);
  ids(ir_.admin_gids, "group", host_.gid_of, config_.admin_gids);
}

void Compiler::times() {
  broker::BrokerTimes& times = config_.broker.times;
  time(ir_.heartbeat_interval, "heartbeat_interval", {50, 60'000}, times.heartbeat_interval);
  time(ir_.session_ttl, "session_ttl", {100, 3'600'000}, times.session_ttl);
  time(ir_.suspect_grace, "suspect_grace", {0, 86'400'000}, times.suspect_grace);
  time(ir_.recover_window, "recover_window", {0, 600'000}, times.recover_window);
  time(ir_.shutdown_grace, "shutdown_grace", {0, 60'000}, times.shutdown_grace);
  if (times.session_ttl < 2 * times.heartbeat_interval) {
    const Position at = ir_.session_ttl          ? ir_.session_ttl->at
                        : ir_.heartbeat_interval ? ir_.heartbeat_interval->at
                                                 : Position{};
    errors_.add(at,
                "session_ttl must be at least twice heartbeat_interval, or every late "
                "heartbeat makes its session suspect");
  }
}

void Compiler::limits() {
  broker::BrokerLimits& limits = config_.broker.limits;
  number(ir_.sessions_max, "sessions_max", {1, 100'000}, limits.sessions_max);
  limits.sessions_per_uid_max = std::min(limits.sessions_per_uid_max, limits.sessions_max);
  number(ir_.sessions_per_uid_max, "sessions_per_uid_max", {1, limits.sessions_max},
         limits.sessions_per_uid_max);
}

void Compiler::pressure() {
  for (const broker::ResourceConfig& resource : config_.broker.resources) {
    if (resource.name != kRam || resource.capacity <= 0) continue;
    config_.pressure = compile_pressure(ir_.pressure, resource.capacity, errors_);
  }
}

void Compiler::resources() {
  if (ir_.resources.size() > kResourcesMax) {
    errors_.add(ir_.resources.back().at, strf("more than %zu resources", kResourcesMax));
  }
  bool ram = false;
  for (const ResourceIr& ir : ir_.resources) {
    if (!broker::is_good_name(ir.name) || ir.name.size() > kResourceNameMax) {
      errors_.add(ir.at, "a resource's name has 1 to 63 of the characters a-z A-Z 0-9 . _ -");
      continue;
    }
    broker::ResourceConfig resource;
    resource.name = ir.name;
    resource.capacity = compile_capacity(ir, host_, errors_).value_or(0);
    if (ir.floor_max) resource.floor_max = ir.floor_max->value;
    if (ir.policy) resource.policy = static_cast<arbiter::PolicyKind>(ir.policy->value);
    if (ir.floor_max && resource.capacity > 0 && resource.floor_max > resource.capacity) {
      errors_.add(ir.floor_max->at, strf("floor_max is larger than the capacity of %lld bytes",
                                         static_cast<long long>(resource.capacity)));
    }
    capacity_at_[ir.name] = ir.capacity ? ir.capacity->at : ir.at;
    ram = ram || ir.name == kRam;
    config_.broker.resources.push_back(std::move(resource));
  }
  if (!ram) {
    errors_.add({},
                "there is no [resources.ram]; write [resources.ram] and below it "
                "capacity = \"80%\"");
  }
  // ram first, where status and sessions look for it; the others by name.
  std::sort(config_.broker.resources.begin(), config_.broker.resources.end(),
            [](const auto& a, const auto& b) {
              return std::pair(a.name != kRam, a.name) < std::pair(b.name != kRam, b.name);
            });
}

bool Compiler::path_is_good(const Located<std::string>& path) {
  if (const auto good = broker::check_tenant_path(path.value); !good) {
    errors_.add(path.at, good.error().message());
    return false;
  }
  const auto [first, inserted] = tenant_at_.emplace(path.value, path.at);
  if (!inserted) {
    errors_.add(path.at, strf("tenant \"%s\" is there already, at line %u; each path may be given "
                              "once",
                              text(path.value), first->second.line));
  }
  return inserted;
}

arbiter::TenantPolicy Compiler::policy(const PolicyIr& ir, const PolicyIr& fallback) {
  const auto either = [](const auto& own, const auto& other) { return own ? own : other; };
  arbiter::TenantPolicy policy;
  if (ir.guarantee) policy.guarantee = ir.guarantee->value;
  if (ir.limit) policy.limit = ir.limit->value;
  if (const auto mode = either(ir.guarantee_mode, fallback.guarantee_mode)) {
    policy.mode = static_cast<arbiter::GuaranteeMode>(mode->value);
  }
  if (const auto on_overdue = either(ir.on_overdue, fallback.on_overdue)) {
    policy.on_overdue = static_cast<arbiter::OnOverdue>(on_overdue->value);
  }
  number(either(ir.weight, fallback.weight), "weight", {1, arbiter::kWeightMax}, policy.weight);
  number(either(ir.priority, fallback.priority), "priority", {-1'000, 1'000}, policy.priority);
  number(either(ir.priority_max, fallback.priority_max), "priority_max", {-1'000, 1'000},
         policy.priority_max);
  if (!either(ir.priority_max, fallback.priority_max)) {
    policy.priority_max = std::max(0, policy.priority);
  } else if (policy.priority > policy.priority_max) {
    const auto& given = either(ir.priority, fallback.priority);
    errors_.add(given ? given->at : either(ir.priority_max, fallback.priority_max)->at,
                strf("priority %d is above priority_max %d; lower it or raise priority_max",
                     policy.priority, policy.priority_max));
  }
  if (ir.limit && ir.limit->value == 0) {
    errors_.add(ir.limit->at, "limit = 0 lends nothing; leave the tenant out, or write a size");
  }
  if (ir.guarantee && policy.guarantee > policy.limit) {
    errors_.add(ir.guarantee->at, strf("the guarantee of %lld bytes is above the tenant's own "
                                       "limit of %lld; lower it or raise the limit",
                                       static_cast<long long>(policy.guarantee),
                                       static_cast<long long>(policy.limit)));
  }
  return policy;
}

void Compiler::tenants() {
  if (ir_.tenants.size() > kTenantsMax) {
    errors_.add(ir_.tenants.back().at, strf("more than %zu tenants", kTenantsMax));
    return;
  }
  for (const TenantIr& ir : ir_.tenants) {
    if (!ir.path) {
      errors_.add(ir.at, "[[tenant]] has no path; write path = \"name\"");
      continue;
    }
    if (!path_is_good(*ir.path)) continue;
    broker::TenantConfig tenant;
    tenant.path = ir.path->value;
    tenant.policies[kRam] = policy(ir.policy, ir.policy);
    for (const auto& [at, resource, given] : ir.resources) {
      if (resource == kRam) {
        errors_.add(at, "write the keys for \"ram\" directly below [[tenant]]");
      } else if (!capacity_at_.contains(resource)) {
        errors_.add(at, strf("there is no [resources.%s]", text(resource)));
      } else {
        tenant.policies[resource] = policy(given, ir.policy);
      }
    }
    ids(ir.uids, "user", host_.uid_of, tenant.uids);
    ids(ir.gids, "group", host_.gid_of, tenant.gids);
    config_.broker.tenants.push_back(std::move(tenant));
  }
  // Parents before children, siblings by name.
  std::sort(config_.broker.tenants.begin(), config_.broker.tenants.end(),
            [](const auto& a, const auto& b) { return components(a.path) < components(b.path); });
}

void Compiler::guarantees() {
  if (!errors_.empty()) return;  // sums of wrong figures would only confuse
  for (const broker::ResourceConfig& resource : config_.broker.resources) {
    check_guarantees(config_.broker, resource, {capacity_at_.at(resource.name), tenant_at_},
                     errors_);
  }
}

}  // namespace

std::optional<std::int64_t> in_range(const Given<std::int64_t>& given, const char* key, Range range,
                                     ConfigErrors& errors, const char* unit) {
  if (!given) return std::nullopt;
  if (given->value >= range.least && given->value <= range.most) return given->value;
  const auto written = [unit](long long value) {
    return *unit == '\0' ? strf("%lld", value) : strf("\"%lld%s\"", value, unit);
  };
  errors.add(given->at,
             strf("%s = %s is out of range; write %s to %s", key, written(given->value).c_str(),
                  written(range.least).c_str(), written(range.most).c_str()));
  return std::nullopt;
}

AppConfig compile_config(const ConfigIr& ir, const ConfigHost& host, ConfigErrors& errors) {
  return Compiler(ir, host, errors).run();
}

}  // namespace membroker::app
