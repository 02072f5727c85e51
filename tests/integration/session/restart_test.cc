// The daemon's own deaths: SIGTERM, SIGKILL, a second one.

#include <signal.h>

#include <filesystem>
#include <fstream>

#include "tests/integration/session/session_fixture.h"

namespace membroker::testing {
namespace {

using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

using RestartTest = SessionTest;

TEST_F(RestartTest, ASecondDaemonIsRefusedAndTheFirstGoesOn) {
  ChildProcess second({MEMBROKERD, "--config", daemon_.path("membrokerd.toml")},
                      daemon_.path("second"));
  EXPECT_EQ(second.wait(), 1);
  expect_serving();
}

TEST_F(RestartTest, ARefusedDaemonBeginsNoLife) {
  // The same runtime directory, a state directory of its own: whatever it stored would be there.
  std::ofstream(daemon_.path("other.toml"))
      << "runtime_directory = \"" << daemon_.path("run") << "\"\n"
      << "state_directory = \"" << daemon_.path("other_state") << "\"\n"
      << DaemonProcess::default_config();
  ChildProcess second({MEMBROKERD, "--config", daemon_.path("other.toml")}, daemon_.path("second"));
  EXPECT_EQ(second.wait(), 1);
  EXPECT_FALSE(std::filesystem::exists(daemon_.path("other_state")));
}

TEST_F(RestartTest, AfterSigkillSessionsResumeWithTheirBytes) {
  auto a = open("a");
  a->send({acquire(1, 24 * kMiB, kMiB, 0), release(4 * kMiB)});
  ASSERT_TRUE(a->granted(1).has_value());
  ASSERT_TRUE(held_becomes(20 * kMiB));
  const std::uint64_t epoch = a->welcome().epoch();
  daemon_.kill9();
  EXPECT_EQ(a->end().error_code(), grpc::StatusCode::UNAVAILABLE);
  ASSERT_TRUE(daemon_.start()) << daemon_.log();
  EXPECT_TRUE(held_becomes(20 * kMiB)) << "charged before anyone has said Hello";
  EXPECT_TRUE(admin_->session_becomes(a->welcome().session_id(), "recovered"));
  // The client has returned more meanwhile.
  auto again = connect();
  ASSERT_TRUE(again->attach(hello("a", claim(0, {24 * kMiB, 0, 10 * kMiB})), 2));
  EXPECT_TRUE(again->welcome().resumed());
  EXPECT_GT(again->welcome().epoch(), epoch);
  EXPECT_EQ(again->welcome().session_id(), a->welcome().session_id());
  EXPECT_EQ(again->lease_set()->granted_total(), 24 * kMiB);
  EXPECT_TRUE(held_becomes(14 * kMiB));
  again->send({acquire(2, 50 * kMiB, 50 * kMiB, 0)});
  EXPECT_TRUE(again->granted(2).has_value());
}

TEST_F(RestartTest, AClientThatDiedWhileTheDaemonWasAwayIsNotCharged) {
  Client a = client("a", 32 * kMiB);
  daemon_.kill9();
  a.process->signal(SIGKILL);
  static_cast<void>(a.process->wait());
  ASSERT_TRUE(daemon_.start()) << daemon_.log();
  EXPECT_TRUE(held_becomes(0));
  EXPECT_TRUE(daemon_.logs("process_ended_while_daemon_was_away"));
}

TEST_F(RestartTest, AClientThatDiesAfterTheRestartIsLetGo) {
  Client a = client("a", 32 * kMiB);
  daemon_.kill9();
  ASSERT_TRUE(daemon_.start()) << daemon_.log();
  EXPECT_TRUE(held_becomes(32 * kMiB));
  a.process->signal(SIGKILL);
  EXPECT_TRUE(held_becomes(0));
}

TEST_F(RestartTest, SigtermTellsClientsToComeBackAndKeepsTheirLeases) {
  auto a = open("a");
  a->send({acquire(1, 24 * kMiB, kMiB, 0)});
  ASSERT_TRUE(a->granted(1).has_value());
  daemon_.signal(SIGTERM);
  const auto draining = a->take([](const v1::ServerMessage& m) { return m.has_draining(); });
  ASSERT_TRUE(draining.has_value());
  EXPECT_EQ(draining->draining().mode(), v1::DRAIN_MODE_RESTART);
  EXPECT_EQ(a->end().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(a->end().error_message(), HasSubstr("keep the lease and reconnect"));
  EXPECT_EQ(daemon_.wait(), 0);
  ASSERT_TRUE(daemon_.start()) << daemon_.log();
  EXPECT_TRUE(held_becomes(24 * kMiB));
}

TEST_F(RestartTest, SigtermWithAStoppedClientEndsWithinTheGrace) {
  Client a = client("a", 16 * kMiB);
  auto b = open("b");
  a.process->signal(SIGSTOP);
  const auto asked = Clock::now();
  EXPECT_EQ(daemon_.stop(), 0);
  EXPECT_LE(Clock::now() - asked, milliseconds(2'500)) << "1 s of grace, 1 s for the admins'";
  a.process->signal(SIGKILL);
}

TEST_F(RestartTest, WithTheLedgerLostSessionsAreChargedWhatTheySay) {
  auto a = open("a");
  a->send({acquire(1, 24 * kMiB, kMiB, 0)});
  ASSERT_TRUE(a->granted(1).has_value());
  daemon_.kill9();
  std::remove(daemon_.path("run/ledger").c_str());
  ASSERT_TRUE(daemon_.start()) << daemon_.log();
  EXPECT_EQ(admin_->status().state(), "recovering");
  auto fresh = connect();
  EXPECT_FALSE(fresh->attach(hello("b", claim(0), 'b')));
  EXPECT_EQ(fresh->end().error_code(), grpc::StatusCode::UNAVAILABLE);
  auto again = connect();
  ASSERT_TRUE(again->attach(hello("a", claim(0, {24 * kMiB, 0, 0})), 2));
  EXPECT_TRUE(held_becomes(24 * kMiB));
  again->send({acquire(2, kMiB, kMiB, 1'000)});
  EXPECT_EQ(again->denied(2)->reason(), v1::DENY_REASON_RECOVERING);
}

TEST_F(RestartTest, ManySessionsComeAndGoWhileItIsStopped) {
  std::vector<std::unique_ptr<RawSession>> sessions;
  for (char token = 'a'; token < 'a' + 16; ++token) sessions.push_back(open("a", token));
  for (auto& session : sessions) session->send({acquire(1, kMiB, kMiB, 0)});
  EXPECT_EQ(daemon_.stop(), 0);
  for (auto& session : sessions) {
    EXPECT_EQ(session->end().error_code(), grpc::StatusCode::UNAVAILABLE);
  }
}

}  // namespace
}  // namespace membroker::testing
