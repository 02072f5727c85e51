#include <gmock/gmock.h>

#include "tests/unit/broker/broker_fixture.h"

namespace membroker::broker::test {
namespace {

/// a holds everything and could spill all of it; b is about to ask.
class RevokeTest : public BrokerTest {
 protected:
  void SetUp() override {
    start();
    a_ = attach(1, hello("a", claim(0)));
    b_ = attach(2, hello("b", claim(0)));
    send(a_, {acquire(1, kCapacity, kMiB, 0), inventory(kCapacity, 0, kCapacity)});
    received(a_);
    received(b_);
  }

  v1::Revoke ask_for(Bytes bytes, std::uint64_t id = 1) {
    send(b_, {acquire(id, bytes, bytes, 5'000)});
    const auto revoke = received(a_).revoke();
    EXPECT_TRUE(revoke.has_value());
    return revoke.value_or(v1::Revoke{});
  }

  ConnectionId a_;
  ConnectionId b_;
};

TEST_F(RevokeTest, TheTargetIsAValueOfReturnedTotal) {
  const v1::Revoke revoke = ask_for(64 * kMiB);
  EXPECT_EQ(revoke.target_returned_total(), 64 * kMiB);
  EXPECT_EQ(revoke.stage(), v1::REVOKE_STAGE_SPILL);
  EXPECT_EQ(revoke.reason(), v1::REVOKE_REASON_FAIR_SHARE);
  EXPECT_EQ(revoke.deadline_ms(), 2000u);
  send(a_, {release(64 * kMiB), progress(revoke, v1::REVOKE_STATE_DONE)});
  EXPECT_EQ(received(b_).granted()->bytes(), 64 * kMiB);
  EXPECT_EQ(counters().revoked, 1u);
  EXPECT_EQ(counters().revoke_answered, 1u);
  EXPECT_EQ(counters().revoke_late, 0u);
}

TEST_F(RevokeTest, WatchersAreToldTheReasonInWholeCharacters) {
  ClientMessage answer = progress(ask_for(64 * kMiB), v1::REVOKE_STATE_CANNOT);
  answer.mutable_progress()->set_reason(std::string(255, 'x') + "\u00fc");
  broker_->take_events();
  send(a_, {answer});
  const std::vector<BrokerEvent> events = broker_->take_events();
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events[0].name, std::string("revoke_answered"));
  EXPECT_TRUE(events[0].detail.ends_with("why=" + std::string(255, 'x'))) << events[0].detail;
}

TEST_F(RevokeTest, ATopUpMovesTheTargetOfTheSameRevocation) {
  const v1::Revoke first = ask_for(64 * kMiB);
  send(a_, {release(10 * kMiB)});
  const v1::Revoke second = ask_for(64 * kMiB, 2);
  EXPECT_EQ(second.revocation_id(), first.revocation_id());
  EXPECT_EQ(second.target_returned_total(), 128 * kMiB);
  EXPECT_EQ(counters().revoked, 1u);
}

TEST_F(RevokeTest, OnlyTheLatestTargetIsSent) {
  deaf_.insert(a_);
  send(b_, {acquire(1, 64 * kMiB, 64 * kMiB, 5'000)});
  send(b_, {acquire(2, 64 * kMiB, 64 * kMiB, 5'000)});
  deaf_.clear();
  v1::ServerFrame frame;
  ASSERT_TRUE(broker_->compose(a_, now_, &frame));
  ASSERT_EQ(frame.messages_size(), 1);
  EXPECT_EQ(frame.messages(0).revoke().target_returned_total(), 128 * kMiB);
  EXPECT_FALSE(broker_->compose(a_, now_, &frame));
}

TEST_F(RevokeTest, AWithdrawalIsTheSameMessageWithAnotherTarget) {
  const v1::Revoke revoke = ask_for(64 * kMiB);
  send(a_, {release(10 * kMiB)});
  send(b_, {cancel(1)});
  const auto withdrawn = received(a_).revoke();
  ASSERT_TRUE(withdrawn.has_value());
  EXPECT_EQ(withdrawn->revocation_id(), revoke.revocation_id());
  EXPECT_EQ(withdrawn->target_returned_total(), 10 * kMiB);
  EXPECT_EQ(counters().revoke_withdrawn, 1u);
}

TEST_F(RevokeTest, WhatWasNeverToldIsNotWithdrawnEither) {
  send(b_, {acquire(1, 64 * kMiB, 64 * kMiB, 0)});
  EXPECT_TRUE(received(a_).messages.empty());
  EXPECT_EQ(counters().revoked, 1u);
  EXPECT_EQ(counters().revoke_withdrawn, 1u);
}

TEST_F(RevokeTest, AnAnswerAboutAnOlderTargetOnlyReports) {
  const v1::Revoke first = ask_for(64 * kMiB);
  const v1::Revoke second = ask_for(64 * kMiB, 2);
  send(a_, {progress(first, v1::REVOKE_STATE_DONE, 0, kCapacity)});
  EXPECT_EQ(lease(0).view.revoking, 128 * kMiB) << "still open";
  v1::Revoke other = second;
  other.set_revocation_id(second.revocation_id() + 1);
  send(a_, {progress(other, v1::REVOKE_STATE_CANNOT, 0, kCapacity)});
  EXPECT_EQ(lease(0).view.revoking, 128 * kMiB);
  send(a_, {progress(second, v1::REVOKE_STATE_CANNOT, 0, 0)});
  EXPECT_EQ(lease(0).view.revoking, 0);
  EXPECT_EQ(counters().revoke_answered, 1u);
}

TEST_F(RevokeTest, APassedDeadlineIsCountedAndTheTargetStays) {
  const v1::Revoke revoke = ask_for(64 * kMiB);
  for (int i = 0; i < 4; ++i) {
    advance(500);
    send(a_, {inventory(kCapacity, 0, kCapacity)});
  }
  EXPECT_EQ(counters().revoke_late, 1u);
  EXPECT_EQ(lease(0).view.overdue, 64 * kMiB);
  send(a_, {progress(revoke, v1::REVOKE_STATE_CANNOT)});
  EXPECT_EQ(lease(0).view.overdue, 0) << "an honest word clears it, also late";
}

TEST_F(RevokeTest, ASuspectIsAskedForTheSameTargetWhenItIsBack) {
  const v1::Revoke revoke = ask_for(64 * kMiB);
  send(a_, {release(16 * kMiB)});
  lose(a_);
  EXPECT_EQ(lease(0).view.overdue, 48 * kMiB);
  const ConnectionId again =
      attach(1, hello("a", claim(0, {kCapacity, 0, 16 * kMiB}, 0, kCapacity)), 2);
  const auto repeated = received(again).revoke();
  ASSERT_TRUE(repeated.has_value());
  EXPECT_EQ(repeated->target_returned_total(), revoke.target_returned_total());
  send(again, {release(64 * kMiB), progress(*repeated, v1::REVOKE_STATE_DONE)});
  EXPECT_EQ(lease(0).view.overdue, 0);
  EXPECT_EQ(received(b_).granted()->bytes(), 64 * kMiB);
}

TEST_F(RevokeTest, WhatIsOverdueIsRepeatedUnderItsIdAlsoWhenNobodyWaits) {
  const v1::Revoke revoke = ask_for(64 * kMiB);
  lose(a_);
  send(b_, {cancel(1)});
  const ConnectionId again = attach(1, hello("a", claim(0, {kCapacity, 0, 0}, 0, kCapacity)), 2);
  const auto repeated = received(again).revoke();
  ASSERT_TRUE(repeated.has_value());
  EXPECT_EQ(repeated->revocation_id(), revoke.revocation_id());
  EXPECT_EQ(repeated->target_returned_total(), revoke.target_returned_total());
  EXPECT_EQ(repeated->deadline_ms(), 0u);
}

TEST_F(RevokeTest, WhoIgnoresRevocationsIsFencedIfTheTenantSaysSo) {
  ASSERT_TRUE(broker_->set_tenant("a", "ram", {.on_overdue = arbiter::OnOverdue::kFence}, now_));
  send(b_, {acquire(1, 64 * kMiB, 64 * kMiB, 4'000'000)});
  received(a_);
  for (int i = 0; i < 80 && session(0).state == "active"; ++i) {
    advance(500);
    send(a_, {inventory(kCapacity, 0, kCapacity)});
    send(b_, {inventory(0, 0, 0)});
  }
  EXPECT_EQ(session(0).state, "fenced");
  EXPECT_TRUE(received(a_).fenced().has_value());
  EXPECT_FALSE(ended(a_).has_value());
  send(a_, {acquire(2, kMiB, kMiB, 0)});
  EXPECT_EQ(received(a_).denied()->reason(), v1::DENY_REASON_SESSION_FENCED);
  const ConnectionId again = attach(1, hello("a", claim(0, {kCapacity, 0, 0}, 0, kCapacity)), 2);
  EXPECT_EQ(session(0).state, "active");
  EXPECT_TRUE(received(again).revoke().has_value()) << "what is overdue stays";
}

}  // namespace
}  // namespace membroker::broker::test
