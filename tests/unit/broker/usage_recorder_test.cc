#include "server/broker/usage_recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>

#include "tests/kit/comes_true.h"
#include "tests/kit/temporary_folder.h"

namespace membroker::broker {
namespace {

using membroker::testing::comes_true;

constexpr std::int64_t kNoon = 1'779'192'000'000;

class UsageRecorderTest : public ::testing::Test {
 protected:
  /// Looks every millisecond, by a clock that the test moves.
  std::unique_ptr<UsageRecorder> record() {
    return std::make_unique<UsageRecorder>(
        store_, [this] { return look(); },
        UsageRecorder::Options{std::chrono::milliseconds(1), [this] { return wall_ms_.load(); }});
  }
  std::shared_ptr<const Snapshot> look() {
    auto snapshot = std::make_shared<Snapshot>();
    TenantRow row;
    row.resource = "ram";
    row.view.path = "a";
    row.view.held = 100;
    row.counters.spilled = spilled_;
    snapshot->tenant_rows.push_back(row);
    ++looks_;
    return snapshot;
  }
  bool looks_again() {
    const int before = looks_;
    return comes_true([&] { return looks_ > before + 1; });
  }
  std::vector<UsageRecord> records() { return store_.read({}).value_or(UsagePage{}).records; }

  membroker::testing::TemporaryFolder folder_;
  UsageStore store_{folder_.path("state")};
  std::atomic<std::int64_t> wall_ms_{kNoon + 20'000};
  std::atomic<int> looks_{0};
  std::atomic<Bytes> spilled_{0};
};

TEST_F(UsageRecorderTest, AMinuteIsWrittenWhenItIsOverAndTheRestAtTheEnd) {
  std::filesystem::create_directory(folder_.path("state"));
  auto recorder = record();
  ASSERT_TRUE(looks_again());
  EXPECT_TRUE(records().empty());
  wall_ms_ = kNoon + 61'000;
  ASSERT_TRUE(comes_true([&] { return records().size() == 1; }));
  EXPECT_EQ(records()[0].minute_ms, kNoon);
  EXPECT_EQ(records()[0].mean_held(), 100);
  spilled_ = 7;
  recorder.reset();
  ASSERT_EQ(records().size(), 2u);
  EXPECT_EQ(records()[1].minute_ms, kNoon + 60'000);
  EXPECT_EQ(records()[1].row.spilled, 7) << "the end is after a last look";
}

TEST_F(UsageRecorderTest, ARestartWithinAMinuteAddsToIt) {
  std::filesystem::create_directory(folder_.path("state"));
  record();
  const auto first = records();
  ASSERT_EQ(first.size(), 1u);
  record();
  ASSERT_EQ(records().size(), 1u);
  EXPECT_GT(records()[0].looks, first[0].looks);
  EXPECT_EQ(records()[0].mean_held(), 100);
}

TEST_F(UsageRecorderTest, WhereNothingCanBeWrittenItGoesOnAndTriesAgain) {
  auto recorder = record();  // there is no state directory
  ASSERT_TRUE(looks_again());
  wall_ms_ = kNoon + 61'000;
  ASSERT_TRUE(looks_again());
  std::filesystem::create_directory(folder_.path("state"));
  wall_ms_ = kNoon + 121'000;
  ASSERT_TRUE(comes_true([&] { return records().size() == 1; }));
  EXPECT_EQ(records()[0].minute_ms, kNoon + 60'000);
}

}  // namespace
}  // namespace membroker::broker
