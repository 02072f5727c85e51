#include "server/broker/pressure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/kit/temporary_folder.h"

namespace membroker::broker {
namespace {

using ::testing::HasSubstr;

PressureConfig config() {
  PressureConfig made;
  made.enabled = true;
  made.step = 20 * kMiB;
  made.grow = 10 * kMiB;
  made.floor = 500 * kMiB;
  return made;
}

// A machine of which 1000 MiB are to be lent, one sample a second.
class Machine {
 public:
  explicit Machine(const PressureConfig& pressure = config()) : control_(pressure) { second(0); }

  /// What may be lent after a second of which some task stalled so many percent.
  Bytes second(std::int64_t stalled_percent) {
    now_.ms += 1'000;
    stalled_us_ += stalled_percent * 10'000;
    const Bytes withheld = control_.take({now_, stalled_us_, capacity, held, guaranteed});
    return (capacity - withheld) / kMiB;
  }
  Bytes seconds(int count, std::int64_t stalled_percent) {
    for (int i = 1; i < count; ++i) second(stalled_percent);
    return second(stalled_percent);
  }

  void configure(const PressureConfig& changed) { control_.configure(changed); }

  Bytes capacity = 1'000 * kMiB;
  Bytes held = 1'000 * kMiB;
  Bytes guaranteed = 0;
  std::int64_t stalled_us_ = 60'000'000;
  Instant now_{5'000};

 private:
  PressureControl control_;
};

TEST(PressureControl, LendsEverythingWhileNothingStalls) {
  Machine machine;
  EXPECT_EQ(machine.seconds(100, 0), 1'000);
}

TEST(PressureControl, LendsAStepLessByEachStalledIntervalDownToTheFloor) {
  Machine machine;
  EXPECT_EQ(machine.second(21), 980);
  EXPECT_EQ(machine.second(100), 960);
  EXPECT_EQ(machine.seconds(23, 50), 500);
  EXPECT_EQ(machine.seconds(10, 50), 500);
}

TEST(PressureControl, WhatIsFreeIsWithheldAtOnce) {
  Machine machine;
  machine.held = 700 * kMiB;
  EXPECT_EQ(machine.second(40), 680);
  machine.held = 690 * kMiB;  // not yet given back: nothing is free
  EXPECT_EQ(machine.second(40), 660);
}

TEST(PressureControl, BetweenLowAndHighNothingMoves) {
  Machine machine;
  EXPECT_EQ(machine.seconds(100, 20), 1'000);
  EXPECT_EQ(machine.seconds(5, 30), 900);
  EXPECT_EQ(machine.seconds(100, 20), 900);
  EXPECT_EQ(machine.seconds(100, 5), 900);
}

TEST(PressureControl, GrowsBackSlowlyAfterACalmWhile) {
  Machine machine;
  EXPECT_EQ(machine.seconds(5, 30), 900);
  EXPECT_EQ(machine.seconds(30, 4), 900);  // the first of them began the calm
  EXPECT_EQ(machine.second(4), 910);
  EXPECT_EQ(machine.second(4), 920);
  EXPECT_EQ(machine.second(5), 920);  // calm no more: it begins anew
  EXPECT_EQ(machine.seconds(30, 0), 920);
  EXPECT_EQ(machine.seconds(8, 0), 1'000);
  EXPECT_EQ(machine.seconds(50, 0), 1'000);
}

// An oscillation needs that giving back makes it stall again at once: then there are at least
// `hold` between two cuts.
TEST(PressureControl, DoesNotSwingFasterThanItHolds) {
  Machine machine;
  machine.seconds(5, 30);
  int cuts = 0;
  Bytes before = 900;
  for (int second = 0; second < 600; ++second) {
    const Bytes lent = machine.second(before > 900 ? 30 : 0);
    cuts += lent < before ? 1 : 0;
    before = lent;
  }
  EXPECT_GE(cuts, 5);
  EXPECT_LE(cuts, 600 / 30);
}

TEST(PressureControl, GuaranteesAreNeverWithheld) {
  Machine machine;
  machine.guaranteed = 800 * kMiB;
  EXPECT_EQ(machine.seconds(100, 90), 800);
  machine.guaranteed = 900 * kMiB;  // made by an admin meanwhile
  EXPECT_EQ(machine.second(10), 900);
}

TEST(PressureControl, FollowsACapacityThatAnAdminChanges) {
  Machine machine;
  EXPECT_EQ(machine.seconds(5, 30), 900);
  machine.capacity = 550 * kMiB;
  EXPECT_EQ(machine.second(10), 500);
  machine.capacity = 400 * kMiB;  // below the floor: all of it is lent
  EXPECT_EQ(machine.seconds(5, 90), 400);
}

TEST(PressureControl, ATotalThatWentBackIsABeginning) {
  Machine machine;
  EXPECT_EQ(machine.second(30), 980);
  machine.stalled_us_ = 0;
  EXPECT_EQ(machine.second(90), 980);
  EXPECT_EQ(machine.second(30), 960);
}

TEST(PressureControl, TheTotalOfAnotherFileIsABeginning) {
  Machine machine;
  EXPECT_EQ(machine.second(30), 980);
  PressureConfig other = config();
  other.file = "/sys/fs/cgroup/memory.pressure";
  machine.configure(other);
  machine.stalled_us_ += 1'000'000'000;
  EXPECT_EQ(machine.second(0), 980);
  EXPECT_EQ(machine.second(30), 960);
}

TEST(PressureControl, ALateSampleCountsByTheTimeItCovers) {
  Machine machine;
  machine.now_.ms += 9'000;
  EXPECT_EQ(machine.second(150), 1'000);  // 1.5 s in 10
  machine.now_.ms -= 1'000;               // the same instant twice
  EXPECT_EQ(machine.second(100), 1'000);
}

TEST(PressureFile, TheTotalOfSomeIsRead) {
  EXPECT_EQ(parse_stalled("some avg10=0.12 avg60=0.03 avg300=0.00 total=23061\n"
                          "full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n")
                .value(),
            23'061);
  EXPECT_EQ(parse_stalled("some avg10=0.12 avg60=0.03 avg300=0.00 total=0").value(), 0);
}

TEST(PressureFile, NonsenseIsNamed) {
  for (const char* text : {"", "full avg10=0 total=1\n", "some avg10=0.00\nfull total=3\n",
                           "some total=x\n", "some total=-1\n", "some total=1 \n", "some total=\n",
                           "some total=99999999999999999999\n"}) {
    EXPECT_FALSE(parse_stalled(text)) << text;
  }
  membroker::testing::TemporaryFolder folder;
  folder.write("memory.pressure", "nothing\n");
  const auto nonsense = read_stalled(folder.path("memory.pressure"));
  ASSERT_FALSE(nonsense);
  EXPECT_THAT(nonsense.error().message(),
              HasSubstr("memory.pressure is no pressure file: it does"));
  const auto missing = read_stalled(folder.path("absent"));
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message(), HasSubstr("absent"));
  EXPECT_THAT(missing.error().message(), HasSubstr("psi=1"));
}

}  // namespace
}  // namespace membroker::broker
