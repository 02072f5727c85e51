#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/integration/daemon_process.h"

/// \file
/// external_sort as a process, and what a process and a daemon hold, watched.

namespace membroker::e2e {

inline constexpr std::chrono::minutes kJobWait{3};

/// RssAnon + RssShmem in bytes; 0 when the process has ended.
std::int64_t own_memory(pid_t pid);

class SortJob {
 public:
  /// `arguments` after INPUT and --output. Output, log and stats are files in `folder` named after
  /// `name`.
  SortJob(std::string folder, std::string name, std::string input,
          std::vector<std::string> arguments);

  /// Words put before the program, e.g. another namespace.
  void run_under(std::vector<std::string> prefix) { prefix_ = std::move(prefix); }
  void start(uid_t uid = 0);
  bool running() const { return process_ != nullptr && testing::is_alive(process_->pid()); }
  /// Its exit status; -1 if it had to be killed after kJobWait.
  int wait();

  pid_t pid() const { return process_->pid(); }
  const std::string& input() const { return input_; }
  std::string output() const { return folder_ + "/" + name_ + ".out"; }
  std::string log() const;
  /// A number of --stats; -1 if it is not there.
  std::int64_t stat(const std::string& key) const;

 private:
  std::string file(const char* ending) const { return folder_ + "/" + name_ + ending; }

  std::string folder_;
  std::string name_;
  std::string input_;
  std::vector<std::string> arguments_;
  std::vector<std::string> prefix_;
  std::unique_ptr<testing::ChildProcess> process_;
};

/// Looks at a daemon every 20 ms, from a thread of its own, and keeps what must never be seen.
class BudgetWatch {
 public:
  /// Begins at once; processes whose memory is to be sampled are added as they start.
  explicit BudgetWatch(const std::string& admin_socket);
  ~BudgetWatch();

  void add(pid_t pid);
  void stop();

  std::int64_t samples() const { return samples_; }
  /// Of a tenant, in the last sample.
  std::int64_t held(const std::string& tenant) const;
  std::int64_t peak_sum() const { return peak_sum_; }
  std::int64_t peak_debt() const { return peak_debt_; }
  /// Of the first process added, the second…
  std::int64_t peak_memory(std::size_t index) const { return memory_[index]; }

 private:
  static constexpr std::size_t kProcessesMax = 4;

  void run();
  struct Held;

  std::string admin_socket_;
  std::unique_ptr<Held> held_;
  std::atomic<pid_t> pids_[kProcessesMax] = {};
  std::atomic<std::int64_t> memory_[kProcessesMax] = {};
  std::atomic<std::int64_t> samples_{0};
  std::atomic<std::int64_t> peak_sum_{0};
  std::atomic<std::int64_t> peak_debt_{0};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace membroker::e2e
