#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace membroker::rpc {

/// One thread that does slow errands one after the other: the changes of admins, which wait for the
/// broker and for the disk. An errand once taken is done, whoever still waits for it.
///
/// Thread-safe.
class Clerk {
 public:
  /// More errands than that are refused.
  static constexpr std::size_t kErrandsMax = 64;

  Clerk() : thread_([this] { work(); }) {}
  ~Clerk();  // does what it has taken

  /// False: too many are waiting already.
  bool take(std::function<void()> errand);

 private:
  void work();

  std::mutex mutex_;  // leaf; guards all below
  std::condition_variable changed_;
  std::deque<std::function<void()>> errands_;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace membroker::rpc
