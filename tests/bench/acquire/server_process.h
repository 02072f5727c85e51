#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "membroker/error.h"

/// \file
/// A server of the bench in a process of its own.

namespace membroker::bench {

class ServerProcess {
 public:
  /// Starts the program of this name from the folder of this program, and waits until somebody
  /// listens on `socket`.
  static Result<std::unique_ptr<ServerProcess>> start(const std::string& program,
                                                      const std::vector<std::string>& arguments,
                                                      const std::string& socket);
  explicit ServerProcess(pid_t pid) : pid_(pid) {}
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;
  ~ServerProcess();  // SIGTERM; SIGKILL after a while

  std::int64_t anonymous_bytes() const;  // RssAnon

 private:
  pid_t pid_;
};

}  // namespace membroker::bench
