#include "server/broker/event_ring.h"

#include <algorithm>
#include <utility>

#include "shared/wall_time.h"

namespace membroker::broker {

void EventRing::add(std::vector<BrokerEvent> events) {
  if (events.empty()) return;
  const std::int64_t wall_ms = wall_now_ms();
  std::vector<std::shared_ptr<const BrokerEvent>> fresh;
  fresh.reserve(events.size());
  for (BrokerEvent& event : events) {
    event.wall_ms = wall_ms;
    fresh.push_back(std::make_shared<const BrokerEvent>(std::move(event)));
  }
  {
    const std::lock_guard lock(mutex_);
    for (auto& event : fresh) {
      last_ = event->sequence;
      if (events_.size() < kEventsKeptMax) {
        events_.push_back(std::move(event));
      } else {
        events_[next_].swap(event);  // what is forgotten is freed after the lock
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
  Batch batch;
  batch.events.reserve(std::min(most, kEventsKeptMax));
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, wait, [&] { return closed_ || last_ > sequence; });
  batch.closed = closed_;
  const std::size_t size = events_.size();
  const std::size_t oldest = size < kEventsKeptMax ? 0 : next_;
  // By halves: the numbers rise, with gaps where the broker had to drop some.
  std::size_t begin = 0;
  for (std::size_t end = size; begin < end;) {
    const std::size_t middle = begin + (end - begin) / 2;
    if (events_[(oldest + middle) % size]->sequence > sequence) {
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
