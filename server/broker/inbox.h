#pragma once

#include <functional>
#include <mutex>
#include <vector>

#include "shared/time.h"

namespace membroker::broker {

class Broker;

/// How other threads reach the broker's: jobs that it runs one after the other, in the order in
/// which they were posted.
///
/// Thread-safe.
class Inbox {
 public:
  using Job = std::function<void(Broker&, Instant now)>;

  /// `wake` makes the broker's thread call take(); it is called at most once between two takes. It
  /// runs with the inbox locked, so that none can begin after close(): it must only signal.
  explicit Inbox(std::function<void()> wake) : wake_(std::move(wake)) {}

  /// False once closed: the job will never run.
  bool post(Job job);
  /// What was posted since the last call.
  std::vector<Job> take();
  void close();

 private:
  const std::function<void()> wake_;
  std::mutex mutex_;  // leaf; guards all below
  std::vector<Job> jobs_;
  bool woken_ = false;
  bool closed_ = false;
};

}  // namespace membroker::broker
