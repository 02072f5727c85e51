// Waits of the library's own choosing end by themselves, by a clock that the test moves.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "membroker/memory_pool.h"
#include "membroker/testing.h"
#include "shared/bytes.h"
#include "tests/kit/comes_true.h"

namespace membroker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::comes_true;
using testing::FakeClock;
using ::testing::HasSubstr;
using testing::ScriptedDaemon;

/// A daemon that does not answer, and a clock that stands still.
class BoundsTest : public ::testing::Test {
 protected:
  BoundsTest() { daemon_.hold_requests(true); }

  /// The call still waits, although the library has looked at the clock since it was moved.
  template <class Future>
  bool waits(Future& future) {
    return future.wait_for(milliseconds(30)) == std::future_status::timeout;
  }

  /// The call has ended. If not it is ended here, so that the test fails and does not hang.
  template <class Future>
  bool ends(Future& future) {
    if (future.wait_for(seconds(10)) == std::future_status::ready) return true;
    clock_.advance(std::chrono::hours(1));
    return false;
  }

  FakeClock clock_;
  ScriptedDaemon daemon_{{.capacity_bytes = 64 * kMiB, .clock = &clock_}};
};

TEST_F(BoundsTest, APageIsWaitedForFiveSeconds) {
  auto reservation = MemoryConsumer("pages").register_with(daemon_.pool());
  MemoryConsumer consumer = reservation.consumer();
  auto page = std::async(std::launch::async, [&] { return consumer.allocate_page(kMiB); });
  ASSERT_TRUE(comes_true([&] { return daemon_.held_requests().size() == 1; }));
  // Real time runs between the call and its first look at this clock; the rest does not.
  EXPECT_LE(daemon_.held_requests().front().wait_ms, 5'000);
  EXPECT_GT(daemon_.held_requests().front().wait_ms, 4'000);
  clock_.advance(milliseconds(4'000));
  EXPECT_TRUE(waits(page));
  clock_.advance(milliseconds(1'000));
  ASSERT_TRUE(ends(page));
  const auto refused = page.get();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kResourcesExhausted);
  EXPECT_THAT(refused.error().message(),
              HasSubstr("Unable to acquire 1048576 bytes of memory, got 0"));
  EXPECT_EQ(refused.error().denial()->reason, "deadline");
  EXPECT_EQ(daemon_.cancelled(), 1);
  EXPECT_EQ(consumer.used(), 0);
}

TEST_F(BoundsTest, AnArrayIsWaitedForAsAPageIs) {
  auto reservation = MemoryConsumer("arrays").register_with(daemon_.pool());
  MemoryConsumer consumer = reservation.consumer();
  auto array = std::async(std::launch::async, [&] { return consumer.allocate_array(1'000); });
  ASSERT_TRUE(comes_true([&] { return daemon_.held_requests().size() == 1; }));
  EXPECT_EQ(daemon_.held_requests().front().min_bytes, 8'000);
  clock_.advance(milliseconds(5'000));
  ASSERT_TRUE(ends(array));
  EXPECT_FALSE(array.get());
}

TEST_F(BoundsTest, APageThatComesInTimeIsHad) {
  auto reservation = MemoryConsumer("pages").register_with(daemon_.pool());
  MemoryConsumer consumer = reservation.consumer();
  auto page = std::async(std::launch::async, [&] { return consumer.allocate_page(kMiB); });
  ASSERT_TRUE(comes_true([&] { return daemon_.held_requests().size() == 1; }));
  clock_.advance(milliseconds(3'900));
  EXPECT_EQ(daemon_.answer_held(), 1);
  const auto had = page.get();
  ASSERT_TRUE(had);
  EXPECT_EQ(had->bytes, kMiB);
  EXPECT_TRUE(consumer.free_page(*had));
}

TEST_F(BoundsTest, TryGrowIsWaitedForFiftyMilliseconds) {
  auto reservation = MemoryConsumer("r").register_with(daemon_.pool());
  auto grown = std::async(std::launch::async, [&] { return reservation.try_grow(kMiB); });
  ASSERT_TRUE(comes_true([&] { return daemon_.held_requests().size() == 1; }));
  clock_.advance(milliseconds(49));
  EXPECT_TRUE(waits(grown));
  clock_.advance(milliseconds(1));
  ASSERT_TRUE(ends(grown));
  EXPECT_FALSE(grown.get());
  EXPECT_EQ(daemon_.held_requests().size(), 1U) << "the request stands";
}

// A consumer that is asked to spill and says nothing: the asker's wait ends all the same.
TEST_F(BoundsTest, ACallBackThatDoesNotReturnHoldsNobodyUp) {
  std::promise<void> release;
  MemoryReservation stuck;
  std::atomic<bool> called{false};
  stuck = MemoryConsumer("stuck")
              .with_spill([&, released = release.get_future().share()](const SpillRequest&) {
                called.store(true);
                released.wait();
                return std::int64_t{0};
              })
              .register_with(daemon_.pool());
  daemon_.hold_requests(false);
  ASSERT_TRUE(stuck.try_grow(64 * kMiB));
  auto asker = MemoryConsumer("asker").register_with(daemon_.pool());
  auto got = std::async(std::launch::async,
                        [&] { return asker.acquire(kMiB, kMiB, milliseconds(2'000)); });
  ASSERT_TRUE(comes_true([&] { return called.load(); }));
  clock_.advance(milliseconds(2'000));
  EXPECT_TRUE(ends(got));
  EXPECT_FALSE(asker.try_grow(kMiB));
  release.set_value();
  EXPECT_FALSE(got.get());
}

// A cooperative consumer that does not look at its flag is given half of the asker's time.
TEST_F(BoundsTest, ACooperativeConsumerIsWaitedForHalfOfTheTime) {
  daemon_.hold_requests(false);
  auto deaf = MemoryConsumer("deaf").with_can_spill(true).register_with(daemon_.pool());
  ASSERT_TRUE(deaf.try_grow(64 * kMiB));
  auto asker = MemoryConsumer("asker").register_with(daemon_.pool());
  auto got = std::async(std::launch::async,
                        [&] { return asker.acquire(kMiB, kMiB, milliseconds(60'000)); });
  ASSERT_TRUE(comes_true([&] { return deaf.spill_requested() == kMiB; }));
  clock_.advance(milliseconds(29'000));
  EXPECT_TRUE(waits(got));
  clock_.advance(milliseconds(1'000));
  ASSERT_TRUE(ends(got));
  EXPECT_FALSE(got.get());
  EXPECT_EQ(deaf.spill_requested(), 0);
}

}  // namespace
}  // namespace membroker
