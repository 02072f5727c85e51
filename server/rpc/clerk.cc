#include "server/rpc/clerk.h"

#include <utility>

namespace membroker::rpc {

Clerk::~Clerk() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

bool Clerk::take(std::function<void()> errand) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || errands_.size() >= kErrandsMax) return false;
    errands_.push_back(std::move(errand));
  }
  changed_.notify_all();
  return true;
}

void Clerk::work() {
  for (;;) {
    std::function<void()> errand;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !errands_.empty(); });
      if (errands_.empty()) return;
      errand = std::move(errands_.front());
      errands_.pop_front();
    }
    errand();
  }
}

}  // namespace membroker::rpc
