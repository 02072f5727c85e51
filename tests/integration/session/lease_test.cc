// Leases over the socket, as the protocol says.

#include "tests/integration/session/session_fixture.h"

namespace membroker::testing {
namespace {

using ::testing::HasSubstr;

using LeaseOverSocketTest = SessionTest;

TEST_F(LeaseOverSocketTest, WelcomeThenLeaseSetThenGrant) {
  auto a = connect();
  ASSERT_TRUE(a->attach(hello("a", claim(kMiB))));
  EXPECT_EQ(a->welcome().heartbeat_ms(), 500u);
  EXPECT_EQ(a->lease_set()->granted_total(), kMiB);
  ASSERT_TRUE(a->send({acquire(1, 10 * kMiB, kMiB, 0)}));
  const auto granted = a->granted(1);
  ASSERT_TRUE(granted.has_value());
  EXPECT_EQ(granted->granted_total(), 11 * kMiB);
  EXPECT_TRUE(held_becomes(11 * kMiB));
  ASSERT_TRUE(a->send({release(10 * kMiB), goodbye()}));
  EXPECT_TRUE(a->end().ok());
  EXPECT_TRUE(held_becomes(0));
}

TEST_F(LeaseOverSocketTest, ARevocationMovesBytesFromOneToTheOther) {
  auto a = open("a");
  auto b = open("b", 'b');
  a->send({acquire(1, kCapacity, kMiB, 0), inventory(kCapacity, 0, kCapacity)});
  ASSERT_TRUE(a->granted(1).has_value());
  b->send({acquire(1, 16 * kMiB, 16 * kMiB, 5'000)});
  const auto revoke = a->revoke();
  ASSERT_TRUE(revoke.has_value());
  EXPECT_EQ(revoke->target_returned_total(), 16 * kMiB);
  EXPECT_EQ(revoke->stage(), v1::REVOKE_STAGE_SPILL);
  a->send({release(16 * kMiB), progress(*revoke, v1::REVOKE_STATE_DONE)});
  EXPECT_EQ(b->granted(1)->bytes(), 16 * kMiB);
  EXPECT_TRUE(comes_true([&] {
    const auto now = admin_->status();
    return now.resources(0).peak_held_bytes() == kCapacity &&
           now.resources(0).revoke_answered_count() == 1;
  }));
}

TEST_F(LeaseOverSocketTest, ALeaseLargerThanTheLimitIsDeniedWithWhatCanBeHad) {
  auto a = open("a");
  a->send({acquire(1, kCapacity + 1, kCapacity + 1, 5'000)});
  const auto denied = a->denied(1);
  ASSERT_TRUE(denied.has_value());
  EXPECT_EQ(denied->reason(), v1::DENY_REASON_TOO_LARGE);
  EXPECT_EQ(denied->hint(), v1::DENY_HINT_SMALLER);
  EXPECT_EQ(denied->attainable_bytes(), kCapacity);
}

TEST_F(LeaseOverSocketTest, TheDaemonsHeartbeatComes) {
  auto a = open("a");
  const auto pulse =
      a->take([](const v1::ServerMessage& m) { return m.has_pulse(); }, std::chrono::seconds(3));
  ASSERT_TRUE(pulse.has_value());
  EXPECT_EQ(pulse->pulse().leases(0).chunk_hint_bytes(), kMiB);
}

TEST_F(LeaseOverSocketTest, AnAdminAsksAndSeesTheLease) {
  auto a = open("a");
  a->send({acquire(1, 32 * kMiB, kMiB, 0), inventory(32 * kMiB, 0, 32 * kMiB)});
  ASSERT_TRUE(a->granted(1).has_value());
  grpc::ClientContext context;
  set_deadline(context);
  v1::admin::RevokeRequest request;
  request.set_session_id(a->welcome().session_id());
  request.set_bytes(8 * kMiB);
  v1::admin::RevokeResponse response;
  const grpc::Status made = admin_->stub().Revoke(&context, request, &response);
  ASSERT_TRUE(made.ok()) << made.error_message();
  EXPECT_EQ(response.revoking_bytes(), 8 * kMiB);
  EXPECT_GT(response.deadline_ms(), 1'000u);
  EXPECT_EQ(a->revoke()->reason(), v1::REVOKE_REASON_ADMIN);
  EXPECT_TRUE(comes_true([&] {
    const auto leases = admin_->leases();
    return leases.leases_size() == 1 && leases.leases(0).revoking_bytes() == 8 * kMiB &&
           leases.leases(0).revoke_reason() == "admin" &&
           leases.leases(0).held_bytes() == 32 * kMiB;
  }));
}

TEST_F(LeaseOverSocketTest, AdminChangesAreAppliedAndErrorsNamed) {
  v1::admin::SetTenantRequest set;
  set.set_path("c");
  set.set_limit_bytes(4 * kMiB);
  v1::admin::SetTenantResponse after;
  grpc::ClientContext one;
  set_deadline(one);
  ASSERT_TRUE(admin_->stub().SetTenant(&one, set, &after).ok());
  EXPECT_EQ(after.tenant().limit_bytes(), 4 * kMiB);
  auto c = open("c", 'c');
  c->send({acquire(1, 5 * kMiB, 5 * kMiB, 0)});
  EXPECT_EQ(c->denied(1)->attainable_bytes(), 4 * kMiB);

  set.set_guarantee_mode("owned");
  grpc::ClientContext two;
  set_deadline(two);
  const grpc::Status bad = admin_->stub().SetTenant(&two, set, &after);
  EXPECT_EQ(bad.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(bad.error_message(), HasSubstr("guarantee_mode owned is neither"));

  v1::admin::RevokeRequest revoke;
  revoke.set_session_id(4711);
  revoke.set_bytes(1);
  v1::admin::RevokeResponse none;
  grpc::ClientContext three;
  set_deadline(three);
  const grpc::Status missing = admin_->stub().Revoke(&three, revoke, &none);
  EXPECT_EQ(missing.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(missing.error_message(), HasSubstr("no session 4711"));
}

TEST_F(LeaseOverSocketTest, StaleFramesOfAnOlderStreamChangeNothing) {
  auto old = open("a");
  old->send({acquire(1, 16 * kMiB, kMiB, 0)});
  ASSERT_TRUE(old->granted(1).has_value());
  auto fresh = connect();
  ASSERT_TRUE(fresh->attach(hello("a", claim(0, {16 * kMiB, 0, 0})), 2));
  EXPECT_TRUE(fresh->welcome().resumed());
  EXPECT_EQ(old->end().error_code(), grpc::StatusCode::ABORTED);
  // What the old stream's frames said, said again over the new one under the old fences.
  v1::ClientFrame stale;
  stale.set_epoch(fresh->welcome().epoch());
  stale.set_attach(1);
  *stale.add_messages() = release(16 * kMiB);
  *stale.add_messages() = acquire(2, kMiB, kMiB, 0);
  ASSERT_TRUE(fresh->send_frame(stale));
  stale.set_attach(2);
  stale.set_epoch(fresh->welcome().epoch() - 1);
  ASSERT_TRUE(fresh->send_frame(stale));
  // A frame that counts, sent after them, is answered: they have been seen by then.
  fresh->send({acquire(3, kMiB, kMiB, 0)});
  EXPECT_EQ(fresh->granted(3)->granted_total(), 17 * kMiB);
  EXPECT_FALSE(fresh->granted(2, std::chrono::milliseconds(0)).has_value());
  EXPECT_TRUE(held_becomes(17 * kMiB));
}

}  // namespace
}  // namespace membroker::testing
