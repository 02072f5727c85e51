#include "server/broker/usage_fold.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace membroker::broker {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::int64_t kNoon = 1'779'192'000'000;

struct Figures {
  std::string path;
  Bytes held = 0;
  Bytes waiting = 0;
  TenantCounters counters = {};
  std::string resource = "ram";
};

class UsageFoldTest : public ::testing::Test {
 protected:
  /// A look one second after the one before.
  std::optional<UsageMinute> look(const std::vector<Figures>& tenants) {
    Snapshot snapshot;
    for (const Figures& figures : tenants) {
      TenantRow row;
      row.resource = figures.resource;
      row.view.path = figures.path;
      row.view.held = figures.held;
      row.view.waiting = figures.waiting;
      row.counters = figures.counters;
      snapshot.tenant_rows.push_back(row);
    }
    const auto minute = fold_.look(snapshot, wall_ms_);
    wall_ms_ += 1'000;
    return minute;
  }

  UsageFold fold_;
  std::int64_t wall_ms_ = kNoon;
};

TEST_F(UsageFoldTest, AMinuteIsTheMeanAndThePeaksOfItsLooks) {
  for (int second = 0; second < 60; ++second) {
    const Bytes held = second < 30 ? 10 : 40;
    EXPECT_FALSE(look({{"a", held, second == 7 ? 5 : 0}}));
  }
  const auto minute = look({{"a", 1'000}});
  ASSERT_TRUE(minute);
  EXPECT_EQ(minute->minute_ms, kNoon);
  EXPECT_EQ(minute->looks, 60);
  EXPECT_THAT(minute->rows, ElementsAre(UsageRow{"a", "ram", 1'500, 40, 5, 0, 0}));
  const auto next = fold_.finish();
  EXPECT_EQ(next->minute_ms, kNoon + 60'000);
  EXPECT_EQ(next->looks, 1);
  EXPECT_THAT(next->rows, ElementsAre(UsageRow{"a", "ram", 1'000, 1'000, 0, 0, 0}));
  EXPECT_FALSE(fold_.finish()) << "nothing was seen since";
}

TEST_F(UsageFoldTest, OnlyWhoHeldOrDidAnythingHasARow) {
  look({{"idle"},
        {"holds", 1},
        {"spills", 0, 0, {0, 1}},
        {"revoked", 0, 0, {1, 0}},
        {"waits", 0, 1}});
  const auto minute = fold_.finish();
  std::vector<std::string> tenants;
  for (const UsageRow& row : minute->rows) tenants.push_back(row.tenant);
  EXPECT_THAT(tenants, ElementsAre("holds", "revoked", "spills", "waits"));
  look({Figures{"idle"}});
  const auto empty = fold_.finish();
  EXPECT_EQ(empty->looks, 1) << "looks count for those that come later in the minute";
  EXPECT_THAT(empty->rows, IsEmpty());
}

TEST_F(UsageFoldTest, CountersCountByTheirGrowth) {
  look({{"a", 0, 0, {2, 100}}});  // since the daemon's start, some moments ago
  look({{"a", 0, 0, {2, 150}}});
  look({{"a", 0, 0, {5, 150}}});
  EXPECT_THAT(fold_.finish()->rows, ElementsAre(UsageRow{"a", "ram", 0, 0, 0, 150, 5}));
  look({{"a", 0, 0, {5, 151}}});
  EXPECT_THAT(fold_.finish()->rows, ElementsAre(UsageRow{"a", "ram", 0, 0, 0, 1, 0}));
}

TEST_F(UsageFoldTest, ATenantThatIsMadeAnewHasNewCounters) {
  look({{"a", 0, 0, {5, 100}}});
  look({{"a", 0, 0, {1, 7}}});  // removed and made again between two looks
  EXPECT_THAT(fold_.finish()->rows, ElementsAre(UsageRow{"a", "ram", 0, 0, 0, 107, 6}));
  look({});
  look({{"a", 0, 0, {3, 30}}});  // gone for a look: all of that is new
  EXPECT_THAT(fold_.finish()->rows, ElementsAre(UsageRow{"a", "ram", 0, 0, 0, 30, 3}));
}

TEST_F(UsageFoldTest, WhoLeavesInTheMinuteKeepsItsRow) {
  look({{"a", 8}, {"b", 1}});
  look({{"b", 1}});
  const auto minute = fold_.finish();
  EXPECT_EQ(minute->looks, 2);
  EXPECT_THAT(minute->rows, ElementsAre(UsageRow{"a", "ram", 8, 8, 0, 0, 0},
                                        UsageRow{"b", "ram", 2, 1, 0, 0, 0}));
  look({{"b", 1}});
  EXPECT_EQ(fold_.finish()->rows.size(), 1u);
}

TEST_F(UsageFoldTest, ResourcesAreApart) {
  look({{"a", 8, 0, {}, "gpu"}, {"a", 1, 0, {}, "ram"}});
  EXPECT_THAT(fold_.finish()->rows, ElementsAre(UsageRow{"a", "gpu", 8, 8, 0, 0, 0},
                                                UsageRow{"a", "ram", 1, 1, 0, 0, 0}));
}

TEST_F(UsageFoldTest, AClockThatIsSetEndsTheMinute) {
  look({{"a", 8}});
  wall_ms_ = kNoon - 3'600'000;
  auto minute = look({{"a", 9}});
  ASSERT_TRUE(minute);
  EXPECT_EQ(minute->minute_ms, kNoon);
  wall_ms_ = kNoon + 61'500;
  minute = look({{"a", 10}});
  EXPECT_EQ(minute->minute_ms, kNoon - 3'600'000);
  EXPECT_EQ(minute->looks, 1);
  EXPECT_EQ(fold_.finish()->minute_ms, kNoon + 60'000);
}

TEST_F(UsageFoldTest, AbsurdFiguresDoNotOverflow) {
  for (int i = 0; i < 3; ++i) look({{"a", kBytesMax, kBytesMax, {0, kBytesMax}}});
  EXPECT_THAT(fold_.finish()->rows, ElementsAre(UsageRow{"a", "ram", kUsageSumMax, kBytesMax,
                                                         kBytesMax, kUsageSumMax, 0}));
}

}  // namespace
}  // namespace membroker::broker
