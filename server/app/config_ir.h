#pragma once

#include <string>
#include <vector>

#include "server/app/config_reader.h"

/// \file
/// A configuration file as it was written: typed, with positions, nothing filled in or looked up.

namespace membroker::app {

struct PolicyIr {
  Given<Bytes> guarantee;
  Given<std::size_t> guarantee_mode;  // index in kGuaranteeModes
  Given<Bytes> limit;
  Given<std::int64_t> weight;
  Given<std::int64_t> priority;
  Given<std::int64_t> priority_max;
  Given<std::size_t> on_overdue;  // index in kOnOverdue
};

struct NamedPolicyIr {
  Position at;
  std::string resource;
  PolicyIr policy;
};

struct TenantIr {
  Position at;
  Given<std::string> path;
  PolicyIr policy;                       // of "ram", and where the others are silent
  std::vector<NamedPolicyIr> resources;  // [tenant.resources.NAME]
  Given<std::vector<Located<NameOrId>>> uids;
  Given<std::vector<Located<NameOrId>>> gids;
};

struct ResourceIr {
  Position at;
  std::string name;
  Given<SizeOrPercent> capacity;
  Given<SizeOrPercent> reserve;
  Given<Bytes> floor_max;
  Given<std::size_t> policy;  // index in kPolicies
};

struct PressureIr {
  Given<bool> enabled;
  Given<std::string> file;
  Given<std::int64_t> high_percent;
  Given<std::int64_t> low_percent;
  Given<SizeOrPercent> step;
  Given<SizeOrPercent> grow;
  Given<SizeOrPercent> floor;
  Given<Millis> interval;
  Given<Millis> hold;
};

struct ConfigIr {
  Given<std::string> runtime_directory;
  Given<std::string> state_directory;
  Given<std::size_t> log_level;   // index in kLogLevels
  Given<std::size_t> log_format;  // index in kLogFormats
  Given<std::string> socket_mode;
  Given<bool> allow_unwatched;
  Given<std::string> admin_mode;
  Given<std::vector<Located<NameOrId>>> admin_uids;
  Given<std::vector<Located<NameOrId>>> admin_gids;
  Given<Millis> heartbeat_interval;
  Given<Millis> session_ttl;
  Given<Millis> suspect_grace;
  Given<Millis> recover_window;
  Given<Millis> shutdown_grace;
  Given<std::int64_t> sessions_max;
  Given<std::int64_t> sessions_per_uid_max;
  PressureIr pressure;
  std::vector<ResourceIr> resources;
  std::vector<TenantIr> tenants;
};

inline constexpr std::array<std::string_view, 2> kPolicies = {"fair", "greedy"};
inline constexpr std::array<std::string_view, 2> kGuaranteeModes = {"lent", "reserved"};
inline constexpr std::array<std::string_view, 2> kOnOverdue = {"warn", "fence"};
inline constexpr std::array<std::string_view, 5> kLogLevels = {"trace", "debug", "info", "warn",
                                                               "error"};
inline constexpr std::array<std::string_view, 2> kLogFormats = {"logfmt", "json"};

ConfigIr read_config(const toml::table& root, ConfigErrors& errors);

}  // namespace membroker::app
