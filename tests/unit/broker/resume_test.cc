#include <gmock/gmock.h>

#include "tests/unit/broker/broker_fixture.h"

namespace membroker::broker::test {
namespace {

using ::testing::HasSubstr;

class ResumeTest : public BrokerTest {
 protected:
  void SetUp() override {
    start();
    a_ = attach(1, hello("a", claim(kMiB)));
    send(a_, {acquire(1, 100 * kMiB, kMiB, 0)});
    received(a_);
  }
  static ClaimTotals granted(Bytes bytes) { return {bytes, 0, 0}; }

  ConnectionId a_;
};

TEST_F(ResumeTest, ALostStreamMakesSuspectAndTheNextHelloResumes) {
  lose(a_);
  EXPECT_EQ(session().state, "suspect");
  EXPECT_EQ(held(), 101 * kMiB);
  const ConnectionId again = attach(1, hello("a", claim(kMiB, granted(101 * kMiB))), 2);
  const Received got = received(again);
  EXPECT_TRUE(got.welcome()->resumed());
  EXPECT_EQ(got.welcome()->attach(), 2u);
  EXPECT_EQ(got.lease_set()->granted_total(), 101 * kMiB);
  EXPECT_EQ(session().state, "active");
  EXPECT_EQ(broker_->snapshot().sessions.size(), 1u);
}

TEST_F(ResumeTest, AGrantTheClientNeverSawIsInItsLeaseSet) {
  deaf_.insert(a_);
  send(a_, {acquire(2, 50 * kMiB, kMiB, 0)});
  lose(a_);
  const ConnectionId again = attach(1, hello("a", claim(kMiB, granted(101 * kMiB))), 2);
  const Received got = received(again);
  EXPECT_EQ(got.lease_set()->granted_total(), 151 * kMiB);
  EXPECT_FALSE(got.granted().has_value()) << "the answer went with its stream";
  EXPECT_EQ(got.lease_set()->returned_total(), 0);
}

TEST_F(ResumeTest, EachSideTakesTheLargerOfTheOthersTotals) {
  send(a_, {overdraft(4 * kMiB), release(20 * kMiB)});
  lose(a_);
  // A Release and an Overdraft were lost with the stream.
  const ConnectionId again =
      attach(1, hello("a", claim(kMiB, {101 * kMiB, 6 * kMiB, 30 * kMiB})), 2);
  EXPECT_EQ(received(again).lease_set()->overdrawn_total(), 6 * kMiB);
  EXPECT_EQ(held(), 77 * kMiB);
  lose(again);
  // An older Hello cannot lower any of them.
  attach(1, hello("a", claim(kMiB, {50 * kMiB, 0, 0})), 3);
  EXPECT_EQ(held(), 77 * kMiB);
  EXPECT_EQ(lease().totals, (LedgerTotals{101 * kMiB, 6 * kMiB, 30 * kMiB}));
}

TEST_F(ResumeTest, OverdrawnAndReturnedWhileAwayMayCrossTheRecord) {
  lose(a_);
  attach(1, hello("a", claim(kMiB, {101 * kMiB, 10 * kMiB, 111 * kMiB})), 2);
  EXPECT_EQ(held(), 0);
}

TEST_F(ResumeTest, GrantsTheRecordDoesNotHaveAreCharged) {
  lose(a_);
  attach(1, hello("a", claim(kMiB, granted(111 * kMiB))), 2);
  EXPECT_EQ(held(), 111 * kMiB);
}

TEST_F(ResumeTest, TotalsThatMakeNoSenseLeaveTheSessionAsItWas) {
  const ConnectionId other = attach(1, hello("a", claim(kMiB, {101 * kMiB, 0, 102 * kMiB})), 2);
  EXPECT_EQ(ended(other)->code, EndCode::kInvalidArgument);
  EXPECT_FALSE(ended(a_).has_value()) << "the older stream goes on";
  send(a_, {release(kMiB)});
  EXPECT_EQ(held(), 100 * kMiB);
}

TEST_F(ResumeTest, AnotherTenantOrAnOldAttachIsRefused) {
  EXPECT_THAT(ended(attach(1, hello("b", claim(0)), 2))->message, HasSubstr("one of tenant a"));
  EXPECT_THAT(ended(attach(1, hello("a", claim(0)), 1))->message,
              HasSubstr("attach 1 is not newer than 1"));
  EXPECT_FALSE(ended(a_).has_value());
}

TEST_F(ResumeTest, AnotherTokenOrAReusedPidIsAnotherSession) {
  attach(1, hello("a", claim(0), 'o'), 1);
  EXPECT_EQ(broker_->snapshot().sessions.size(), 2u);
  const ConnectionId id{++last_connection_};
  Peer reused = peer_of(1);
  ++reused.start_time;
  broker_->connected(id, reused, now_);
  v1::ClientFrame frame;
  frame.set_attach(1);
  *frame.add_messages()->mutable_hello() = hello("a", claim(0));
  broker_->received(id, frame, now_);
  deliver();
  EXPECT_EQ(broker_->snapshot().sessions.size(), 3u);
  process_ends(1);
  EXPECT_EQ(broker_->snapshot().sessions.size(), 1u);
}

TEST_F(ResumeTest, ANewHelloEndsTheOldStreamAndFencesItsFrames) {
  const ConnectionId again = attach(1, hello("a", claim(kMiB, granted(101 * kMiB))), 2);
  EXPECT_EQ(ended(a_)->code, EndCode::kReplaced);
  const Bytes before = held();
  // Late and repeated frames of the old stream, and old frames that come over the new one.
  send_as(a_, epoch_.value, 1, {release(50 * kMiB), acquire(9, kMiB, kMiB, 0)});
  send_as(again, epoch_.value, 1, {release(50 * kMiB), overdraft(kMiB)});
  send_as(again, epoch_.value - 1, 2, {release(50 * kMiB), acquire(9, kMiB, kMiB, 0)});
  send_as(again, 0, 2, {goodbye()});
  send_as(again, epoch_.value, 3, {release(50 * kMiB)});
  EXPECT_EQ(held(), before);
  EXPECT_EQ(broker_->snapshot().counters.stale_frames, 4u);
  lose(a_);
  EXPECT_EQ(session().state, "active") << "the loss of an old stream is no news";
  send(again, {release(50 * kMiB)});
  EXPECT_EQ(held(), before - 50 * kMiB);
}

TEST_F(ResumeTest, WaitsEndWithTheirStreamAndMayBeAskedAgain) {
  const ConnectionId b = attach(2, hello("b", claim(0)));
  send(b, {acquire(1, kCapacity, kMiB, 0), inventory(kCapacity, 0, 0)});
  send(a_, {acquire(5, 64 * kMiB, 64 * kMiB, 9'000)});
  lose(a_);
  EXPECT_EQ(lease(0).view.waiting_requests, 0u);
  const ConnectionId again = attach(1, hello("a", claim(kMiB, granted(101 * kMiB))), 2);
  EXPECT_FALSE(received(again).denied().has_value());
  send(again, {acquire(5, 64 * kMiB, 64 * kMiB, 8'000)});
  EXPECT_EQ(lease(0).view.waiting_requests, 1u);
  // Attaching while the old stream still seems alive ends its waits as well.
  const ConnectionId third = attach(1, hello("a", claim(kMiB, granted(101 * kMiB))), 3);
  EXPECT_EQ(lease(0).view.waiting_requests, 0u);
  EXPECT_FALSE(received(third).denied().has_value());
}

TEST_F(ResumeTest, SilenceMakesSuspectAndTheNextFrameResumes) {
  advance(4'999);
  EXPECT_EQ(session().state, "active");
  advance(1);
  EXPECT_EQ(session().state, "suspect");
  EXPECT_FALSE(ended(a_).has_value());
  EXPECT_EQ(held(), 101 * kMiB);
  received(a_);
  advance(500);
  EXPECT_TRUE(received(a_).pulse().has_value()) << "the daemon goes on to show that it lives";
  send(a_, {inventory(80 * kMiB, kMiB, 0), release(20 * kMiB)});
  EXPECT_EQ(session().state, "active");
  EXPECT_EQ(held(), 81 * kMiB);
  EXPECT_EQ(lease().view.slack, kMiB);
}

TEST_F(ResumeTest, AStaleFrameWakesNobody) {
  advance(5'000);
  send_as(a_, epoch_.value, 9, {inventory(0, 0, 0)});
  EXPECT_EQ(session().state, "suspect");
}

TEST_F(ResumeTest, AfterTheGraceASuspectIsQuarantinedAndStillComesBack) {
  lose(a_);
  advance(60'000);
  EXPECT_EQ(session().state, "quarantined");
  EXPECT_EQ(held(), 101 * kMiB);
  attach(1, hello("a", claim(kMiB, granted(101 * kMiB))), 2);
  EXPECT_EQ(session().state, "active");
}

TEST_F(ResumeTest, OnlyTheEndOfTheProcessFreesASilentSession) {
  advance(4'000'000);
  EXPECT_EQ(held(), 101 * kMiB);
  process_ends(1);
  EXPECT_EQ(held(), 0);
  EXPECT_TRUE(ended(a_).has_value());
}

TEST_F(ResumeTest, AStreamThatOutlivesItsProcessIsEnded) {
  const ConnectionId idle = stream(1);
  process_ends(1);
  EXPECT_TRUE(ended(idle).has_value());
  EXPECT_TRUE(ended(a_).has_value());
}

}  // namespace
}  // namespace membroker::broker::test
