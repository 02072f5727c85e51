#include "server/app/stored_tenants.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace membroker::app {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

broker::BrokerConfig config() {
  broker::BrokerConfig made;
  made.resources = {{.name = "ram", .capacity = kGiB}};
  made.tenants = {
      {.path = "a", .policies = {{"ram", {.guarantee = 512 * kMiB}}}, .uids = {7}, .gids = {}}};
  return made;
}

TEST(StoredTenants, ComeOverThoseOfTheFile) {
  broker::BrokerConfig merged = config();
  EXPECT_THAT(merge_stored_tenants({{"b/c", "ram", {.weight = 3}},
                                    {"a", "ram", {.guarantee = kMiB}},
                                    {"b", "ram", {.weight = 2}}},
                                   merged),
              IsEmpty());
  ASSERT_EQ(merged.tenants.size(), 3u);
  EXPECT_EQ(merged.tenants[0].policies.at("ram").guarantee, kMiB);
  EXPECT_THAT(merged.tenants[0].uids, ElementsAre(7));
  EXPECT_EQ(merged.tenants[1].path, "b");
  EXPECT_EQ(merged.tenants[2].path, "b/c");
}

TEST(StoredTenants, ThatDoNotFitAreLeftOut) {
  broker::BrokerConfig merged = config();
  const auto left_out = merge_stored_tenants({{"b", "ram", {.guarantee = 600 * kMiB}},
                                              {"c", "gpu", {}},
                                              {"d", "ram", {.weight = 0}},
                                              {"e", "ram", {.guarantee = 2, .limit = 1}}},
                                             merged);
  EXPECT_THAT(left_out, ElementsAre(HasSubstr("above the capacity"), HasSubstr("not configured"),
                                    HasSubstr("impossible"), HasSubstr("impossible")));
  EXPECT_EQ(merged.tenants.size(), 1u);
}

TEST(StoredTenants, OneThatFitsOnlyBesideALaterOneIsNotLeftOut) {
  broker::BrokerConfig merged = config();
  merged.tenants[0].path = "z";
  EXPECT_THAT(
      merge_stored_tenants({{"a", "ram", {.guarantee = 800 * kMiB}}, {"z", "ram", {}}}, merged),
      IsEmpty());
  EXPECT_EQ(merged.tenants.size(), 2u);
}

TEST(StoredTenants, GuaranteesAboveALimitThatTheFileHasNowAreLeftOut) {
  broker::BrokerConfig merged = config();
  merged.tenants[0].policies["ram"].limit = 600 * kMiB;
  EXPECT_THAT(merge_stored_tenants({{"a/b", "ram", {.guarantee = 700 * kMiB}}}, merged),
              ElementsAre(HasSubstr("below \"a\" sum to 734003200 bytes, above its limit")));
  EXPECT_EQ(merged.tenants.size(), 1u);
}

}  // namespace
}  // namespace membroker::app
