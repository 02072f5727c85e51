#pragma once

#include <functional>
#include <memory>

#include "membroker/error.h"
#include "server/broker/peer.h"

/// \file
/// Tells when client processes have really ended, by pidfd. The kernel makes a pidfd readable when
/// the process's memory is given back, also where a forked child keeps its sockets open.
///
/// Thread-safe; `on_exit` runs on the watcher's thread and must only post.

namespace membroker::broker {

class ProcessWatch {
 public:
  using OnExit = std::function<void(const Peer&)>;

  explicit ProcessWatch(OnExit on_exit);
  ~ProcessWatch();  // stops the thread

  /// Watches the process; asked again while it is watched, does nothing. on_exit runs once, then
  /// the process is forgotten: asked for it after that, on_exit runs again.
  /// kNotFound if the process is no more, also after pid reuse.
  Status watch(const Peer& peer);
  /// on_exit runs no more. Idempotent; not from on_exit.
  void stop();
  /// Watches it no more. on_exit may run still, if the process ends just now.
  void forget(const Peer& peer);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace membroker::broker
