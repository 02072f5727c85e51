#include <spdlog/spdlog.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "server/app/command_line.h"
#include "server/app/config.h"
#include "server/app/daemon.h"
#include "server/app/log.h"
#include "server/broker/translate.h"

namespace {

constexpr std::chrono::seconds kFreeingMax{2};

// For what is left when all is served and stored: freeing memory. gRPC 1.51 then waits for a poll
// of its own, which lasts 10 s where a peer has not read what was written to it.
void end_soon() {
  spdlog::default_logger()->flush();
  std::thread([] {
    std::this_thread::sleep_for(kFreeingMax);
    std::_Exit(membroker::app::kExitOk);
  }).detach();
}

}  // namespace

int main(int argc, char** argv) {
  using namespace membroker::app;  // NOLINT: the program's own
  int exit_code = kExitOk;
  const auto line = read_command_line(argc, argv, exit_code);
  if (!line) return exit_code;

  auto config = load_config(line->config_file, ConfigHost::system());
  if (!config) {
    std::fprintf(stderr, "%s\n", config.error().message().c_str());
    return kExitUsage;
  }
  switch (line->action) {
    case CommandLine::Action::kCheckConfig:
      std::printf("%s: ok\n", line->config_file.c_str());
      return kExitOk;
    case CommandLine::Action::kPrintConfig:
      std::fputs(print_config(*config).c_str(), stdout);
      return kExitOk;
    case CommandLine::Action::kServe: break;
  }

  std::signal(SIGPIPE, SIG_IGN);
  set_up_log(config->log_level, config->log_format);
  auto daemon = Daemon::start(std::move(*config), line->config_file);
  if (!daemon) {
    spdlog::error("start_failed why={}", membroker::broker::log_text(daemon.error().message()));
    return kExitError;
  }
  (*daemon)->run();
  end_soon();
  return kExitOk;
}
