#include "server/broker/event_ring.h"

#include <algorithm>
#include <utility>

namespace membroker::broker {
namespace {

std::int64_t wall_now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

void EventRing::add(std::vector<BrokerEvent> events) {
  if (events.empty()) return;
  const std::int64_t wall_ms = wall_now_ms();
  {
    const std::lock_guard lock(mutex_);
    for (BrokerEvent& event : events) {
      last_ = event.sequence;
      event.wall_ms = wall_ms;
      if (events_.size() < kEventsKeptMax) {
        events_.push_back(std::move(event));
      } else {
        events_[next_] = std::move(event);
      }
      next_ = (next_ + 1) % kEventsKeptMax;
    }
  }
  changed_.notify_all();
}

void EventRing::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
}

EventRing::Batch EventRing::after(std::uint64_t sequence, std::size_t most,
                                  std::chrono::milliseconds wait) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, wait, [&] { return closed_ || last_ > sequence; });
  Batch batch;
  batch.closed = closed_;
  const std::size_t size = events_.size();
  const std::size_t oldest = size < kEventsKeptMax ? 0 : next_;
  // By halves: the numbers rise, with gaps where the broker had to drop some.
  std::size_t begin = 0;
  for (std::size_t end = size; begin < end;) {
    const std::size_t middle = begin + (end - begin) / 2;
    if (events_[(oldest + middle) % size].sequence > sequence) {
      end = middle;
    } else {
      begin = middle + 1;
    }
  }
  for (std::size_t i = begin; i < size && batch.events.size() < most; ++i) {
    batch.events.push_back(events_[(oldest + i) % size]);
  }
  return batch;
}

std::uint64_t EventRing::last() const {
  const std::lock_guard lock(mutex_);
  return last_;
}

}  // namespace membroker::broker
