#include "server/broker/state_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/kit/temporary_folder.h"

namespace membroker::broker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class StateStoreTest : public ::testing::Test {
 protected:
  StateStore open() { return std::move(StateStore::open(folder_.root()).value()); }

  membroker::testing::TemporaryFolder folder_;
};

TEST_F(StateStoreTest, EpochsOnlyGrow) {
  {
    StateStore store = open();
    EXPECT_EQ(store.begin_life("boot", 1'000)->epoch, Epoch{1'000});
    EXPECT_EQ(store.begin_life("boot", 1'000)->epoch, Epoch{1'001});
  }
  StateStore store = open();
  EXPECT_EQ(store.begin_life("boot", 5)->epoch, Epoch{1'002});  // the clock was set back
  EXPECT_EQ(store.begin_life("boot", 2'000)->epoch, Epoch{2'000});
}

TEST_F(StateStoreTest, ExpectsALedgerFromTheSecondStartInABoot) {
  StateStore store = open();
  EXPECT_FALSE(store.begin_life("first", 1)->ledger_expected);
  EXPECT_TRUE(store.begin_life("first", 1)->ledger_expected);
  EXPECT_FALSE(store.begin_life("second", 1)->ledger_expected);
  EXPECT_TRUE(store.begin_life("second", 1)->ledger_expected);
}

TEST_F(StateStoreTest, KeepsTenants) {
  const StoredTenant etl{"acme/etl",
                         "ram",
                         {.guarantee = 1,
                          .mode = arbiter::GuaranteeMode::kReserved,
                          .limit = 2,
                          .weight = 3,
                          .priority = -4,
                          .priority_max = 5,
                          .on_overdue = arbiter::OnOverdue::kFence}};
  const StoredTenant zoo{"zoo", "ram", {}};
  {
    StateStore store = open();
    ASSERT_TRUE(store.put_tenant(zoo));
    ASSERT_TRUE(store.put_tenant({"acme/etl", "ram", {}}));
    ASSERT_TRUE(store.put_tenant(etl));
  }
  StateStore store = open();
  EXPECT_EQ(store.tenants().value(), (std::vector<StoredTenant>{etl, zoo}));
  ASSERT_TRUE(store.remove_tenant("zoo"));
  ASSERT_TRUE(store.remove_tenant("zoo"));
  EXPECT_EQ(store.tenants().value(), std::vector<StoredTenant>{etl});
}

TEST_F(StateStoreTest, KeepsTheLatestOfTheAudit) {
  StateStore store = open();
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(store.append_audit({i, 1'000, 42, "set_tenant", "acme", "weight=2", "ok"}));
  }
  const auto rows = store.audit(2).value();
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].wall_ms, 4);
  EXPECT_EQ(rows[0].uid, 1'000u);
  EXPECT_EQ(rows[0].pid, 42);
  EXPECT_EQ(rows[0].action, "set_tenant");
  EXPECT_EQ(rows[0].target, "acme");
  EXPECT_EQ(rows[0].detail, "weight=2");
  EXPECT_EQ(rows[0].result, "ok");
}

TEST_F(StateStoreTest, SaysWhatIsWrongWithItsFile) {
  EXPECT_FALSE(StateStore::open("/nonexistent"));
  folder_.write("state.db", std::string(8'192, 'x'));
  const auto damaged = StateStore::open(folder_.root());
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(damaged.error().message(), HasSubstr(folder_.path("state.db")));
}

}  // namespace
}  // namespace membroker::broker
