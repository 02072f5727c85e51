#include "server/broker/usage_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>

#include "tests/kit/temporary_folder.h"

namespace membroker::broker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::int64_t kNoon = 1'779'192'000'000;
constexpr std::int64_t kMinute = kUsageMinuteMs;

UsageRow row_of(const std::string& tenant, Bytes held_sum, const std::string& resource = "ram") {
  return {tenant, resource, held_sum, held_sum, 0, 0, 0};
}

std::vector<std::string> tenants_of(const UsagePage& page) {
  std::vector<std::string> tenants;
  for (const UsageRecord& record : page.records) tenants.push_back(record.row.tenant);
  return tenants;
}

class UsageStoreTest : public ::testing::Test {
 protected:
  UsageStore store(UsageKeep keep = {}) const { return UsageStore(folder_.root(), keep); }
  static UsagePage read(UsageStore& store, const UsageQuery& query = {}) {
    auto page = store.read(query);
    EXPECT_TRUE(page) << page.error().message();
    return page ? std::move(*page) : UsagePage{};
  }
  static void expect_written(UsageStore& store, const UsageMinute& minute) {
    const Status written = store.write(minute);
    EXPECT_TRUE(written) << written.error().message();
  }

  membroker::testing::TemporaryFolder folder_;
};

TEST_F(UsageStoreTest, KeepsEveryFigureOverARestart) {
  const UsageRow row{"acme/etl", "ram", 6'000, 200, 30, 4, 5};
  {
    UsageStore before = store();
    expect_written(before, {kNoon, 60, {row, row_of("zoo", 9)}});
  }
  UsageStore after = store();
  const UsagePage page = read(after);
  ASSERT_EQ(page.records.size(), 2u);
  EXPECT_EQ(page.records[0].minute_ms, kNoon);
  EXPECT_EQ(page.records[0].looks, 60);
  EXPECT_EQ(page.records[0].row, row);
  EXPECT_EQ(page.records[0].mean_held(), 100);
  EXPECT_FALSE(page.next);
  EXPECT_EQ(page.not_recorded, "");
}

TEST_F(UsageStoreTest, PartsOfAMinuteAddUp) {
  {
    UsageStore before = store();
    expect_written(before, {kNoon, 20, {{"a", "ram", 600, 50, 7, 10, 1}}});
  }
  UsageStore after = store();
  expect_written(after, {kNoon, 0, {}});
  expect_written(after, {kNoon, 40, {{"a", "ram", 1'200, 40, 9, 5, 2}, row_of("b", 120)}});
  const UsagePage page = read(after);
  ASSERT_EQ(page.records.size(), 2u);
  EXPECT_EQ(page.records[0].looks, 60);
  EXPECT_EQ(page.records[0].row, (UsageRow{"a", "ram", 1'800, 50, 9, 15, 3}));
  EXPECT_EQ(page.records[1].looks, 60) << "b held nothing in the first part";
  EXPECT_EQ(page.records[1].mean_held(), 2);
}

TEST_F(UsageStoreTest, SumsStopBeforeTheyOverflow) {
  UsageStore usage = store();
  const UsageRow most{"a", "ram", kUsageSumMax, kBytesMax, kBytesMax, kUsageSumMax, 1};
  for (int i = 0; i < 3; ++i) expect_written(usage, {kNoon, 1, {most}});
  EXPECT_EQ(read(usage).records.at(0).row,
            (UsageRow{"a", "ram", kUsageSumMax, kBytesMax, kBytesMax, kUsageSumMax, 3}));
}

TEST_F(UsageStoreTest, FiltersByTenantResourceAndTime) {
  UsageStore usage = store();
  expect_written(usage, {kNoon, 60, {row_of("acme", 1), row_of("acme", 1, "gpu")}});
  expect_written(usage, {kNoon + kMinute,
                         60,
                         {row_of("acme", 1), row_of("acme-2", 1), row_of("acme.x", 1),
                          row_of("acme/etl", 1), row_of("acme0", 1), row_of("b", 1)}});
  EXPECT_THAT(tenants_of(read(usage, {.tenant = "acme", .resource = "ram"})),
              ElementsAre("acme", "acme", "acme/etl"));
  EXPECT_THAT(tenants_of(read(usage, {.tenant = "acme/etl"})), ElementsAre("acme/etl"));
  EXPECT_THAT(tenants_of(read(usage, {.tenant = "acme/"})), IsEmpty());
  EXPECT_THAT(tenants_of(read(usage, {.resource = "gpu"})), ElementsAre("acme"));
  EXPECT_EQ(read(usage, {.since_ms = kNoon + 1}).records.size(), 6u);
  EXPECT_EQ(read(usage, {.since_ms = kNoon, .until_ms = kNoon + kMinute}).records.size(), 2u);
  EXPECT_THAT(read(usage, {.since_ms = kNoon + 2 * kMinute}).records, IsEmpty());
}

TEST_F(UsageStoreTest, PagesHaveEveryRowOnce) {
  UsageStore usage = store();
  std::vector<std::string> all;
  for (int m = 0; m < 5; ++m) {
    UsageMinute minute{kNoon + m * kMinute, 60, {}};
    for (const char* tenant : {"a", "a/b", "c", "d", "e"}) {
      minute.rows.push_back(row_of(tenant, 1));
      all.emplace_back(tenant);
    }
    expect_written(usage, minute);
  }
  std::vector<std::string> seen;
  UsageQuery query{.rows_max = 7};
  for (int pages = 1;; ++pages) {
    const UsagePage page = read(usage, query);
    for (std::string& tenant : tenants_of(page)) seen.push_back(std::move(tenant));
    if (!page.next) {
      EXPECT_EQ(pages, 4);
      break;
    }
    query.after = page.next;
    // What comes meanwhile, before or behind, moves no row to another place.
    expect_written(usage, {kNoon - pages * kMinute, 60, {row_of("early", 1)}});
  }
  EXPECT_EQ(seen, all);
}

TEST_F(UsageStoreTest, DropsWhatIsTooOld) {
  UsageStore usage = store({.days = 1});
  expect_written(usage, {kNoon, 60, {row_of("old", 1)}});
  expect_written(usage, {kNoon + 24 * 60 * kMinute, 60, {row_of("day", 1)}});
  EXPECT_EQ(read(usage).records.size(), 2u) << "just a day is kept";
  expect_written(usage, {kNoon + (24 * 60 + 1) * kMinute, 60, {row_of("more", 1)}});
  EXPECT_THAT(tenants_of(read(usage)), ElementsAre("day", "more"));
}

TEST_F(UsageStoreTest, DropsTheOldestOfTooMany) {
  UsageStore usage = store({.rows_max = 5});
  for (int m = 0; m < 4; ++m) {
    expect_written(usage, {kNoon + m * kMinute, 60, {row_of("a", 1), row_of("b", 1)}});
  }
  const UsagePage page = read(usage);
  ASSERT_EQ(page.records.size(), 4u);
  EXPECT_EQ(page.records.front().minute_ms, kNoon + 2 * kMinute);
}

TEST_F(UsageStoreTest, DropsInSmallSteps) {
  UsageStore usage = store({.days = 1});
  for (int m = 0; m < 100; ++m) expect_written(usage, {kNoon + m * kMinute, 1, {row_of("a", 1)}});
  const std::int64_t later = kNoon + 30 * 24 * 60 * kMinute;
  expect_written(usage, {later, 1, {row_of("a", 1)}});
  EXPECT_EQ(read(usage).records.size(), 41u);
  expect_written(usage, {later, 0, {}});
  EXPECT_EQ(read(usage).records.size(), 1u);
}

TEST_F(UsageStoreTest, SaysWhatIsWrongWithItsFileAndLeavesIt) {
  UsageStore nowhere("/nonexistent/folder");
  EXPECT_FALSE(nowhere.write({kNoon, 1, {}}));
  EXPECT_THAT(nowhere.read({}).error().message(), HasSubstr("/nonexistent/folder/usage.db"));

  const std::string garbage(8'192, 'x');
  folder_.write("usage.db", garbage);
  UsageStore damaged = store();
  const Status written = damaged.write({kNoon, 1, {}});
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(written.error().message(), HasSubstr("move it away"));
  EXPECT_FALSE(damaged.read({}));
  EXPECT_EQ(membroker::testing::read_file(folder_.path("usage.db")), garbage);

  std::filesystem::remove(folder_.path("usage.db"));
  expect_written(damaged, {kNoon, 1, {row_of("a", 1)}});
  EXPECT_EQ(read(damaged).records.size(), 1u) << "moved away, it begins anew";
}

TEST_F(UsageStoreTest, RefusesTheFileOfALaterDaemon) {
  ASSERT_TRUE(Database::open(folder_.path("usage.db"), {.version = 9, .tables = ""}));
  UsageStore usage = store();
  const auto page = usage.read({});
  ASSERT_FALSE(page);
  EXPECT_THAT(page.error().message(), HasSubstr("version 9"));
}

TEST_F(UsageStoreTest, DamageWithinTheFileIsAnErrorNotACrash) {
  {
    UsageStore usage = store();
    UsageMinute minute{kNoon, 60, {}};
    for (int i = 0; i < 2'000; ++i) minute.rows.push_back(row_of("t" + std::to_string(i), i));
    expect_written(usage, minute);
  }
  std::string content = membroker::testing::read_file(folder_.path("usage.db"));
  ASSERT_GT(content.size(), 40'960u);
  content.replace(16'384, 16'384, 16'384, '\xA5');
  folder_.write("usage.db", content);
  UsageStore usage = store();
  const auto page = usage.read({.rows_max = 4'000});
  ASSERT_FALSE(page);
  EXPECT_EQ(page.error().code(), ErrorCode::kCorrupt);
}

TEST_F(UsageStoreTest, AFullDiskLosesTheMinuteAndNoOther) {
  UsageStore usage = store();
  expect_written(usage, {kNoon, 60, {row_of("a", 1)}});
  UsageMinute large{kNoon + kMinute, 60, {}};
  for (int i = 0; i < 20'000; ++i) large.rows.push_back(row_of("t" + std::to_string(i), i));

  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{64 << 10, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status written = usage.write(large);
  const UsagePage meanwhile = read(usage);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);

  ASSERT_FALSE(written);
  EXPECT_THAT(tenants_of(meanwhile), ElementsAre("a"));
  EXPECT_EQ(meanwhile.not_recorded, written.error().message());
  expect_written(usage, {kNoon + 2 * kMinute, 60, {row_of("b", 1)}});
  const UsagePage after = read(usage);
  EXPECT_THAT(tenants_of(after), ElementsAre("a", "b"));
  EXPECT_EQ(after.not_recorded, "");
}

}  // namespace
}  // namespace membroker::broker
