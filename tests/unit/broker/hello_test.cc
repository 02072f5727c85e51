#include <gmock/gmock.h>

#include "tests/unit/broker/broker_fixture.h"

namespace membroker::broker::test {
namespace {

using ::testing::HasSubstr;

class HelloTest : public BrokerTest {
 protected:
  void SetUp() override { start(); }

  void expect_refused(const v1::Hello& message, EndCode code, const std::string& text,
                      std::uint64_t number = 1) {
    SCOPED_TRACE(text);
    const ConnectionId id = attach(++pid_, message, number);
    const auto end = ended(id);
    ASSERT_TRUE(end.has_value());
    EXPECT_EQ(end->code, code);
    EXPECT_THAT(end->message, HasSubstr(text));
    EXPECT_TRUE(broker_->snapshot().sessions.empty());
    EXPECT_EQ(held(), 0);
  }

  pid_t pid_ = 100;
};

TEST_F(HelloTest, OpensASessionWithItsFloorAndTellsTheTimes) {
  const ConnectionId id = attach(7, hello("a", claim(8 * kMiB)));
  const Received got = received(id);
  ASSERT_EQ(got.messages.size(), 2u);
  EXPECT_TRUE(got.messages[0].has_welcome());
  EXPECT_TRUE(got.messages[1].has_lease_set());
  EXPECT_EQ(got.welcome()->protocol_version(), 1u);
  EXPECT_EQ(got.welcome()->epoch(), epoch_.value);
  EXPECT_EQ(got.welcome()->attach(), 1u);
  EXPECT_EQ(got.welcome()->heartbeat_ms(), 500u);
  EXPECT_EQ(got.welcome()->session_ttl_ms(), 5000u);
  EXPECT_FALSE(got.welcome()->resumed());
  EXPECT_EQ(got.lease_set()->granted_total(), 8 * kMiB);
  EXPECT_EQ(got.lease_set()->floor_bytes(), 8 * kMiB);
  EXPECT_EQ(got.lease_set()->debt_bytes(), 0);
  EXPECT_EQ(held(), 8 * kMiB);
  EXPECT_EQ(session().state, "active");
}

TEST_F(HelloTest, EachFaultIsNamed) {
  expect_refused(hello("nobody", claim(0)), EndCode::kNotFound, "there is no tenant nobody");
  expect_refused(hello("", claim(0)), EndCode::kNotFound, "there is no tenant \"\"");
  v1::Hello bad = hello("a", claim(0));
  bad.set_token("short");
  expect_refused(bad, EndCode::kInvalidArgument, "Hello.token has 5 bytes; it must have 16");
  bad = hello("a", claim(0));
  bad.set_protocol_version(0);
  expect_refused(bad, EndCode::kInvalidArgument, "protocol_version is missing");
  bad = hello("a", claim(0));
  bad.set_client_name(std::string(129, 'x'));
  expect_refused(bad, EndCode::kInvalidArgument, "client_name has 129 bytes");
  bad = hello("a", claim(0));
  for (int i = 0; i < 17; ++i) (*bad.mutable_labels())[std::to_string(i)] = "v";
  expect_refused(bad, EndCode::kInvalidArgument, "labels has 17 pairs");
  bad = hello("a", claim(0));
  (*bad.mutable_labels())["key"] = std::string(129, 'v');
  expect_refused(bad, EndCode::kInvalidArgument, "labels has 129 bytes");
  bad = hello("a", claim(0));
  bad.clear_leases();
  expect_refused(bad, EndCode::kInvalidArgument, "leases is empty");
  bad = hello("a", claim(0));
  bad.mutable_leases(0)->set_resource("gpu");
  expect_refused(bad, EndCode::kNotFound, "there is no resource gpu");
  bad = hello("a", claim(0));
  *bad.add_leases() = claim(0);
  expect_refused(bad, EndCode::kInvalidArgument, "names resource ram twice");
  expect_refused(hello("a", claim(-1)), EndCode::kInvalidArgument, "floor_bytes is -1");
  expect_refused(hello("a", claim(0, {10, 0, 11})), EndCode::kInvalidArgument,
                 "granted_total + overdrawn_total - returned_total is -1");
  expect_refused(hello("a", claim(0, {kLeaseHeldMax + 1, 0, 0})), EndCode::kInvalidArgument,
                 "granted_total + overdrawn_total - returned_total is");
  expect_refused(hello("a", claim(0)), EndCode::kInvalidArgument, "attach of the first frame is 0",
                 0);
  expect_refused(hello("a", claim(17 * kMiB)), EndCode::kResourceExhausted, "a floor of 17.0 MiB");
}

TEST_F(HelloTest, TheFirstFrameHoldsHelloAlone) {
  const ConnectionId other = stream(7);
  send_as(other, 0, 1, {acquire(1, kMiB, kMiB, 0)});
  EXPECT_THAT(ended(other)->message, HasSubstr("must hold Hello and nothing else"));

  const ConnectionId more = stream(8);
  ClientMessage first;
  *first.mutable_hello() = hello("a", claim(0));
  send_as(more, 0, 1, {first, acquire(1, kMiB, kMiB, 0)});
  EXPECT_THAT(ended(more)->message, HasSubstr("must hold Hello and nothing else"));
}

TEST_F(HelloTest, HelloTwiceOnOneStreamEndsIt) {
  const ConnectionId id = attach(7, hello("a", claim(0)));
  ClientMessage again;
  *again.mutable_hello() = hello("a", claim(0));
  send(id, {again});
  EXPECT_EQ(ended(id)->code, EndCode::kInvalidArgument);
  EXPECT_EQ(session().state, "suspect");
}

TEST_F(HelloTest, AStreamWithoutHelloIsEnded) {
  const ConnectionId id = stream(7);
  advance(4'999);
  EXPECT_FALSE(ended(id).has_value());
  advance(1);
  EXPECT_THAT(ended(id)->message, HasSubstr("no Hello within 5000 ms"));
}

TEST_F(HelloTest, OnlyTheUsersOfTheTenantMayAttach) {
  config_.tenants[0].uids = {1001};
  TenantConfig below;
  below.path = "a/x";
  config_.tenants.push_back(below);
  start();
  const ConnectionId wrong = attach(7, hello("a", claim(0)), 1, 1000);
  EXPECT_EQ(ended(wrong)->code, EndCode::kPermissionDenied);
  EXPECT_THAT(ended(wrong)->message, HasSubstr("uid 1000 (gid 1000) may not use tenant a"));
  EXPECT_EQ(ended(attach(8, hello("a/x", claim(0)), 1, 1000))->code, EndCode::kPermissionDenied);
  EXPECT_FALSE(ended(attach(9, hello("a/x", claim(0)), 1, 1001)).has_value());
  EXPECT_FALSE(ended(attach(10, hello("b", claim(0)), 1, 1000)).has_value());
}

TEST_F(HelloTest, AnyOfThePeersGroupsWillDo) {
  config_.tenants[0].gids = {2001, 2002};
  start();
  const auto attach_with = [&](pid_t pid, gid_t gid, std::vector<gid_t> groups) {
    Peer peer = peer_of(pid);
    peer.gid = gid;
    peer.groups = std::move(groups);
    const ConnectionId id{++last_connection_};
    broker_->connected(id, peer, now_);
    v1::ClientFrame frame;
    frame.set_attach(1);
    *frame.add_messages()->mutable_hello() = hello("a", claim(0));
    broker_->received(id, frame, now_);
    deliver();
    return ended(id);
  };
  EXPECT_FALSE(attach_with(7, 2002, {}).has_value()) << "the primary one";
  EXPECT_FALSE(attach_with(8, 1000, {1, 2001}).has_value()) << "a supplementary one";
  EXPECT_EQ(attach_with(9, 1000, {1, 2000})->code, EndCode::kPermissionDenied);
}

TEST_F(HelloTest, SessionsAreLimitedInAllAndPerUser) {
  config_.limits.sessions_max = 3;
  config_.limits.sessions_per_uid_max = 2;
  start();
  attach(1, hello("a", claim(0)), 1, 1000);
  attach(2, hello("a", claim(0)), 1, 1000);
  const ConnectionId third = attach(3, hello("a", claim(0)), 1, 1000);
  EXPECT_EQ(ended(third)->code, EndCode::kResourceExhausted);
  EXPECT_THAT(ended(third)->message, HasSubstr("sessions_per_uid_max"));
  attach(4, hello("a", claim(0)), 1, 1001);
  EXPECT_THAT(ended(attach(5, hello("a", claim(0)), 1, 1002))->message,
              HasSubstr("all 3 sessions are taken"));
  process_ends(4);
  EXPECT_FALSE(ended(attach(6, hello("a", claim(0)), 1, 1002)).has_value());
}

TEST_F(HelloTest, AFullLedgerRefusesAndLendsNothing) {
  config_.limits.sessions_max = 1'000;
  start();
  for (pid_t pid = 1; pid <= 64; ++pid) {
    ASSERT_FALSE(ended(attach(pid, hello("a", claim(kMiB)))).has_value());
  }
  const Bytes before = held();
  const ConnectionId id = attach(65, hello("b", claim(kMiB)));
  EXPECT_EQ(ended(id)->code, EndCode::kResourceExhausted);
  EXPECT_EQ(held(), before);
}

TEST_F(HelloTest, AProcessThatHasEndedGetsNoSession) {
  dead_.insert(7);
  const ConnectionId id = attach(7, hello("a", claim(kMiB)));
  EXPECT_EQ(ended(id)->code, EndCode::kUnauthenticated);
  EXPECT_THAT(ended(id)->message, HasSubstr("process 7 cannot be watched"));
  EXPECT_EQ(held(), 0);
}

TEST_F(HelloTest, SeveralSessionsOfOneProcessGoTogether) {
  attach(7, hello("a", claim(kMiB), 'x'));
  attach(7, hello("b", claim(kMiB), 'y'));
  EXPECT_EQ(broker_->snapshot().sessions.size(), 2u);
  process_ends(7);
  EXPECT_TRUE(broker_->snapshot().sessions.empty());
  EXPECT_EQ(held(), 0);
}

TEST_F(HelloTest, AFloorBeyondRoomIsRefusedWithTheReason) {
  ASSERT_TRUE(broker_->set_tenant("a", "ram", {.limit = 8 * kMiB}, now_));
  const ConnectionId id = attach(7, hello("a", claim(4 * kMiB)));
  EXPECT_EQ(ended(id)->code, EndCode::kResourceExhausted);
  EXPECT_THAT(ended(id)->message, HasSubstr("a floor of 4.0 MiB is refused"));
  EXPECT_EQ(broker_->snapshot().counters.sessions_gone, 0u) << "it was never there";
  for (const BrokerEvent& event : broker_->take_events()) {
    EXPECT_STRNE(event.name, "session_gone");
  }
}

}  // namespace
}  // namespace membroker::broker::test
