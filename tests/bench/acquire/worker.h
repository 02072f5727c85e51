#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "membroker/error.h"
#include "shared/fd.h"

/// \file
/// A client in a process of its own. In one process with another completion queue gRPC's epoll
/// engine lets whichever thread polls read every socket and wake the one concerned: each side would
/// pay for the other's thread.

namespace membroker::bench {

struct WorkerRequest {
  enum class Operation : std::int32_t { kSample, kGiveAll, kHeld };

  Operation operation = Operation::kSample;
  std::uint32_t count = 1;  // samples
  std::int64_t bytes = 0;   // of each acquire
};

/// Answers a request: microseconds of each sample, or the one number asked for.
using WorkerFunction = std::function<Result<std::vector<double>>(const WorkerRequest&)>;

class Worker {
 public:
  /// Forks; `make` runs in the child, where alone gRPC may be used, and says what answers requests.
  static Result<std::unique_ptr<Worker>> start(const std::function<Result<WorkerFunction>()>& make);
  Worker(pid_t pid, UniqueFd channel) : pid_(pid), channel_(std::move(channel)) {}
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker();

  Result<std::vector<double>> ask(const WorkerRequest& request);
  /// Asks for `count` samples and appends them.
  Status sample(std::uint32_t count, std::int64_t bytes, std::vector<double>& samples);

 private:
  Result<std::vector<double>> answer();

  pid_t pid_;
  UniqueFd channel_;
};

}  // namespace membroker::bench
