#include "server/app/reload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>

#include "tests/kit/temporary_folder.h"

namespace membroker::app {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Policies = std::map<std::string, arbiter::TenantPolicy>;

broker::BrokerConfig config(Bytes capacity, const Policies& tenants) {
  broker::BrokerConfig made;
  made.resources = {{.name = "ram", .capacity = capacity}};
  for (const auto& [path, policy] : tenants) {
    made.tenants.push_back({.path = path, .policies = {{"ram", policy}}, .uids = {}, .gids = {}});
  }
  return made;
}

class ReloadTest : public ::testing::Test {
 protected:
  void start(const broker::BrokerConfig& before) {
    before_ = before;
    ledger_.emplace(std::move(broker::Ledger::open(folder_.path("ledger"), 8, false).value()));
    broker_.emplace(
        before, Epoch{1}, *ledger_, [](const broker::Peer&) { return Status(); }, Instant{0});
  }
  ReloadReport to(const broker::BrokerConfig& after) {
    return reload(before_, after, *broker_, Instant{1});
  }
  Policies now() {
    Policies result;
    for (const broker::TenantRow& row : broker_->snapshot().tenant_rows) {
      result[row.view.path] = row.view.policy;
    }
    return result;
  }

  membroker::testing::TemporaryFolder folder_;
  broker::BrokerConfig before_;
  std::optional<broker::Ledger> ledger_;
  std::optional<broker::Broker> broker_;
};

TEST_F(ReloadTest, OfTheSameTouchesNothing) {
  start(config(kGiB, {{"a", {.weight = 2}}}));
  broker::TenantChange change;
  change.weight = 9;
  ASSERT_TRUE(broker_->set_tenant("a", "ram", change, Instant{1}));
  const ReloadReport report = to(before_);
  EXPECT_EQ(report.tenants_set + report.tenants_removed + report.capacities_set, 0u);
  EXPECT_THAT(report.problems, IsEmpty());
  EXPECT_EQ(now().at("a").weight, 9);  // an admin's change stays
}

TEST_F(ReloadTest, SetsAddsAndRemovesTenants) {
  start(config(kGiB, {{"a", {.weight = 2}}, {"b", {}}}));
  const Policies wanted = {{"a", {.weight = 5}}, {"c", {.guarantee = kMiB}}};
  const ReloadReport report = to(config(kGiB, wanted));
  EXPECT_THAT(report.problems, IsEmpty());
  EXPECT_EQ(report.tenants_set, 2u);
  EXPECT_EQ(report.tenants_removed, 1u);
  EXPECT_EQ(now(), wanted);
}

TEST_F(ReloadTest, MovesGuaranteesFromOneToTheOther) {
  start(config(kGiB, {{"a", {.guarantee = kGiB}}, {"b", {}}, {"z", {}}}));
  const Policies wanted = {
      {"a", {}}, {"b", {.guarantee = 512 * kMiB}}, {"z", {.guarantee = 512 * kMiB}}};
  EXPECT_THAT(to(config(kGiB, wanted)).problems, IsEmpty());
  EXPECT_EQ(now(), wanted);
}

TEST_F(ReloadTest, RaisesTheCapacityFirstAndLowersItLast) {
  start(config(kGiB, {{"a", {.guarantee = kGiB}}}));
  const Policies more = {{"a", {.guarantee = 2 * kGiB}}};
  const ReloadReport raised = to(config(2 * kGiB, more));
  EXPECT_THAT(raised.problems, IsEmpty());
  EXPECT_EQ(raised.capacities_set, 1u);
  before_ = config(2 * kGiB, more);
  EXPECT_THAT(to(config(kMiB, {{"a", {.guarantee = kMiB}}})).problems, IsEmpty());
  EXPECT_EQ(broker_->snapshot().resources[0].capacity, kMiB);
  EXPECT_EQ(now().at("a").guarantee, kMiB);
}

TEST_F(ReloadTest, LowersALimitAndTheGuaranteesBelowItTogetherAndRaisesThemSo) {
  const Policies more = {{"a", {.guarantee = 512 * kMiB, .limit = 512 * kMiB}},
                         {"a/b", {.guarantee = 512 * kMiB}}};
  const Policies less = {{"a", {.guarantee = 64 * kMiB, .limit = 64 * kMiB}},
                         {"a/b", {.guarantee = 64 * kMiB}}};
  start(config(kGiB, more));
  EXPECT_THAT(to(config(kGiB, less)).problems, IsEmpty());
  EXPECT_EQ(now(), less);
  before_ = config(kGiB, less);
  EXPECT_THAT(to(config(kGiB, more)).problems, IsEmpty());
  EXPECT_EQ(now(), more);
}

TEST_F(ReloadTest, GuaranteesAreTakenOverWhileMemoryIsWithheld) {
  start(config(kGiB, {{"a", {}}}));
  ASSERT_TRUE(broker_->withhold("ram", 900 * kMiB, Instant{1}));
  const Policies wanted = {{"a", {.guarantee = 512 * kMiB}}};
  EXPECT_THAT(to(config(kGiB, wanted)).problems, IsEmpty());
  EXPECT_EQ(now(), wanted);
}

TEST_F(ReloadTest, KeepsAParentThatIsNoLongerGiven) {
  start(config(kGiB, {{"a", {.weight = 2}}, {"a/b", {}}}));
  EXPECT_THAT(to(config(kGiB, {{"a/b", {}}})).problems, IsEmpty());
  EXPECT_EQ(now(), (Policies{{"a", {}}, {"a/b", {}}}));
}

TEST_F(ReloadTest, SaysWhatNeedsARestart) {
  start(config(kGiB, {}));
  broker::BrokerConfig after = config(kGiB, {});
  after.resources[0].floor_max = kMiB;
  after.resources[0].policy = arbiter::PolicyKind::kGreedy;
  after.resources.push_back({.name = "gpu", .capacity = kGiB});
  EXPECT_THAT(to(after).problems, ElementsAre(HasSubstr("floor_max"), HasSubstr("policy of ram"),
                                              HasSubstr("gpu is new")));
}

}  // namespace
}  // namespace membroker::app
