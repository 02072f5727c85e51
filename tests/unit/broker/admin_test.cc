#include <gmock/gmock.h>

#include "tests/unit/broker/broker_fixture.h"

namespace membroker::broker::test {
namespace {

using ::testing::HasSubstr;

class AdminTest : public BrokerTest {
 protected:
  void SetUp() override {
    start();
    a_ = attach(1, hello("a", claim(kMiB)));
    send(a_, {acquire(1, 511 * kMiB, kMiB, 0), inventory(512 * kMiB, 0, 511 * kMiB)});
    received(a_);
  }
  static void expect_error(const Status& status, ErrorCode code, const std::string& text) {
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code(), code);
    EXPECT_THAT(status.error().message(), HasSubstr(text));
  }

  ConnectionId a_;
};

TEST_F(AdminTest, AnAdminAsksALeaseForBytes) {
  const auto asked = broker_->ask(session().id, "ram", 64 * kMiB, now_);
  deliver();
  ASSERT_TRUE(asked) << asked.error().message();
  EXPECT_EQ(asked->revoking, 64 * kMiB);
  EXPECT_EQ(asked->deadline, now_ + 2'000);
  EXPECT_EQ(received(a_).revoke()->reason(), v1::REVOKE_REASON_ADMIN);
  const auto nobody = broker_->ask(SessionId{99}, "ram", 1, now_);
  EXPECT_EQ(nobody.error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(broker_->ask(session().id, "gpu", 1, now_).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(broker_->ask(session().id, "ram", 0, now_).error().code(), ErrorCode::kInvalid);
}

TEST_F(AdminTest, ALoweredLimitIsRevokedDownTo) {
  ASSERT_TRUE(broker_->set_tenant("a", "ram", {.limit = 256 * kMiB}, now_));
  deliver();
  EXPECT_EQ(received(a_).revoke()->target_returned_total(), 256 * kMiB);
}

TEST_F(AdminTest, WhatIsWithheldIsAskedBackAndComesOnTopOfTheCapacityAsSet) {
  const auto row = [this] { return broker_->snapshot().resources.at(0); };
  ASSERT_TRUE(broker_->withhold("ram", 768 * kMiB, now_));
  deliver();
  EXPECT_EQ(received(a_).revoke()->target_returned_total(), 256 * kMiB);
  EXPECT_EQ(row().capacity, 256 * kMiB);
  EXPECT_EQ(row().withheld, 768 * kMiB);
  ASSERT_TRUE(broker_->set_capacity("ram", 900 * kMiB, now_));
  EXPECT_EQ(row().capacity, 132 * kMiB);
  ASSERT_TRUE(broker_->set_capacity("ram", 100 * kMiB, now_));  // less than is withheld
  EXPECT_EQ(row().capacity, 0);
  ASSERT_TRUE(broker_->withhold("ram", 0, now_));
  EXPECT_EQ(row().capacity, 100 * kMiB);
  EXPECT_EQ(row().withheld, 0);
  expect_error(broker_->withhold("gpu", 1, now_), ErrorCode::kNotFound, "no resource gpu");
  expect_error(broker_->withhold("ram", -1, now_), ErrorCode::kInvalid, "-1 bytes withheld");
  deliver();
}

TEST_F(AdminTest, WhatIsGuaranteedIsNeverWithheld) {
  const auto row = [this] { return broker_->snapshot().resources.at(0); };
  ASSERT_TRUE(broker_->withhold("ram", 768 * kMiB, now_));
  ASSERT_TRUE(broker_->set_tenant("b", "ram", {.guarantee = 512 * kMiB}, now_));
  EXPECT_EQ(row().capacity, 512 * kMiB) << "the guarantee fits the capacity, so pressure gives way";
  EXPECT_EQ(row().guaranteed, 512 * kMiB);
  expect_error(broker_->set_tenant("c", "ram", {.guarantee = 513 * kMiB}, now_),
               ErrorCode::kInvalid, "1074790400 bytes, above the capacity of 1073741824");
  EXPECT_EQ(row().capacity, 512 * kMiB);
  ASSERT_TRUE(broker_->set_capacity("ram", 600 * kMiB, now_));
  EXPECT_EQ(row().capacity, 512 * kMiB);
  EXPECT_EQ(row().withheld, 88 * kMiB);
  EXPECT_EQ(row().root.guarantee, 512 * kMiB);
  ASSERT_TRUE(broker_->set_capacity("ram", kCapacity, now_));
  ASSERT_TRUE(broker_->set_tenant("b", "ram", {.guarantee = 300 * kMiB}, now_));
  EXPECT_EQ(row().capacity, 300 * kMiB) << "what the guarantee no longer needs is withheld";
  ASSERT_TRUE(broker_->remove_tenant("b", now_));
  EXPECT_EQ(row().capacity, 256 * kMiB);
  deliver();
}

TEST_F(AdminTest, WhatAWithholdingGivesWayToComesFromTheConfigurationToo) {
  config_.tenants[1].policies["ram"].guarantee = 512 * kMiB;
  start();
  ASSERT_TRUE(broker_->withhold("ram", 768 * kMiB, now_));
  EXPECT_EQ(broker_->snapshot().resources.at(0).capacity, 512 * kMiB);
  deliver();
}

TEST_F(AdminTest, GuaranteesFitUnderTheLimitsAboveThem) {
  ASSERT_TRUE(broker_->set_tenant("b", "ram", {.limit = 64 * kMiB}, now_));
  expect_error(broker_->set_tenant("b/c", "ram", {.guarantee = 65 * kMiB}, now_),
               ErrorCode::kInvalid, "below \"b\" sum to 68157440 bytes, above its limit");
  EXPECT_TRUE(ended(attach(2, hello("b/c", claim(0)))).has_value()) << "it was not made";
  ASSERT_TRUE(broker_->set_tenant("b/c", "ram", {.guarantee = 64 * kMiB}, now_));
  expect_error(broker_->set_tenant("b", "ram", {.limit = 63 * kMiB}, now_), ErrorCode::kInvalid,
               "lower them or raise the limit");
  EXPECT_EQ(broker_->snapshot().tenant_rows.at(1).view.limit, 64 * kMiB);
}

TEST_F(AdminTest, TheAccountsOfAResourceAreThoseOfTheSnapshot) {
  broker_->process_ended(peer_of(1), now_, {{.process = peer_of(2), .bytes = kMiB}});
  deliver();
  const Snapshot accounts = broker_->accounts("ram");
  ASSERT_EQ(accounts.resources.size(), 1u);
  EXPECT_EQ(accounts.resources[0].root.held, kMiB);
  ASSERT_EQ(accounts.tenant_rows.size(), 3u);
  EXPECT_EQ(accounts.tenant_rows[0].view.held, kMiB);
  EXPECT_EQ(accounts.tenant_rows[0].orphaned, kMiB);
  EXPECT_EQ(accounts.tenant_rows[0].view.sessions, 0u) << "an orphan is no session";
  EXPECT_TRUE(broker_->accounts("gpu").resources.empty());
  EXPECT_TRUE(broker_->accounts("gpu").leases.empty()) << "orphans are of the first resource";
}

TEST_F(AdminTest, ANewTenantAndItsParentsMayBeUsedAtOnce) {
  ASSERT_TRUE(broker_->set_tenant("acme/etl", "ram", {.weight = 3}, now_));
  EXPECT_FALSE(ended(attach(2, hello("acme/etl", claim(0)))).has_value());
  EXPECT_FALSE(ended(attach(3, hello("acme", claim(0)))).has_value());
  const Snapshot snapshot = broker_->snapshot();
  const auto row = std::find_if(snapshot.tenant_rows.begin(), snapshot.tenant_rows.end(),
                                [](const TenantRow& r) { return r.view.path == "acme/etl"; });
  ASSERT_NE(row, snapshot.tenant_rows.end());
  EXPECT_EQ(row->view.policy.weight, 3);
}

TEST_F(AdminTest, ChangesKeepWhatTheyDoNotName) {
  ASSERT_TRUE(broker_->set_tenant("a", "ram", {.weight = 3}, now_));
  ASSERT_TRUE(broker_->set_tenant("a", "ram", {.guarantee = 64 * kMiB}, now_));
  const arbiter::TenantPolicy policy = broker_->snapshot().tenant_rows.at(0).view.policy;
  EXPECT_EQ(policy.weight, 3);
  EXPECT_EQ(policy.guarantee, 64 * kMiB);
}

TEST_F(AdminTest, WrongChangesAreNamedAndChangeNothing) {
  expect_error(broker_->set_tenant("a//b", "ram", {}, now_), ErrorCode::kInvalid,
               "a//b is no tenant path");
  expect_error(broker_->set_tenant("a\n", "ram", {}, now_), ErrorCode::kInvalid,
               "\"a\\x0a\" is no tenant path");
  expect_error(broker_->set_tenant("a", "gpu", {}, now_), ErrorCode::kNotFound, "no resource gpu");
  expect_error(broker_->set_tenant("a", "ram", {.weight = 0}, now_), ErrorCode::kInvalid,
               "weight 0 is not in 1 to 10000");
  expect_error(broker_->set_tenant("a", "ram", {.limit = -1}, now_), ErrorCode::kInvalid,
               "a negative size");
  expect_error(broker_->set_tenant("a", "ram", {.guarantee = 2 * kMiB, .limit = kMiB}, now_),
               ErrorCode::kInvalid, "guarantee 2097152 is above limit 1048576");
  expect_error(broker_->set_tenant("a", "ram", {.priority = 1}, now_), ErrorCode::kInvalid,
               "priority 1 is above priority_max 0");
  expect_error(broker_->set_tenant("new", "ram", {.guarantee = 2 * kCapacity}, now_),
               ErrorCode::kInvalid, "tenant new");
  EXPECT_TRUE(ended(attach(2, hello("new", claim(0)))).has_value()) << "it was not made";
  expect_error(broker_->remove_tenant("nobody", now_), ErrorCode::kNotFound, "no tenant nobody");
  expect_error(broker_->set_capacity("gpu", kMiB, now_), ErrorCode::kNotFound, "no resource gpu");
  expect_error(broker_->set_capacity("ram", -1, now_), ErrorCode::kInvalid, "-1");
}

TEST_F(AdminTest, ARemovedTenantTakesNoSessionsAndDrains) {
  ASSERT_TRUE(broker_->remove_tenant("a", now_));
  deliver();
  EXPECT_TRUE(received(a_).revoke().has_value());
  EXPECT_EQ(ended(attach(2, hello("a", claim(0))))->code, EndCode::kNotFound);
}

TEST_F(AdminTest, ACutCapacityIsRevokedDownTo) {
  ASSERT_TRUE(broker_->set_capacity("ram", 256 * kMiB, now_));
  deliver();
  EXPECT_EQ(received(a_).revoke()->reason(), v1::REVOKE_REASON_CAPACITY);
  EXPECT_EQ(broker_->snapshot().resources.at(0).capacity, 256 * kMiB);
}

TEST_F(AdminTest, DrainAsksEverythingButTheFloorAndTakesNoSessions) {
  broker_->drain(now_);
  deliver();
  const Received got = received(a_);
  EXPECT_EQ(got.draining()->mode(), v1::DRAIN_MODE_DRAIN);
  EXPECT_EQ(got.revoke()->reason(), v1::REVOKE_REASON_DRAIN);
  EXPECT_EQ(got.revoke()->target_returned_total(), 511 * kMiB);
  EXPECT_EQ(ended(attach(2, hello("b", claim(0))))->code, EndCode::kUnavailable);
  const ConnectionId again =
      attach(1, hello("a", claim(kMiB, {512 * kMiB, 0, 0}, 0, 511 * kMiB)), 2);
  EXPECT_EQ(received(again).draining()->mode(), v1::DRAIN_MODE_DRAIN);
  EXPECT_EQ(broker_->snapshot().state, "draining");
}

TEST_F(AdminTest, BeforeARestartEveryClientIsToldToComeBackAndThenItsStreamEnds) {
  const ConnectionId nameless = stream(2);
  broker_->announce_restart(now_);
  const std::vector<StreamEnd> at_once = broker_->take_ended();
  ASSERT_EQ(at_once.size(), 1u) << "a stream that still writes has not been told";
  EXPECT_EQ(at_once[0].connection, nameless);
  deliver();
  EXPECT_EQ(received(a_).draining()->mode(), v1::DRAIN_MODE_RESTART);
  EXPECT_EQ(ended(a_)->code, EndCode::kUnavailable);
  EXPECT_EQ(ledger_->entries().size(), 1u);
  EXPECT_EQ(ended(stream(3))->code, EndCode::kUnavailable);
  EXPECT_EQ(broker_->snapshot().counters.streams_refused, 0u);
  EXPECT_EQ(broker_->snapshot().sessions_suspect, 0u) << "that its stream ended is our own doing";
}

TEST_F(AdminTest, WhoDoesNotReadWhileTheDaemonGoesHoldsNothingUp) {
  deaf_.insert(a_);
  broker_->announce_restart(now_);
  now_ = now_ + 10 * broker_->config().times.session_ttl;
  broker_->expire(now_);  // comes to an end
  EXPECT_EQ(broker_->snapshot().sessions_suspect, 0u);
}

TEST_F(AdminTest, SnapshotsArePublishedAtMostEvery100MsAndOnlyAfterChanges) {
  advance(1'000);
  while (broker_->take_snapshot(now_)) now_ = now_ + 100;
  lose(a_);
  now_ = now_ + 100;
  const auto first = broker_->take_snapshot(now_);
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(first->sessions_suspect, 1u);
  process_ends(1);
  EXPECT_EQ(broker_->take_snapshot(now_ + 99), nullptr);
  EXPECT_LE(broker_->next_deadline(), now_ + 100);
  EXPECT_NE(broker_->take_snapshot(now_ + 100), nullptr);
  EXPECT_EQ(broker_->take_snapshot(now_ + 1'000), nullptr);
  EXPECT_EQ(broker_->next_deadline(), Instant::never()) << "an idle daemon sleeps";
  EXPECT_EQ(first->sessions.size(), 1u) << "an old snapshot stays as it was";
}

}  // namespace
}  // namespace membroker::broker::test
