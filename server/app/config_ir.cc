#include "server/app/config_ir.h"

#include <array>

namespace membroker::app {
namespace {

PolicyIr read_policy(TableReader& reader) {
  PolicyIr policy;
  policy.guarantee = reader.size("guarantee");
  policy.guarantee_mode = reader.choice("guarantee_mode", kGuaranteeModes);
  policy.limit = reader.size("limit");
  policy.weight = reader.integer("weight");
  policy.priority = reader.integer("priority");
  policy.priority_max = reader.integer("priority_max");
  policy.on_overdue = reader.choice("on_overdue", kOnOverdue);
  return policy;
}

TenantIr read_tenant(const toml::table& table, ConfigErrors& errors) {
  TableReader reader(table, "[[tenant]]", errors);
  TenantIr tenant;
  tenant.at = position_of(table.source());
  tenant.path = reader.text("path");
  tenant.policy = read_policy(reader);
  tenant.uids = reader.names_or_ids("uids");
  tenant.gids = reader.names_or_ids("gids");
  if (const toml::table* resources = reader.table("resources")) {
    for (const auto& [key, node] : *resources) {
      const std::string name(key.str());
      const toml::table* below = node.as_table();
      if (below == nullptr) {
        errors.add(position_of(node.source()),
                   "resources in [[tenant]] holds tables: write [tenant.resources." + name + "]");
        continue;
      }
      TableReader policy(*below, "[tenant.resources." + name + "]", errors);
      tenant.resources.push_back({position_of(key.source()), name, read_policy(policy)});
      policy.finish();
    }
  }
  reader.finish();
  return tenant;
}

void read_resources(const toml::table& table, ConfigIr& ir, ConfigErrors& errors) {
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    const toml::table* below = node.as_table();
    if (below == nullptr) {
      errors.add(position_of(node.source()), "write [resources." + name + "] with capacity below");
      continue;
    }
    TableReader reader(*below, "[resources." + name + "]", errors);
    ResourceIr resource;
    resource.at = position_of(key.source());
    resource.name = name;
    resource.capacity = reader.size_or_percent("capacity");
    resource.reserve = reader.size_or_percent("reserve");
    resource.floor_max = reader.size("floor_max");
    resource.policy = reader.choice("policy", kPolicies);
    reader.finish();
    ir.resources.push_back(std::move(resource));
  }
}

PressureIr read_pressure(TableReader& reader) {
  PressureIr pressure;
  pressure.enabled = reader.boolean("enabled");
  pressure.file = reader.text("file");
  pressure.high_percent = reader.integer("high_percent");
  pressure.low_percent = reader.integer("low_percent");
  pressure.step = reader.size_or_percent("step");
  pressure.grow = reader.size_or_percent("grow");
  pressure.floor = reader.size_or_percent("floor");
  pressure.interval = reader.duration("interval");
  pressure.hold = reader.duration("hold");
  return pressure;
}

// Reads a table of the root, if it is there, with its own reader.
template <class Read>
void section(TableReader& root, const char* key, ConfigErrors& errors, Read read) {
  const toml::table* table = root.table(key);
  if (table == nullptr) return;
  TableReader reader(*table, "[" + std::string(key) + "]", errors);
  read(reader);
  reader.finish();
}

}  // namespace

ConfigIr read_config(const toml::table& table, ConfigErrors& errors) {
  ConfigIr ir;
  TableReader root(table, "the file", errors);
  ir.runtime_directory = root.text("runtime_directory");
  ir.state_directory = root.text("state_directory");
  section(root, "log", errors, [&](TableReader& log) {
    ir.log_level = log.choice("level", kLogLevels);
    ir.log_format = log.choice("format", kLogFormats);
  });
  section(root, "socket", errors, [&](TableReader& socket) {
    ir.socket_mode = socket.text("mode");
    ir.allow_unwatched = socket.boolean("allow_unwatched");
  });
  section(root, "admin", errors, [&](TableReader& admin) {
    ir.admin_mode = admin.text("mode");
    ir.admin_uids = admin.names_or_ids("uids");
    ir.admin_gids = admin.names_or_ids("gids");
  });
  section(root, "times", errors, [&](TableReader& times) {
    ir.heartbeat_interval = times.duration("heartbeat_interval");
    ir.session_ttl = times.duration("session_ttl");
    ir.suspect_grace = times.duration("suspect_grace");
    ir.recover_window = times.duration("recover_window");
    ir.shutdown_grace = times.duration("shutdown_grace");
  });
  section(root, "limits", errors, [&](TableReader& limits) {
    ir.sessions_max = limits.integer("sessions_max");
    ir.sessions_per_uid_max = limits.integer("sessions_per_uid_max");
  });
  section(root, "pressure", errors,
          [&](TableReader& pressure) { ir.pressure = read_pressure(pressure); });
  if (const toml::table* resources = root.table("resources")) {
    read_resources(*resources, ir, errors);
  }
  for (const toml::table* tenant : root.tables("tenant")) {
    ir.tenants.push_back(read_tenant(*tenant, errors));
  }
  root.finish();
  return ir;
}

}  // namespace membroker::app
