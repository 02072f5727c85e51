// A client that does not answer when it is asked back, as each policy of its tenant treats it.

#include "tests/integration/session/session_fixture.h"

namespace membroker::testing {
namespace {

using ::testing::HasSubstr;

// The daemon's own times: two seconds to spill, half a minute until the policy.
constexpr std::chrono::seconds kOverdueMax{15};
constexpr std::chrono::seconds kPolicyMax{60};

class OverdueTest : public SessionTest {
 protected:
  void SetUp() override {
    daemon_.configure(
        "[resources.ram]\ncapacity = \"64MiB\"\n"
        "[[tenant]]\npath = \"a\"\non_overdue = \"fence\"\n"
        "[[tenant]]\npath = \"b\"\n[[tenant]]\npath = \"w\"\non_overdue = \"warn\"\n");
    SessionTest::SetUp();
  }
  // Holds everything, says that it can spill, is asked for 16 MiB and does nothing; it lives.
  std::unique_ptr<RawSession> ignoring(const std::string& tenant) {
    auto session = open(tenant);
    session->send({acquire(1, kCapacity, kMiB, 0), inventory(kCapacity, 0, kCapacity)});
    EXPECT_TRUE(session->granted(1).has_value());
    waiter_ = open("b", 'b');
    waiter_->send({acquire(1, 16 * kMiB, 16 * kMiB, 600'000)});
    EXPECT_TRUE(session->revoke().has_value());
    return session;
  }
  v1::admin::Lease lease_of(const RawSession& session) {
    const auto leases = admin_->leases();
    for (const auto& lease : leases.leases()) {
      if (lease.session_id() == session.welcome().session_id()) return lease;
    }
    return {};
  }
  // Heartbeats of both, so that neither is taken for dead, until the condition holds.
  bool becomes(RawSession& session, std::chrono::milliseconds most,
               const std::function<bool()>& condition) {
    auto beat = std::chrono::steady_clock::now();
    return comes_true(
        [&] {
          if (std::chrono::steady_clock::now() >= beat) {
            session.send({inventory(kCapacity, 0, 0)});
            waiter_->send({inventory(0, 0, 0)});
            beat = std::chrono::steady_clock::now() + std::chrono::milliseconds(500);
          }
          return condition();
        },
        most);
  }

  std::unique_ptr<RawSession> waiter_;
};

TEST_F(OverdueTest, WhoIgnoresARevocationIsFencedAndOwesTheSameWhenItIsBack) {
  auto a = ignoring("a");
  ASSERT_TRUE(becomes(*a, kOverdueMax, [&] { return lease_of(*a).overdue_bytes() == 16 * kMiB; }));
  a->send({acquire(2, kMiB, kMiB, 0)});
  const auto denied = a->denied(2);
  ASSERT_TRUE(denied.has_value());
  EXPECT_EQ(denied->reason(), v1::DENY_REASON_OVERDUE);
  EXPECT_EQ(denied->self_spill_bytes(), 16 * kMiB);
  const auto fenced = [&] {
    return a
        ->take([](const v1::ServerMessage& m) { return m.has_fenced(); },
               std::chrono::milliseconds(0))
        .has_value();
  };
  ASSERT_TRUE(becomes(*a, kPolicyMax, fenced));
  EXPECT_TRUE(admin_->session_becomes(a->welcome().session_id(), "fenced"));
  EXPECT_EQ(lease_of(*a).held_bytes(), kCapacity);
  EXPECT_TRUE(daemon_.logs("session_fenced"));
  a->send({acquire(3, kMiB, kMiB, 0)});
  ASSERT_TRUE(a->denied(3).has_value());

  // It attaches again with its totals, and owes what it owed until it returns it.
  auto again = connect();
  ASSERT_TRUE(again->attach(hello("a", claim(0, {kCapacity, 0, 0}, 0, kCapacity)), 2));
  EXPECT_EQ(again->welcome().session_id(), a->welcome().session_id());
  EXPECT_TRUE(admin_->session_becomes(again->welcome().session_id(), "active"));
  EXPECT_EQ(lease_of(*again).overdue_bytes(), 16 * kMiB);
  const auto repeated = again->revoke();
  ASSERT_TRUE(repeated.has_value());
  EXPECT_EQ(repeated->target_returned_total(), 16 * kMiB);
  again->send({acquire(4, kMiB, kMiB, 0)});
  const auto owing = again->denied(4);
  ASSERT_TRUE(owing.has_value());
  EXPECT_EQ(owing->reason(), v1::DENY_REASON_OVERDUE);
  again->send({release(16 * kMiB)});
  EXPECT_TRUE(waiter_->granted(1).has_value());
  EXPECT_TRUE(comes_true([&] { return lease_of(*again).overdue_bytes() == 0; }));
}

TEST_F(OverdueTest, WhoIsOnlyWarnedOfStaysAttached) {
  auto w = ignoring("w");
  ASSERT_TRUE(becomes(*w, kPolicyMax,
                      [&] { return daemon_.log().find("revoke_ignored") != std::string::npos; }));
  EXPECT_THAT(daemon_.log(), HasSubstr("action=warn"));
  EXPECT_TRUE(admin_->session_becomes(w->welcome().session_id(), "active"));
  EXPECT_FALSE(w->ended());
  EXPECT_EQ(lease_of(*w).overdue_bytes(), 16 * kMiB);
}

}  // namespace
}  // namespace membroker::testing
