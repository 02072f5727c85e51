#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "membroker/error.h"
#include "server/broker/broker_config.h"
#include "server/broker/capacity.h"
#include "server/broker/pressure.h"

/// \file
/// The configuration file: TOML, read into a form with positions (config_ir.h), then compiled and
/// checked as a whole before anything uses it. Nothing is taken from a file with an error in it.
///
/// Thread-safe, as far as the functions of ConfigHost are.

namespace membroker::app {

enum class LogFormat { kLogfmt, kJson };

struct AppConfig {
  broker::BrokerConfig broker;
  std::string runtime_directory = "/run/membroker";    // sockets and ledger
  std::string state_directory = "/var/lib/membroker";  // what survives a reboot
  std::string log_level = "info";                      // a name that spdlog knows
  LogFormat log_format = LogFormat::kLogfmt;
  unsigned socket_mode = 0660;
  unsigned admin_socket_mode = 0600;
  bool allow_unwatched = false;
  std::vector<uid_t> admin_uids = {0};  // besides the daemon's own
  std::vector<gid_t> admin_gids;
  broker::PressureConfig pressure;

  std::string broker_socket() const { return runtime_directory + "/broker.sock"; }
  std::string admin_socket() const { return runtime_directory + "/admin.sock"; }
  std::string ledger_file() const { return runtime_directory + "/ledger"; }
};

/// What a configuration asks of the machine; replaced in tests.
struct ConfigHost {
  std::function<Result<broker::MemoryCapacity>()> memory;
  std::function<std::optional<uid_t>(const std::string& user)> uid_of;
  std::function<std::optional<gid_t>(const std::string& group)> gid_of;

  static ConfigHost system();
};

/// kInvalid: the message has one line per error, "file:line:column: what is wrong and what to
/// write", in the order of the file.
Result<AppConfig> parse_config(std::string_view text, const std::string& file_name,
                               const ConfigHost& host);
Result<AppConfig> load_config(const std::string& path, const ConfigHost& host);

/// The whole of it as TOML, defaults written out; parses to the same again.
std::string print_config(const AppConfig& config);

}  // namespace membroker::app
