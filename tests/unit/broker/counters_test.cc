// What is counted and shown for each tenant.

#include <gmock/gmock.h>

#include "tests/unit/broker/broker_fixture.h"

namespace membroker::broker::test {
namespace {

class CountersTest : public BrokerTest {
 protected:
  void SetUp() override {
    start();
    ASSERT_TRUE(broker_->set_tenant("a/etl", "ram", {}, now_));
    deliver();
  }
  TenantRow tenant(const std::string& path) const {
    for (TenantRow& row : broker_->snapshot().tenant_rows) {
      if (row.view.path == path) return row;
    }
    ADD_FAILURE() << "no tenant " << path;
    return {};
  }
  static ClientMessage spilled(Bytes bytes) {
    ClientMessage message = inventory(0, 0, 0);
    message.mutable_inventory()->mutable_uses(0)->set_spilled_bytes(bytes);
    return message;
  }
};

TEST_F(CountersTest, RevocationsCountForTheTenantAndAllAboveIt) {
  const ConnectionId a = attach(1, hello("a/etl", claim(kMiB)));
  send(a, {acquire(1, 512 * kMiB, kMiB, 0), inventory(kMiB, 512 * kMiB, 0)});
  ASSERT_TRUE(broker_->ask(session().id, "ram", kMiB, now_));
  ASSERT_TRUE(broker_->ask(session().id, "ram", 2 * kMiB, now_));  // a top-up of the same
  deliver();
  EXPECT_EQ(tenant("a/etl").counters.revoked, 1u);
  EXPECT_EQ(tenant("a").counters.revoked, 1u);
  EXPECT_EQ(tenant("b").counters.revoked, 0u);
  send(a, {release(3 * kMiB)});
  ASSERT_TRUE(broker_->ask(session().id, "ram", kMiB, now_));
  deliver();
  EXPECT_EQ(tenant("a").counters.revoked, 2u);
}

TEST_F(CountersTest, WhatSessionsSpillIsAddedUpAndStaysWhenTheyEnd) {
  const ConnectionId first = attach(1, hello("a/etl", claim(0)));
  send(first, {spilled(5 * kMiB)});
  send(first, {spilled(8 * kMiB)});
  send(first, {spilled(3 * kMiB)});  // a total cannot fall: it is heeded again above 8 MiB
  send(first, {spilled(9 * kMiB)});
  const ConnectionId second = attach(2, hello("a", claim(0), 'u'));
  send(second, {spilled(2 * kMiB)});
  EXPECT_EQ(tenant("a/etl").counters.spilled, 9 * kMiB);
  EXPECT_EQ(tenant("a").counters.spilled, 11 * kMiB);
  process_ends(1);
  process_ends(2);
  EXPECT_EQ(tenant("a").counters.spilled, 11 * kMiB);
  ASSERT_TRUE(broker_->remove_tenant("a", now_));
  ASSERT_TRUE(broker_->set_tenant("a", "ram", {}, now_));
  EXPECT_EQ(tenant("a").counters.spilled, 0);
}

TEST_F(CountersTest, ThoseOfARemovedTenantGoWithTheLastOfItsSessions) {
  const ConnectionId first = attach(1, hello("a/etl", claim(kMiB)));
  const ConnectionId second = attach(2, hello("a/etl", claim(kMiB), 'u'));
  send(first, {spilled(5 * kMiB)});
  ASSERT_TRUE(broker_->remove_tenant("a", now_));
  EXPECT_EQ(tenant("a").counters.spilled, 5 * kMiB) << "it is still there";
  send(first, {spilled(8 * kMiB)});
  EXPECT_EQ(tenant("a").counters.spilled, 8 * kMiB);
  EXPECT_EQ(tenant("a/etl").counters.spilled, 8 * kMiB);
  process_ends(1);
  EXPECT_EQ(tenant("a").counters.spilled, 8 * kMiB);
  send(second, {spilled(kMiB)});
  EXPECT_EQ(tenant("a").counters.spilled, 9 * kMiB);
  process_ends(2);
  ASSERT_TRUE(broker_->set_tenant("a/etl", "ram", {}, now_));
  EXPECT_EQ(tenant("a").counters.spilled, 0);
  EXPECT_EQ(tenant("a/etl").counters.spilled, 0);
}

TEST_F(CountersTest, ThoseOfARemovedTenantWaitForItsOrphans) {
  send(attach(1, hello("a/etl", claim(kMiB))), {spilled(5 * kMiB)});
  ASSERT_TRUE(broker_->remove_tenant("a", now_));
  dead_.insert(1);
  broker_->process_ended(peer_of(1), now_, {{peer_of(3), kMiB, true}});
  EXPECT_EQ(tenant("a").counters.spilled, 5 * kMiB);
  process_ends(3);
  ASSERT_TRUE(broker_->set_tenant("a", "ram", {}, now_));
  EXPECT_EQ(tenant("a").counters.spilled, 0);
}

TEST_F(CountersTest, WhatWasSpilledBeforeThisDaemonIsNotItsOwn) {
  send(attach(1, hello("a", claim(kMiB))), {spilled(5 * kMiB)});
  start();
  const ConnectionId again = attach(1, hello("a", claim(kMiB, {kMiB, 0, 0})), 2);
  send(again, {spilled(6 * kMiB)});
  EXPECT_EQ(tenant("a").counters.spilled, 0);
  send(again, {spilled(8 * kMiB)});
  EXPECT_EQ(tenant("a").counters.spilled, 2 * kMiB);

  // No record of it is left: only its totals tell that it has lived before.
  const ConnectionId unknown = attach(2, hello("b", claim(kMiB, {kMiB, 0, 0}), 'u'), 2);
  send(unknown, {spilled(6 * kMiB)});
  send(unknown, {spilled(7 * kMiB)});
  EXPECT_EQ(tenant("b").counters.spilled, kMiB);
}

TEST_F(CountersTest, AbsurdFiguresOfClientsDoNotOverflow) {
  send(attach(1, hello("a", claim(0))), {spilled(kBytesMax)});
  send(attach(2, hello("a", claim(0), 'u')), {spilled(kBytesMax)});
  EXPECT_EQ(tenant("a").counters.spilled, 2 * kLeaseHeldMax);
  const ConnectionId other = attach(3, hello("a", claim(0), 'v'));
  send(other, {spilled(5 * kMiB)});
  EXPECT_EQ(tenant("a").counters.spilled, 2 * kLeaseHeldMax + 5 * kMiB) << "it counts still";
}

TEST_F(CountersTest, TheAlarmOfADebtStaysUpUntilEnoughOfItIsPaidBack) {
  ASSERT_TRUE(broker_->set_tenant("a", "ram", {.limit = 64 * kMiB}, now_));
  const auto over = [this] { return broker_->snapshot().resources.at(0).tenants_over_debt_cap; };
  const ConnectionId a = attach(1, hello("a/etl", claim(kMiB)));
  send(a, {acquire(1, 63 * kMiB, 63 * kMiB, 0), overdraft(2 * kMiB)});
  EXPECT_EQ(tenant("a").view.debt_cap, 2 * kMiB);
  EXPECT_EQ(tenant("a").view.debt, 2 * kMiB);
  EXPECT_FALSE(tenant("a").debt_over_cap()) << "at the cap is not above it";
  send(a, {overdraft(3 * kMiB)});
  EXPECT_TRUE(tenant("a").debt_over_cap());
  EXPECT_TRUE(tenant("a/etl").debt_over_cap()) << "the limit above counts for it too";
  EXPECT_FALSE(tenant("b").debt_over_cap());
  EXPECT_EQ(over(), 2u);
  send(a, {release(kMiB)});
  EXPECT_EQ(tenant("a").view.debt, 2 * kMiB);
  EXPECT_FALSE(tenant("a").debt_over_cap());
  EXPECT_EQ(over(), 0u);
}

TEST_F(CountersTest, TheAlarmIsToldWhenItGoesUpNotWithEachFurtherByte) {
  ASSERT_TRUE(broker_->set_tenant("a", "ram", {.limit = 64 * kMiB}, now_));
  const ConnectionId a = attach(1, hello("a/etl", claim(kMiB)));
  const auto told = [this] {
    const std::vector<BrokerEvent> events = broker_->take_events();
    return std::count_if(events.begin(), events.end(), [](const BrokerEvent& event) {
      return event.name == std::string("debt_over_cap");
    });
  };
  send(a, {acquire(1, 63 * kMiB, 63 * kMiB, 0), overdraft(3 * kMiB)});
  EXPECT_EQ(told(), 2) << "of a and of a/etl";
  send(a, {overdraft(3 * kMiB + 1), overdraft(3 * kMiB + 2), overdraft(4 * kMiB)});
  EXPECT_EQ(told(), 0);
  send(a, {release(2 * kMiB), overdraft(6 * kMiB)});
  EXPECT_EQ(told(), 2) << "it was down in between";
}

}  // namespace
}  // namespace membroker::broker::test
