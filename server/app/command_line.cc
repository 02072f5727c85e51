#include "server/app/command_line.h"

#include <CLI/CLI.hpp>
#include <string>

namespace membroker::app {

std::optional<CommandLine> read_command_line(int argc, char** argv, int& exit_code) {
  CommandLine line;
  bool check = false;
  bool print = false;
  CLI::App app{"membrokerd lends this host's memory to its data programs.", "membrokerd"};
  app.set_version_flag("--version", "membrokerd " MEMBROKER_VERSION);
  app.add_option("-c,--config", line.config_file, "The configuration file")->capture_default_str();
  auto* const check_flag =
      app.add_flag("--check-config", check, "Check the configuration, say what is wrong, and exit");
  app.add_flag("--print-config", print, "Print the configuration, defaults filled in, and exit")
      ->excludes(check_flag);
  app.footer(
      "Signals: TERM and INT end it, sessions keep what they hold; HUP reads tenants, capacities "
      "and [pressure] again.\nExit codes: 0 ok, 1 error, 2 usage or configuration.");
  app.failure_message([](const CLI::App*, const CLI::Error& error) {
    return std::string("membrokerd: ") + error.what() + "\nRun with --help for more information.\n";
  });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    exit_code = app.exit(error) == 0 ? kExitOk : kExitUsage;
    return std::nullopt;
  }
  if (check) line.action = CommandLine::Action::kCheckConfig;
  if (print) line.action = CommandLine::Action::kPrintConfig;
  return line;
}

}  // namespace membroker::app
