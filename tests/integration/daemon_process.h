#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tests/kit/comes_true.h"
#include "tests/kit/temporary_folder.h"

/// \file
/// A real membrokerd in a folder of its own. Every wait has a bound.

namespace membroker::testing {

/// Whether the process exists and is no zombie.
bool is_alive(pid_t pid);

/// A program that is started, and killed at the latest with this object. Its standard output and
/// error are appended to a file; its standard input stays open until close_input().
class ChildProcess {
 public:
  ChildProcess(std::vector<std::string> command, const std::string& output_file, uid_t uid = 0);
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  /// After SIGSTOP it has stopped.
  void signal(int number) const;
  void write_line(std::string_view text) const;
  void close_input();
  /// The exit status, 128 + signal for one that was killed, -1 if it has not ended by then (it is
  /// killed then).
  int wait(std::chrono::milliseconds most = kWaitMax);

 private:
  pid_t pid_ = -1;
  int input_ = -1;
};

/// Tenants "a" and "b" over 64 MiB, unless told otherwise.
class DaemonProcess {
 public:
  /// `program`: membrokerd. `config`: TOML below runtime_directory and state_directory; empty: the
  /// default. Starts nothing yet. Test programs get MEMBROKERD from CMake.
  explicit DaemonProcess(std::string program, const std::string& config = "");

  /// Replaces the configuration file; takes effect with the next start.
  void configure(const std::string& config) const;
  /// Starts and waits until both sockets answer; false (see log()) if they do not.
  bool start();
  /// SIGTERM and wait: the exit status.
  int stop();
  void kill9();
  void signal(int number) const { process_->signal(number); }
  /// Waits for an end that something else has caused.
  int wait() { return process_->wait(); }
  bool running() const { return process_ != nullptr && is_alive(process_->pid()); }

  pid_t pid() const { return process_->pid(); }
  std::string path(const std::string& name) const { return folder_.path(name); }
  std::string broker_socket() const { return path("run/broker.sock"); }
  std::string admin_socket() const { return path("run/admin.sock"); }
  /// Of all lives of the daemon.
  std::string log() const;
  /// The log has the text, or gets it in time.
  bool logs(std::string_view text) const;

  static const char* default_config();

 private:
  const std::string program_;
  const TemporaryFolder folder_;
  std::unique_ptr<ChildProcess> process_;
};

}  // namespace membroker::testing
