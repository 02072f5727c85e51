#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "server/broker/usage_fold.h"
#include "server/broker/usage_store.h"

namespace membroker::broker {

/// A thread that looks at the published snapshot every second and writes each minute to the store
/// when it is over; at the end, what there is of the last one. A minute that cannot be written is
/// lost: one warning says so, and one line when it works again.
///
/// Thread-safe. Its own thread is the only one that waits for the disk.
class UsageRecorder {
 public:
  using Look = std::function<std::shared_ptr<const Snapshot>()>;
  struct Options {
    std::chrono::milliseconds interval{1'000};
    std::function<std::int64_t()> wall_ms;  // since 1970; none: the system's clock
  };

  /// `store`, and what `look` uses, outlive it.
  UsageRecorder(UsageStore& store, Look look, Options options);
  UsageRecorder(UsageStore& store, Look look) : UsageRecorder(store, std::move(look), Options{}) {}
  UsageRecorder(const UsageRecorder&) = delete;
  UsageRecorder& operator=(const UsageRecorder&) = delete;
  ~UsageRecorder();  // after a last look

 private:
  void run();
  void look();
  void write(const UsageMinute& minute);

  UsageStore& store_;
  const Look look_;
  const Options options_;
  UsageFold fold_;                  // its thread's own, and the next one
  std::uint64_t minutes_lost_ = 0;  // since the last one that was written
  std::mutex mutex_;                // leaf; guards stopping_
  std::condition_variable changed_;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace membroker::broker
