#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "server/broker/broker_config.h"
#include "shared/bytes.h"
#include "shared/ids.h"

namespace membroker::broker {

/// Something noteworthy, as admins watch it; named as in the log.
struct BrokerEvent {
  const char* name = "";  // a literal
  std::string tenant = {};
  SessionId session = {};
  std::string resource = {};
  Bytes bytes = 0;
  std::string detail = {};     // key=value, one line
  std::uint64_t sequence = 0;  // set by the broker: 1 is the first of its life
  std::int64_t wall_ms = 0;    // set by the ring: since 1970
};

/// The last events of the broker, for watchers that each read at their own pace.
///
/// Thread-safe. add() is for one thread; it waits for nobody but watchers that copy pointers: the
/// leaf lock is never held over an allocation.
class EventRing {
 public:
  struct Batch {
    std::vector<std::shared_ptr<const BrokerEvent>> events;  // the oldest first
    bool closed = false;                                     // nothing comes any more
  };

  EventRing() { events_.reserve(kEventsKeptMax); }

  /// Their sequence numbers rise, over all calls. Forgets the oldest beyond kEventsKeptMax.
  /// Sets wall_ms to now.
  void add(std::vector<BrokerEvent> events);
  /// Wakes all who wait.
  void close();

  /// Up to `most` kept ones that follow `sequence`; if there is none waits for one, or for close(),
  /// as long as `wait`.
  Batch after(std::uint64_t sequence, std::size_t most, std::chrono::milliseconds wait);
  /// The number of the last event, 0 if there was none.
  std::uint64_t last() const;

 private:
  mutable std::mutex mutex_;  // leaf; guards all below
  std::condition_variable changed_;
  std::vector<std::shared_ptr<const BrokerEvent>> events_;  // full: the oldest is at next_
  std::size_t next_ = 0;                                    // where the next one is put
  std::uint64_t last_ = 0;
  bool closed_ = false;
};

}  // namespace membroker::broker
