#pragma once

#include <memory>
#include <string>

#include "membroker/error.h"
#include "server/app/config.h"

namespace membroker::app {

/// The running daemon: state store, ledger, broker and admin service put together, signals, and
/// what systemd wants to hear.
///
/// Thread: main's.
class Daemon {
 public:
  /// Starts everything; READY has been said when this returns. `config_file` is read again on HUP.
  static Result<std::unique_ptr<Daemon>> start(AppConfig config, std::string config_file);
  ~Daemon();

  /// Until TERM or INT; then shuts down, within the configured grace also with sessions open.
  void run();

 private:
  class Impl;
  explicit Daemon(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace membroker::app
