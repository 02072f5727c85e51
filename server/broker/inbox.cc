#include "server/broker/inbox.h"

#include <utility>

namespace membroker::broker {

bool Inbox::post(Job job) {
  const std::lock_guard lock(mutex_);
  if (closed_) return false;
  jobs_.push_back(std::move(job));
  if (!std::exchange(woken_, true)) wake_();
  return true;
}

std::vector<Inbox::Job> Inbox::take() {
  const std::lock_guard lock(mutex_);
  woken_ = false;
  return std::exchange(jobs_, {});
}

void Inbox::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
}

}  // namespace membroker::broker
