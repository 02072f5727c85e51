#include <gmock/gmock.h>

#include "tests/unit/broker/broker_fixture.h"

namespace membroker::broker::test {
namespace {

using ::testing::HasSubstr;

class LeaseTest : public BrokerTest {
 protected:
  void SetUp() override {
    start();
    a_ = attach(1, hello("a", claim(0)));
    b_ = attach(2, hello("b", claim(0)));
    received(a_);
    received(b_);
  }

  ConnectionId a_;
  ConnectionId b_;
};

TEST_F(LeaseTest, AGrantCarriesTheTotal) {
  send(a_, {acquire(1, 100 * kMiB, kMiB, 0), acquire(2, 50 * kMiB, kMiB, 0)});
  const Received got = received(a_);
  ASSERT_EQ(got.messages.size(), 2u);
  EXPECT_EQ(got.messages[0].granted().request_id(), 1u);
  EXPECT_EQ(got.messages[0].granted().granted_total(), 100 * kMiB);
  EXPECT_EQ(got.messages[1].granted().bytes(), 50 * kMiB);
  EXPECT_EQ(got.messages[1].granted().granted_total(), 150 * kMiB);
  EXPECT_EQ(counters().granted, 2u);
  EXPECT_EQ(counters().peak_held, 150 * kMiB);
}

TEST_F(LeaseTest, ReleaseIsATotalAndTheLargerWins) {
  send(a_, {acquire(1, 100 * kMiB, kMiB, 0)});
  send(a_, {release(40 * kMiB)});
  EXPECT_EQ(held(), 60 * kMiB);
  send(a_, {release(40 * kMiB)});
  send(a_, {release(10 * kMiB)});
  EXPECT_EQ(held(), 60 * kMiB);
  send(a_, {release(100 * kMiB)});
  EXPECT_EQ(held(), 0);
}

TEST_F(LeaseTest, ReleaseOfMoreThanIsHeldEndsTheStream) {
  send(a_, {acquire(1, kMiB, kMiB, 0)});
  send(a_, {release(kMiB + 1)});
  EXPECT_EQ(ended(a_)->code, EndCode::kInvalidArgument);
  EXPECT_THAT(ended(a_)->message, HasSubstr("returned_total 1048577 is above granted_total"));
  EXPECT_EQ(session(0).state, "suspect");
  EXPECT_EQ(held(), kMiB) << "its bytes stay charged";
}

TEST_F(LeaseTest, OverdraftIsChargedAtOnceAsDebtAndRepaidFirst) {
  send(a_, {acquire(1, 100 * kMiB, kMiB, 0)});
  send(b_, {acquire(1, 924 * kMiB, kMiB, 0)});
  received(a_);
  send(a_, {overdraft(8 * kMiB), inventory(108 * kMiB, 0, 0)});
  Received got = received(a_);
  EXPECT_EQ(got.lease_set()->debt_bytes(), 8 * kMiB);
  EXPECT_EQ(got.lease_set()->overdrawn_total(), 8 * kMiB);
  EXPECT_EQ(lease(0).totals.held(), 108 * kMiB);
  send(a_, {overdraft(8 * kMiB)});
  EXPECT_EQ(lease(0).totals.held(), 108 * kMiB);
  send(a_, {release(8 * kMiB)});
  got = received(a_);
  EXPECT_EQ(got.lease_set()->debt_bytes(), 0);
  EXPECT_EQ(lease(0).view.debt, 0);
}

TEST_F(LeaseTest, CoveredDebtIsTold) {
  send(a_, {acquire(1, 100 * kMiB, kMiB, 0)});
  send(b_, {acquire(1, 924 * kMiB, kMiB, 0)});
  send(a_, {overdraft(8 * kMiB)});
  received(a_);
  send(b_, {release(16 * kMiB)});
  EXPECT_EQ(received(a_).lease_set()->debt_bytes(), 0);
}

TEST_F(LeaseTest, AnOverdraftBeyondAllReasonEndsTheStream) {
  send(a_, {overdraft(kLeaseHeldMax + 1)});
  EXPECT_EQ(ended(a_)->code, EndCode::kInvalidArgument);
  EXPECT_EQ(held(), 0);
  send(b_, {overdraft(kBytesMax)});
  EXPECT_EQ(ended(b_)->code, EndCode::kInvalidArgument);
}

TEST_F(LeaseTest, ADenialSaysWhyAndWhoHolds) {
  send(a_, {acquire(1, 600 * kMiB, kMiB, 0)});
  send(b_, {acquire(1, 424 * kMiB, kMiB, 0)});
  received(a_);
  send(a_, {acquire(2, 64 * kMiB, 64 * kMiB, 0)});
  const auto denied = received(a_).denied();
  ASSERT_TRUE(denied.has_value());
  EXPECT_EQ(denied->request_id(), 2u);
  EXPECT_EQ(denied->reason(), v1::DENY_REASON_DEADLINE);
  EXPECT_EQ(denied->hint(), v1::DENY_HINT_WAIT);
  EXPECT_EQ(denied->retry_after_ms(), 1000u);
  ASSERT_EQ(denied->holders_size(), 2);
  EXPECT_EQ(denied->holders(0).tenant(), "a");
  EXPECT_EQ(denied->holders(0).session(), "client#1");
  EXPECT_EQ(denied->holders(0).held_bytes(), 600 * kMiB);
  EXPECT_EQ(denied->holders(1).tenant(), "others") << "not whom else there is";
  EXPECT_EQ(denied->holders(1).session(), "");
  EXPECT_EQ(denied->holders(1).held_bytes(), 424 * kMiB);
}

TEST_F(LeaseTest, OddRequestsGetOneAnswerEach) {
  send(a_, {acquire(1, kMiB, 2 * kMiB, 0)});
  EXPECT_EQ(received(a_).denied()->reason(), v1::DENY_REASON_INVALID);
  ClientMessage other = acquire(2, kMiB, kMiB, 0);
  other.mutable_acquire()->set_resource("gpu");
  send(a_, {other});
  EXPECT_EQ(received(a_).denied()->reason(), v1::DENY_REASON_INVALID);
  send(a_, {acquire(3, 2 * kCapacity, 2 * kCapacity, 0)});
  const auto denied = received(a_).denied();
  EXPECT_EQ(denied->reason(), v1::DENY_REASON_TOO_LARGE);
  EXPECT_EQ(denied->attainable_bytes(), kCapacity);
  send(a_, {acquire(0, kMiB, kMiB, 0)});
  EXPECT_THAT(ended(a_)->message, HasSubstr("request_id is 0"));
}

TEST_F(LeaseTest, ARefusalNamesAnUnknownResourceInWholeCharacters) {
  ClientMessage other = acquire(1, kMiB, kMiB, 0);
  const std::string start_of_name(config_.limits.text_bytes_max - 1, 'x');
  other.mutable_acquire()->set_resource(start_of_name + "\u00fc");
  send(a_, {other});
  EXPECT_EQ(received(a_).denied()->resource(), start_of_name);
}

TEST_F(LeaseTest, AReplayedRequestThatIsOpenChangesNothing) {
  send(b_, {acquire(1, kCapacity, kMiB, 0)});
  send(a_, {acquire(1, kMiB, kMiB, 1000)});
  send(a_, {acquire(1, kMiB, kMiB, 1000)});
  advance(1000);
  const Received got = received(a_);
  int denials = 0;
  for (const ServerMessage& message : got.messages) denials += message.has_denied() ? 1 : 0;
  EXPECT_EQ(denials, 1);
}

TEST_F(LeaseTest, CancelIsAnsweredOnce) {
  send(b_, {acquire(1, kCapacity, kMiB, 0)});
  send(a_, {acquire(1, kMiB, kMiB, 9000)});
  send(a_, {cancel(1)});
  EXPECT_EQ(received(a_).denied()->reason(), v1::DENY_REASON_CANCELLED);
  send(a_, {cancel(1), cancel(99)});
  EXPECT_TRUE(received(a_).messages.empty());
}

TEST_F(LeaseTest, InventoryMovesNothingAndIsShown) {
  send(a_, {acquire(1, 100 * kMiB, kMiB, 0)});
  send(a_, {inventory(60 * kMiB, 40 * kMiB, 30 * kMiB)});
  EXPECT_EQ(held(), 100 * kMiB);
  EXPECT_EQ(lease(0).use.reserved, 60 * kMiB);
  EXPECT_EQ(lease(0).view.slack, 40 * kMiB);
  EXPECT_EQ(lease(0).view.reclaimable, 30 * kMiB);
  EXPECT_EQ(broker_->snapshot().counters.odd_inventories, 0u);
  send(a_, {inventory(90 * kMiB, 40 * kMiB, 0)});
  EXPECT_EQ(broker_->snapshot().counters.odd_inventories, 1u) << "more than the record has";
  EXPECT_EQ(held(), 100 * kMiB);
  send(a_, {inventory(-1, 0, 0)});
  EXPECT_THAT(ended(a_)->message, HasSubstr("reserved_bytes is -1"));
}

TEST_F(LeaseTest, GoodbyeCreditsTheFloorAndEndsTheStream) {
  const ConnectionId c = attach(3, hello("c", claim(8 * kMiB)));
  send(c, {acquire(1, 10 * kMiB, kMiB, 0)});
  send(c, {release(10 * kMiB), goodbye()});
  EXPECT_EQ(ended(c)->code, EndCode::kOk);
  EXPECT_EQ(held(), 0);
  EXPECT_EQ(broker_->snapshot().sessions.size(), 2u);
}

TEST_F(LeaseTest, GoodbyeWithBytesHeldIsAnError) {
  send(a_, {acquire(1, 10 * kMiB, kMiB, 0)});
  send(a_, {goodbye()});
  EXPECT_EQ(ended(a_)->code, EndCode::kInvalidArgument);
  EXPECT_THAT(ended(a_)->message, HasSubstr("10485760 bytes of ram still held"));
  EXPECT_EQ(held(), 10 * kMiB);
}

TEST_F(LeaseTest, TooManyMessagesEndTheStream) {
  v1::ClientFrame frame;
  frame.set_epoch(epoch_.value);
  frame.set_attach(1);
  for (std::uint64_t i = 1; i <= 65; ++i) *frame.add_messages() = acquire(i, kMiB, kMiB, 0);
  broker_->received(a_, frame, now_);
  deliver();
  EXPECT_EQ(ended(a_)->code, EndCode::kResourceExhausted);
  EXPECT_THAT(ended(a_)->message, HasSubstr("65 messages; the limit is 64"));
  EXPECT_EQ(held(), 0);
}

TEST_F(LeaseTest, AClientThatAsksWithoutReadingLosesItsStreamOnly) {
  deaf_.insert(a_);
  for (std::uint64_t i = 1; i <= 300 && !ended(a_); ++i) send(a_, {acquire(i, 1, 1, 0)});
  ASSERT_TRUE(ended(a_).has_value());
  EXPECT_EQ(ended(a_)->code, EndCode::kResourceExhausted);
  EXPECT_THAT(ended(a_)->message, HasSubstr("256 answers are unread"));
  EXPECT_EQ(session(0).state, "suspect");
  EXPECT_EQ(held(), 257) << "what was granted stays charged";
}

TEST_F(LeaseTest, ManyAnswersAreSplitIntoFramesInOrder) {
  deaf_.insert(a_);
  for (std::uint64_t i = 1; i <= 200; ++i) send(a_, {acquire(i, 1, 1, 0)});
  send(a_, {overdraft(1)});
  deaf_.clear();
  v1::ServerFrame frame;
  std::uint64_t next = 1;
  int frames = 0;
  while (broker_->compose(a_, now_, &frame)) {
    ++frames;
    EXPECT_LE(frame.messages_size(), 64);
    for (const ServerMessage& message : frame.messages()) {
      if (message.has_granted()) {
        EXPECT_EQ(message.granted().request_id(), next++);
      }
      if (message.has_lease_set()) {
        EXPECT_EQ(next, 201u) << "no LeaseSet before an older answer";
      }
    }
  }
  EXPECT_EQ(next, 201u);
  EXPECT_EQ(frames, 4);
}

TEST_F(LeaseTest, HeartbeatTellsWhetherMemoryIsTight) {
  send(b_, {acquire(1, kCapacity, kMiB, 0), inventory(kCapacity, 0, 0)});
  advance(500);
  EXPECT_FALSE(received(a_).pulse()->leases(0).tight());
  send(a_, {acquire(1, kMiB, kMiB, 9000)});
  advance(500);
  const auto pulse = received(a_).pulse();
  EXPECT_TRUE(pulse->leases(0).tight());
  EXPECT_EQ(pulse->leases(0).chunk_hint_bytes(), 8 * kMiB);
}

}  // namespace
}  // namespace membroker::broker::test
