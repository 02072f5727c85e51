#include "server/broker/event_ring.h"

#include <gtest/gtest.h>

#include <thread>
#include <utility>
#include <vector>

namespace membroker::broker {
namespace {

constexpr std::chrono::milliseconds kAtOnce{0};
constexpr std::chrono::seconds kLong{10};

void add(EventRing& ring, std::uint64_t first, std::uint64_t last) {
  std::vector<BrokerEvent> events;
  for (std::uint64_t number = first; number <= last; ++number) {
    BrokerEvent event;
    event.name = "capacity_set";
    event.bytes = static_cast<Bytes>(number);
    event.sequence = number;
    events.push_back(std::move(event));
  }
  ring.add(std::move(events));
}

std::vector<std::uint64_t> numbers(const EventRing::Batch& batch) {
  std::vector<std::uint64_t> result;
  for (const auto& event : batch.events) result.push_back(event->sequence);
  return result;
}

using Numbers = std::vector<std::uint64_t>;

TEST(EventRing, HandsOutWhatFollowsANumberTheOldestFirst) {
  EventRing ring;
  EXPECT_EQ(ring.last(), 0U);
  EXPECT_TRUE(ring.after(0, 10, kAtOnce).events.empty());
  add(ring, 1, 5);
  EXPECT_EQ(ring.last(), 5U);
  EXPECT_EQ(numbers(ring.after(0, 10, kAtOnce)), (Numbers{1, 2, 3, 4, 5}));
  EXPECT_EQ(numbers(ring.after(3, 10, kAtOnce)), (Numbers{4, 5}));
  EXPECT_EQ(numbers(ring.after(1, 2, kAtOnce)), (Numbers{2, 3}));
  EXPECT_TRUE(ring.after(5, 10, kAtOnce).events.empty());
  const auto batch = ring.after(4, 1, kAtOnce);
  EXPECT_EQ(batch.events.at(0)->bytes, 5);
  EXPECT_GT(batch.events.at(0)->wall_ms, 0);
}

TEST(EventRing, ForgetsTheOldestAtEveryPlaceOfTheRing) {
  EventRing ring;
  const std::uint64_t most = kEventsKeptMax;
  for (std::uint64_t last = 1; last <= 3 * most; ++last) {
    add(ring, last, last);
    const std::uint64_t oldest = last > most ? last - most + 1 : 1;
    ASSERT_EQ(numbers(ring.after(0, 1, kAtOnce)), Numbers{oldest});
    ASSERT_EQ(numbers(ring.after(last - 1, 2, kAtOnce)), Numbers{last});
  }
  EXPECT_EQ(ring.after(0, 10 * most, kAtOnce).events.size(), most);
}

TEST(EventRing, FindsItsWayOverGapsInTheNumbers) {
  EventRing ring;
  add(ring, 1, 2);
  add(ring, 100, 101);
  EXPECT_EQ(numbers(ring.after(2, 10, kAtOnce)), (Numbers{100, 101}));
  EXPECT_EQ(numbers(ring.after(50, 10, kAtOnce)), (Numbers{100, 101}));
}

TEST(EventRing, WhoWaitsIsWokenByAnEventAndByTheEnd) {
  EventRing ring;
  std::thread adder([&] { add(ring, 1, 1); });
  EXPECT_EQ(numbers(ring.after(0, 10, kLong)), Numbers{1});
  adder.join();
  std::thread closer([&] { ring.close(); });
  const auto batch = ring.after(1, 10, kLong);
  closer.join();
  EXPECT_TRUE(batch.events.empty());
  EXPECT_TRUE(batch.closed);
  // What was there before can still be read.
  EXPECT_EQ(numbers(ring.after(0, 10, kLong)), Numbers{1});
}

}  // namespace
}  // namespace membroker::broker
