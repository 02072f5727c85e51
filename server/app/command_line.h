#pragma once

#include <optional>
#include <string>

namespace membroker::app {

struct CommandLine {
  enum class Action { kServe, kCheckConfig, kPrintConfig };

  Action action = Action::kServe;
  std::string config_file = "/etc/membroker/membrokerd.toml";
};

/// Exit codes of membrokerd.
inline constexpr int kExitOk = 0;
inline constexpr int kExitError = 1;
inline constexpr int kExitUsage = 2;  // or configuration

/// Reads argv. Nothing: there is nothing more to do (--help, --version, or wrong usage, said on
/// stderr), and `exit_code` is set.
std::optional<CommandLine> read_command_line(int argc, char** argv, int& exit_code);

}  // namespace membroker::app
