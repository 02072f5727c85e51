#include "client/lease/session_protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/transport/fake_lease.h"

namespace membroker::lease {
namespace {

using testing::FakeLease;
using ::testing::HasSubstr;

constexpr Bytes kFloor = 8 * kMiB;

class SessionProtocolTest : public ::testing::Test {
 protected:
  SessionProtocolTest() : protocol_(identity(), {{"ram", &ram_}, {"gpu", &gpu_}}) {
    ram_.state.floor = gpu_.state.floor = kFloor;
  }

  static SessionIdentity identity() {
    SessionIdentity identity;
    identity.tenant = "acme/etl";
    identity.client_name = "sort";
    identity.labels = {{"job", "7"}};
    identity.token = {1, 2, 3};
    identity.priority = 5;
    return identity;
  }

  /// The daemon's frame for the present attach.
  v1::ServerFrame frame(std::uint64_t epoch = 9) {
    v1::ServerFrame frame;
    frame.set_epoch(epoch);
    frame.set_attach(protocol_.attach().value);
    return frame;
  }
  static void add_lease_set(v1::ServerFrame& frame, const char* resource, Bytes granted,
                            Bytes overdrawn = 0, Bytes returned = 0) {
    v1::LeaseSet& set = *frame.add_messages()->mutable_lease_set();
    set.set_resource(resource);
    set.set_granted_total(granted);
    set.set_overdrawn_total(overdrawn);
    set.set_returned_total(returned);
    set.set_floor_bytes(kFloor);
  }
  v1::ServerFrame welcome(std::uint64_t epoch = 9, Bytes ram_granted = kFloor) {
    v1::ServerFrame hello = frame(epoch);
    v1::Welcome& welcome = *hello.add_messages()->mutable_welcome();
    welcome.set_session_id(77);
    welcome.set_epoch(epoch);
    welcome.set_attach(protocol_.attach().value);
    welcome.set_heartbeat_ms(500);
    welcome.set_session_ttl_ms(5'000);
    add_lease_set(hello, "ram", ram_granted);
    add_lease_set(hello, "gpu", kFloor);
    return hello;
  }
  void attach(std::uint64_t epoch = 9) {
    static_cast<void>(protocol_.begin_attach(now_));
    ASSERT_TRUE(protocol_.on_frame(welcome(epoch), now_));
    ASSERT_TRUE(protocol_.attached());
    static_cast<void>(protocol_.next_frame(now_));
  }
  v1::ServerFrame grant(std::uint64_t wire_id, Bytes bytes, Bytes total) {
    v1::ServerFrame granted = frame();
    v1::Granted& message = *granted.add_messages()->mutable_granted();
    message.set_request_id(wire_id);
    message.set_resource("ram");
    message.set_bytes(bytes);
    message.set_granted_total(total);
    return granted;
  }

  FakeLease ram_, gpu_;
  SessionProtocol protocol_;
  Instant now_{1'000};
};

TEST_F(SessionProtocolTest, HelloCarriesIdentityAndThePresentTotals) {
  ram_.state.totals = {100, 20, 30};
  ram_.state.slack = 4;
  ram_.state.reclaimable = 5;
  const v1::ClientFrame frame = protocol_.begin_attach(now_);
  EXPECT_EQ(frame.epoch(), 0U);
  EXPECT_EQ(frame.attach(), 1U);
  ASSERT_EQ(frame.messages_size(), 1);
  const v1::Hello& hello = frame.messages(0).hello();
  EXPECT_EQ(hello.protocol_version(), 1U);
  EXPECT_EQ(hello.tenant(), "acme/etl");
  EXPECT_EQ(hello.client_name(), "sort");
  EXPECT_EQ(hello.labels().at("job"), "7");
  EXPECT_EQ(hello.token().size(), 16U);
  EXPECT_EQ(hello.priority(), 5);
  ASSERT_EQ(hello.leases_size(), 2);
  EXPECT_EQ(hello.leases(0).resource(), "ram");
  EXPECT_EQ(hello.leases(0).floor_bytes(), kFloor);
  EXPECT_EQ(hello.leases(0).granted_total(), 100);
  EXPECT_EQ(hello.leases(0).overdrawn_total(), 20);
  EXPECT_EQ(hello.leases(0).returned_total(), 30);
  EXPECT_EQ(hello.leases(0).slack_bytes(), 4);
  EXPECT_EQ(hello.leases(0).reclaimable_bytes(), 5);
}

TEST_F(SessionProtocolTest, AttachedWhenEveryLeaseSetCame) {
  static_cast<void>(protocol_.begin_attach(now_));
  v1::ServerFrame first = welcome();
  v1::ServerFrame second = frame();
  *second.add_messages() = first.messages(2);
  first.mutable_messages()->RemoveLast();
  ASSERT_TRUE(protocol_.on_frame(first, now_));
  EXPECT_FALSE(protocol_.attached());
  EXPECT_EQ(ram_.attaches, 1);
  EXPECT_EQ(gpu_.attaches, 0);
  ASSERT_TRUE(protocol_.on_frame(second, now_));
  EXPECT_TRUE(protocol_.attached());
  EXPECT_EQ(protocol_.session_id(), 77U);
  EXPECT_EQ(ram_.attached->totals.granted, kFloor);
  EXPECT_EQ(ram_.attached->floor, kFloor);
}

TEST_F(SessionProtocolTest, NothingIsSaidUntilAttached) {
  EXPECT_FALSE(protocol_.next_frame(now_));
  static_cast<void>(protocol_.begin_attach(now_));
  protocol_.acquire(0, {{1}, kMiB, kMiB, 0, 0}, now_);
  protocol_.changed(0, true, now_);
  EXPECT_FALSE(protocol_.next_frame(now_));
  EXPECT_EQ(protocol_.send_deadline(), Instant::never());
}

TEST_F(SessionProtocolTest, RequestsAreNumberedPerSessionAndAnsweredPerLease) {
  attach();
  protocol_.acquire(0, {{1}, 2 * kMiB, kMiB, 300, 3}, now_);
  protocol_.acquire(1, {{1}, 5 * kMiB, kMiB, 0, 0}, now_);
  protocol_.acquire(0, {{1}, 2 * kMiB, kMiB, 300, 3}, now_);  // said twice, sent once
  now_ = now_ + 100;
  const auto out = protocol_.next_frame(now_);
  ASSERT_TRUE(out);
  EXPECT_EQ(out->epoch(), 9U);
  ASSERT_EQ(out->messages_size(), 2);
  const v1::Acquire& ram = out->messages(0).acquire();
  const v1::Acquire& gpu = out->messages(1).acquire();
  EXPECT_NE(ram.request_id(), gpu.request_id());
  EXPECT_EQ(ram.resource(), "ram");
  EXPECT_EQ(ram.wait_ms(), 200U);  // what is left
  EXPECT_EQ(ram.priority(), 3);
  EXPECT_EQ(gpu.want_bytes(), 5 * kMiB);

  ASSERT_TRUE(protocol_.on_frame(grant(ram.request_id(), 2 * kMiB, kFloor + 2 * kMiB), now_));
  EXPECT_EQ(ram_.granted.at({1}), 2 * kMiB);
  EXPECT_EQ(ram_.state.totals.granted, kFloor + 2 * kMiB);
  v1::ServerFrame no = frame();
  v1::Denied& denied = *no.add_messages()->mutable_denied();
  denied.set_request_id(gpu.request_id());
  denied.set_resource("gpu");
  denied.set_reason(v1::DENY_REASON_SELF_SPILL);
  denied.set_hint(v1::DENY_HINT_SPILL);
  denied.set_self_spill_bytes(3 * kMiB);
  v1::Holder& holder = *denied.add_holders();
  holder.set_tenant("others");
  holder.set_held_bytes(64 * kMiB);
  ASSERT_TRUE(protocol_.on_frame(no, now_));
  const Error& error = gpu_.denied.at({1});
  EXPECT_EQ(error.code(), ErrorCode::kResourcesExhausted);
  ASSERT_NE(error.denial(), nullptr);
  EXPECT_EQ(error.denial()->hint, DenialHint::kSpill);
  EXPECT_EQ(error.denial()->self_spill_bytes, 3 * kMiB);
  EXPECT_THAT(error.message(), HasSubstr("self_spill"));
  EXPECT_THAT(error.message(), HasSubstr("others 64.0 MiB"));
}

TEST_F(SessionProtocolTest, TotalsAreSaidOnceAndOnlyWhenTheyGrew) {
  attach();
  ram_.state.totals = {kFloor, 3 * kMiB, 5 * kMiB};
  protocol_.changed(0, true, now_);
  auto out = protocol_.next_frame(now_);
  ASSERT_TRUE(out);
  ASSERT_GE(out->messages_size(), 2);
  EXPECT_EQ(out->messages(0).overdraft().overdrawn_total(), 3 * kMiB);  // before the Release
  EXPECT_EQ(out->messages(1).release().returned_total(), 5 * kMiB);
  protocol_.changed(0, true, now_);
  EXPECT_FALSE(protocol_.next_frame(now_));
}

TEST_F(SessionProtocolTest, AnOrdinaryChangeWaitsALittleAnUrgentOneDoesNot) {
  attach();
  ram_.state.totals.returned = kMiB;
  protocol_.changed(0, false, now_);
  EXPECT_FALSE(protocol_.next_frame(now_));
  EXPECT_GT(protocol_.send_deadline(), now_);
  EXPECT_LE(protocol_.send_deadline(), now_ + 50);
  EXPECT_TRUE(protocol_.next_frame(protocol_.send_deadline()));
}

TEST_F(SessionProtocolTest, InventoryIsTheHeartbeat) {
  attach();
  EXPECT_EQ(protocol_.send_deadline(), now_ + 500);
  now_ = now_ + 500;
  ram_.state.reserved = 42;
  const auto out = protocol_.next_frame(now_);
  ASSERT_TRUE(out);
  ASSERT_EQ(out->messages_size(), 1);
  ASSERT_EQ(out->messages(0).inventory().uses_size(), 2);
  EXPECT_EQ(out->messages(0).inventory().uses(0).reserved_bytes(), 42);
  EXPECT_EQ(protocol_.send_deadline(), now_ + 500);
}

TEST_F(SessionProtocolTest, NewFiguresGoWithEveryFrame) {
  attach();
  ram_.state.slack = 10;
  protocol_.acquire(0, {{1}, kMiB, kMiB, 0, 0}, now_);
  const auto out = protocol_.next_frame(now_);
  ASSERT_TRUE(out);
  ASSERT_EQ(out->messages_size(), 2);
  EXPECT_TRUE(out->messages(1).has_inventory());
}

TEST_F(SessionProtocolTest, AtMost64MessagesAFrameAndNoneLost) {
  attach();
  for (std::uint64_t i = 1; i <= 200; ++i) protocol_.acquire(0, {{i}, 1, 1, 0, 0}, now_);
  protocol_.cancel(0, {7});
  ram_.state.reserved = 1;
  int acquires = 0, cancels = 0, frames = 0;
  while (const auto out = protocol_.next_frame(now_)) {
    ++frames;
    ASSERT_LE(out->messages_size(), 64);
    for (const v1::ClientMessage& message : out->messages()) {
      acquires += message.has_acquire();
      cancels += message.has_cancel();
    }
  }
  EXPECT_EQ(acquires, 200);
  EXPECT_EQ(cancels, 1);
  EXPECT_LE(frames, 4);
}

TEST_F(SessionProtocolTest, ProgressIsTheLatestAndComesAfterTheBytes) {
  attach();
  v1::ServerFrame ask = frame();
  v1::Revoke& revoke = *ask.add_messages()->mutable_revoke();
  revoke.set_revocation_id(4);
  revoke.set_resource("ram");
  revoke.set_target_returned_total(kMiB);
  revoke.set_stage(v1::REVOKE_STAGE_SPILL);
  revoke.set_reason(v1::REVOKE_REASON_FAIR_SHARE);
  revoke.set_deadline_ms(2'000);
  ASSERT_TRUE(protocol_.on_frame(ask, now_));
  ASSERT_TRUE(ram_.revoked);
  EXPECT_EQ(ram_.revoked->id.value, 4U);
  EXPECT_EQ(ram_.revoked->stage, RevokeStage::kSpill);
  EXPECT_EQ(ram_.revoked->reason, "fair_share");
  EXPECT_EQ(ram_.revoked->deadline, 2'000);

  protocol_.progress(0, {4}, kMiB, RevokeState::kWorking, "spilling");
  ram_.state.totals.returned = kMiB;
  ram_.state.slack = 9;
  const std::string whole(kProgressReasonBytesMax - 1, 'x');
  protocol_.progress(0, {4}, kMiB, RevokeState::kDone, whole + "\u00fc and more");
  const auto out = protocol_.next_frame(now_);
  ASSERT_TRUE(out);
  ASSERT_GE(out->messages_size(), 2);
  EXPECT_TRUE(out->messages(0).has_release());
  const v1::RevokeProgress& progress = out->messages(1).progress();
  EXPECT_EQ(progress.state(), v1::REVOKE_STATE_DONE);
  EXPECT_EQ(progress.target_returned_total(), kMiB);
  EXPECT_EQ(progress.slack_bytes(), 9);
  EXPECT_EQ(progress.reason(), whole) << "a part of a character would spoil the frame";
}

TEST_F(SessionProtocolTest, StaleFramesChangeNothing) {
  attach();
  const v1::ServerFrame old_attach = grant(8, kMiB, kFloor + kMiB);
  protocol_.on_stream_lost(Error(ErrorCode::kUnavailable, "lost"), false);
  EXPECT_EQ(ram_.detached.size(), 1U);
  ASSERT_TRUE(protocol_.on_frame(old_attach, now_));  // no stream
  static_cast<void>(protocol_.begin_attach(now_));
  ASSERT_TRUE(protocol_.on_frame(old_attach, now_));  // before Welcome
  ASSERT_TRUE(protocol_.on_frame(welcome(10), now_));
  ASSERT_TRUE(protocol_.on_frame(old_attach, now_));  // after it
  v1::ServerFrame old_epoch = grant(8, kMiB, kFloor + kMiB);
  old_epoch.set_epoch(9);
  ASSERT_TRUE(protocol_.on_frame(old_epoch, now_));
  EXPECT_TRUE(ram_.granted.empty());
  EXPECT_EQ(ram_.state.totals.granted, kFloor);
  EXPECT_EQ(protocol_.counters().stale_frames, 4U);
  EXPECT_EQ(protocol_.counters().resumed, 1U);
}

TEST_F(SessionProtocolTest, HelloAfterALossRepeatsWhatTheOldStreamMayHaveLost) {
  attach();
  ram_.state.totals = {kFloor + kMiB, 2 * kMiB, kMiB};
  protocol_.changed(0, true, now_);
  ASSERT_TRUE(protocol_.next_frame(now_));  // sent, never read by anyone
  protocol_.acquire(0, {{1}, kMiB, kMiB, 0, 0}, now_);
  protocol_.on_stream_lost(Error(ErrorCode::kUnavailable, "lost"), false);
  const v1::ClientFrame hello = protocol_.begin_attach(now_);
  EXPECT_EQ(hello.attach(), 2U);
  EXPECT_EQ(hello.epoch(), 0U);
  EXPECT_EQ(hello.messages(0).hello().leases(0).returned_total(), kMiB);
  EXPECT_EQ(hello.messages(0).hello().leases(0).overdrawn_total(), 2 * kMiB);
  ASSERT_TRUE(protocol_.on_frame(welcome(9, kFloor + 4 * kMiB), now_));
  EXPECT_EQ(ram_.state.totals.granted, kFloor + 4 * kMiB);  // a grant it never saw
  EXPECT_FALSE(protocol_.next_frame(now_));  // the old request is the lease's to repeat
}

TEST_F(SessionProtocolTest, AnOlderEpochIsRefused) {
  attach(9);
  protocol_.on_stream_lost(Error(ErrorCode::kUnavailable, "lost"), false);
  static_cast<void>(protocol_.begin_attach(now_));
  const Status status = protocol_.on_frame(welcome(8), now_);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message(), HasSubstr("epoch 8 came after 9"));
}

TEST_F(SessionProtocolTest, FramesAgainstTheProtocolEndTheStream) {
  static_cast<void>(protocol_.begin_attach(now_));
  EXPECT_FALSE(protocol_.on_frame(frame(), now_));  // empty, no Welcome
  v1::ServerFrame liar = welcome();
  liar.mutable_messages(0)->mutable_welcome()->set_attach(99);
  EXPECT_FALSE(protocol_.on_frame(liar, now_));
  ASSERT_TRUE(protocol_.on_frame(welcome(), now_));
  EXPECT_FALSE(protocol_.on_frame(welcome(), now_));  // a second Welcome
  EXPECT_FALSE(protocol_.on_frame(grant(8, 0, 10), now_));
  EXPECT_FALSE(protocol_.on_frame(grant(8, 10, 5), now_));
  for (const LeaseTotals& totals : {LeaseTotals{-1, 0, 0}, LeaseTotals{1, -1, 0},
                                    LeaseTotals{1, 0, 2}, LeaseTotals{kBytesMax, kBytesMax, 0}}) {
    v1::ServerFrame bad = frame();
    add_lease_set(bad, "ram", totals.granted, totals.overdrawn, totals.returned);
    EXPECT_FALSE(protocol_.on_frame(bad, now_));
  }
  EXPECT_TRUE(ram_.sets.empty());
  v1::ServerFrame fenced = frame();
  fenced.add_messages()->mutable_fenced()->set_reason("overdue");
  const Status status = protocol_.on_frame(fenced, now_);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message(), HasSubstr("overdue"));
}

TEST_F(SessionProtocolTest, UnknownMessagesAndResourcesAreIgnored) {
  attach();
  v1::ServerFrame odd = frame();
  odd.add_messages();
  odd.add_messages()->mutable_shared_charge()->set_share_id(1);
  odd.add_messages()->mutable_draining()->set_mode(v1::DRAIN_MODE_RESTART);
  add_lease_set(odd, "disk", 5);
  odd.add_messages()->mutable_denied()->set_resource("disk");
  odd.add_messages()->mutable_revoke()->set_resource("ram");  // no id
  v1::PulseLease& pulse = *odd.add_messages()->mutable_pulse()->add_leases();
  pulse.set_resource("ram");
  pulse.set_tight(true);
  pulse.set_chunk_hint_bytes(-5);
  EXPECT_TRUE(protocol_.on_frame(odd, now_));
  EXPECT_EQ(protocol_.counters().odd_messages, 5U);
  EXPECT_FALSE(ram_.revoked);
  ASSERT_TRUE(ram_.pulse);
  EXPECT_EQ(ram_.pulse->second, 0);
}

TEST_F(SessionProtocolTest, SilenceOfTheDaemonEndsTheStreamOwnPausesDoNot) {
  attach();
  while (now_ < Instant{1'000 + 4'500}) {
    now_ = std::min(protocol_.alive_deadline(), now_ + 500);
    ASSERT_TRUE(protocol_.check_alive(now_));
  }
  now_ = now_ + 500;
  const Status status = protocol_.check_alive(now_);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message(), HasSubstr("silent"));

  protocol_.on_stream_lost(status.error(), false);
  attach();
  now_ = now_ + 60'000;  // this process was stopped
  EXPECT_TRUE(protocol_.check_alive(now_));
}

TEST_F(SessionProtocolTest, ADaemonThatDoesNotReadIsLeft) {
  attach();
  for (std::uint64_t i = 1; i <= 5'000; ++i) {
    protocol_.acquire(0, {{i}, 1, 1, 0, 0}, now_);
    protocol_.cancel(0, {i});
  }
  EXPECT_FALSE(protocol_.check_alive(now_));
}

TEST_F(SessionProtocolTest, AbsurdTimesAreBounded) {
  static_cast<void>(protocol_.begin_attach(now_));
  v1::ServerFrame absurd = welcome();
  absurd.mutable_messages(0)->mutable_welcome()->set_heartbeat_ms(1);
  absurd.mutable_messages(0)->mutable_welcome()->set_session_ttl_ms(UINT32_MAX);
  ASSERT_TRUE(protocol_.on_frame(absurd, now_));
  static_cast<void>(protocol_.next_frame(now_));
  EXPECT_GE(protocol_.send_deadline(), now_ + 20);
  EXPECT_LE(protocol_.alive_deadline(), now_ + 600'000);
}

TEST_F(SessionProtocolTest, GoodbyeOnlyWhenAllIsReturned) {
  attach();
  ram_.state.totals.granted = kFloor + kMiB;
  ram_.state.reserved = kMiB;
  protocol_.begin_goodbye();
  static_cast<void>(protocol_.next_frame(now_));
  EXPECT_FALSE(protocol_.goodbye_sent());
  ram_.state.reserved = 0;
  ram_.state.totals.returned = kMiB;
  protocol_.changed(0, true, now_);
  const auto out = protocol_.next_frame(now_);
  ASSERT_TRUE(out);
  EXPECT_TRUE(out->messages(0).has_release());
  EXPECT_TRUE(out->messages(out->messages_size() - 1).has_goodbye());
  EXPECT_TRUE(protocol_.goodbye_sent());
  EXPECT_FALSE(protocol_.next_frame(now_ + 10'000));
}

TEST_F(SessionProtocolTest, FloorsAreLoweredDownToOneMebibyteAndThenToNone) {
  EXPECT_TRUE(protocol_.lower_floors());
  EXPECT_EQ(protocol_.begin_attach(now_).messages(0).hello().leases(0).floor_bytes(), 4 * kMiB);
  EXPECT_TRUE(protocol_.lower_floors());
  EXPECT_TRUE(protocol_.lower_floors());
  EXPECT_EQ(protocol_.begin_attach(now_).messages(0).hello().leases(1).floor_bytes(), kMiB);
  EXPECT_TRUE(protocol_.lower_floors());
  EXPECT_EQ(protocol_.begin_attach(now_).messages(0).hello().leases(0).floor_bytes(), 0);
  EXPECT_FALSE(protocol_.lower_floors());
}

}  // namespace
}  // namespace membroker::lease
