#include <gmock/gmock.h>

#include <filesystem>

#include "tests/unit/broker/broker_fixture.h"

namespace membroker::broker::test {
namespace {

using ::testing::HasSubstr;

class RecoverTest : public BrokerTest {
 protected:
  void SetUp() override { start(); }
  void lose_ledger() {
    broker_.reset();
    ledger_.reset();
    std::filesystem::remove(folder_.path("ledger"));
  }
};

TEST_F(RecoverTest, AfterKillWhatWasLentIsChargedAndResumes) {
  const ConnectionId a = attach(1, hello("a", claim(kMiB)));
  send(a, {acquire(1, 100 * kMiB, kMiB, 0), overdraft(2 * kMiB), release(10 * kMiB)});
  const SessionId id = session().id;
  start();
  EXPECT_EQ(held(), 93 * kMiB);
  EXPECT_EQ(session().state, "recovered");
  EXPECT_EQ(session().id, id);
  const ConnectionId again =
      attach(1, hello("a", claim(kMiB, {101 * kMiB, 2 * kMiB, 10 * kMiB})), 2);
  EXPECT_TRUE(received(again).welcome()->resumed());
  EXPECT_EQ(session().state, "active");
  EXPECT_EQ(held(), 93 * kMiB);
  send(again, {acquire(2, kMiB, kMiB, 0)});
  EXPECT_TRUE(received(again).granted().has_value());
}

TEST_F(RecoverTest, WhatTheClientReturnedMeanwhileIsFree) {
  const ConnectionId a = attach(1, hello("a", claim(kMiB)));
  send(a, {acquire(1, 100 * kMiB, kMiB, 0)});
  start();
  attach(1, hello("a", claim(kMiB, {101 * kMiB, 0, 60 * kMiB})), 2);
  EXPECT_EQ(held(), 41 * kMiB);
}

TEST_F(RecoverTest, FreeBytesAreLentAtOnceWhileOthersAreAway) {
  const ConnectionId a = attach(1, hello("a", claim(0)));
  send(a, {acquire(1, 1000 * kMiB, kMiB, 0)});
  start();
  const ConnectionId b = attach(2, hello("b", claim(0)));
  send(b, {acquire(1, 24 * kMiB, 24 * kMiB, 0)});
  EXPECT_EQ(received(b).granted()->bytes(), 24 * kMiB);
  send(b, {acquire(2, kMiB, kMiB, 0)});
  EXPECT_TRUE(received(b).denied().has_value());
}

TEST_F(RecoverTest, ProcessesThatEndedMeanwhileAreLetGo) {
  attach(1, hello("a", claim(kMiB)));
  attach(2, hello("a", claim(kMiB), 'u'));
  dead_.insert(1);
  start();
  EXPECT_EQ(held(), kMiB);
  EXPECT_EQ(session().peer.pid, 2);
}

TEST_F(RecoverTest, ARecoveredSessionOfARemovedTenantResumesAndDrains) {
  const ConnectionId c = attach(1, hello("c", claim(0)));
  send(c, {acquire(1, 100 * kMiB, kMiB, 0)});
  config_.tenants.pop_back();
  start();
  EXPECT_EQ(held(), 100 * kMiB);
  const ConnectionId again = attach(1, hello("c", claim(0, {100 * kMiB, 0, 0}, 0, 100 * kMiB)), 2);
  const auto revoke = received(again).revoke();
  ASSERT_TRUE(revoke.has_value());
  EXPECT_EQ(revoke->target_returned_total(), 100 * kMiB);
  send(again, {acquire(2, kMiB, kMiB, 0)});
  EXPECT_EQ(received(again).denied()->reason(), v1::DENY_REASON_TENANT_REMOVED);
}

TEST_F(RecoverTest, ARecordOfAnUnknownResourceIsDropped) {
  attach(1, hello("a", claim(kMiB)));
  config_.resources[0].name = "memory";
  start();
  EXPECT_EQ(held(), 0);
  EXPECT_TRUE(ledger_->entries().empty());
}

TEST_F(RecoverTest, NumbersOfSessionsAreNotUsedAgain) {
  attach(1, hello("a", claim(kMiB)));
  const SessionId id = session().id;
  start();
  attach(2, hello("b", claim(kMiB)));
  EXPECT_GT(session(1).id, id);
}

TEST_F(RecoverTest, WithTheLedgerLostNothingIsGrantedAtFirst) {
  lose_ledger();
  start(true);
  EXPECT_EQ(broker_->snapshot().state, "recovering");
  const ConnectionId fresh = attach(1, hello("a", claim(kMiB)));
  EXPECT_EQ(ended(fresh)->code, EndCode::kUnavailable);
  EXPECT_THAT(ended(fresh)->message, HasSubstr("try again in 10000 ms"));
  // One that was there before says what it holds, and is believed.
  const ConnectionId old =
      attach(2, hello("b", claim(kMiB, {300 * kMiB, 10 * kMiB, 50 * kMiB})), 4);
  EXPECT_FALSE(ended(old).has_value());
  EXPECT_EQ(held(), 260 * kMiB);
  EXPECT_EQ(lease().view.debt, 0);
  EXPECT_EQ(lease().view.floor, kMiB);
  EXPECT_EQ(received(old).lease_set()->granted_total(), 300 * kMiB);
  send(old, {acquire(1, kMiB, kMiB, 5'000)});
  const auto denied = received(old).denied();
  EXPECT_EQ(denied->reason(), v1::DENY_REASON_RECOVERING);
  EXPECT_EQ(denied->hint(), v1::DENY_HINT_WAIT);
  EXPECT_EQ(denied->retry_after_ms(), 10'000u);
  send(old, {release(60 * kMiB)});
  EXPECT_EQ(held(), 250 * kMiB);
  for (int i = 0; i < 20; ++i) {
    advance(500);
    send(old, {inventory(250 * kMiB, 0, 0)});
  }
  EXPECT_EQ(broker_->snapshot().state, "serving");
  send(old, {acquire(2, kMiB, kMiB, 0)});
  EXPECT_TRUE(received(old).granted().has_value());
  EXPECT_FALSE(ended(attach(1, hello("a", claim(kMiB)), 2)).has_value());
}

TEST_F(RecoverTest, AnUnknownSessionWithBytesIsChargedThemAsDebtBeyondItsFloor) {
  const ConnectionId b = attach(2, hello("b", claim(0)));
  send(b, {acquire(1, kCapacity, kMiB, 0)});
  const ConnectionId a =
      attach(1, hello("a", claim(kMiB, {100 * kMiB, 0, 40 * kMiB}, 0, 60 * kMiB)), 7);
  const Received got = received(a);
  EXPECT_FALSE(got.welcome()->resumed());
  EXPECT_EQ(lease(1).totals, (LedgerTotals{100 * kMiB, 0, 40 * kMiB}));
  EXPECT_EQ(lease(1).view.held, 60 * kMiB);
  EXPECT_EQ(lease(1).view.floor, 0) << "there was no room for it";
  EXPECT_EQ(got.lease_set()->debt_bytes(), 60 * kMiB);
  EXPECT_EQ(got.revoke()->reason(), v1::REVOKE_REASON_DEBT);
}

TEST_F(RecoverTest, AnUnknownSessionWithLessThanItsFloorGetsTheRest) {
  const ConnectionId a = attach(1, hello("a", claim(8 * kMiB, {8 * kMiB, 0, 6 * kMiB})), 3);
  EXPECT_EQ(received(a).lease_set()->granted_total(), 14 * kMiB);
  EXPECT_EQ(held(), 8 * kMiB);
}

}  // namespace
}  // namespace membroker::broker::test
