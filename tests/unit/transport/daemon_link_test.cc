#include "client/transport/daemon_link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <deque>

#include "shared/fd.h"
#include "tests/kit/comes_true.h"
#include "tests/kit/in_child.h"
#include "tests/kit/temporary_folder.h"
#include "tests/kit/unix_socket.h"
#include "tests/unit/transport/fake_daemon.h"
#include "tests/unit/transport/fake_lease.h"

namespace membroker::transport {
namespace {

using testing::comes_true;
using testing::FakeDaemon;
using testing::FakeLease;
using ::testing::HasSubstr;
using testing::in_child;
using testing::SessionCall;

constexpr Bytes kFloor = 8 * kMiB;
constexpr Millis kSoon = 10'000;

LinkOptions options_for(const std::string& socket) {
  LinkOptions options;
  options.socket = socket;
  options.identity.tenant = "acme";
  options.resources = {"ram"};
  return options;
}

/// The test owns the lease; the link only wants to keep it alive.
std::shared_ptr<lease::LeaseListener> unowned(FakeLease& lease) {
  return {std::shared_ptr<void>(), &lease};
}

/// Welcomes, grants every request in full and notes what it reads until the stream ends.
grpc::Status serve(SessionCall& call, std::uint64_t epoch, std::mutex& mutex,
                   std::vector<v1::ClientMessage>& seen) {
  v1::ClientFrame frame;
  if (!call.Read(&frame)) return grpc::Status::OK;
  const v1::ServerFrame welcome = FakeDaemon::welcome(frame, epoch, frame.attach() > 1);
  Bytes total = welcome.messages(1).lease_set().granted_total();
  call.Write(welcome);
  do {
    v1::ServerFrame answer;
    answer.set_epoch(epoch);
    answer.set_attach(frame.attach());
    bool goodbye = false;
    {
      const std::lock_guard lock(mutex);
      for (const v1::ClientMessage& message : frame.messages()) {
        seen.push_back(message);
        goodbye = goodbye || message.has_goodbye();
        if (!message.has_acquire()) continue;
        total += message.acquire().want_bytes();
        v1::Granted& granted = *answer.add_messages()->mutable_granted();
        granted.set_request_id(message.acquire().request_id());
        granted.set_resource("ram");
        granted.set_bytes(message.acquire().want_bytes());
        granted.set_granted_total(total);
      }
    }
    if (goodbye) return grpc::Status::OK;
    answer.add_messages()->mutable_pulse();
    call.Write(answer);
  } while (call.Read(&frame));
  return grpc::Status::OK;
}

class DaemonLinkTest : public ::testing::Test {
 protected:
  DaemonLinkTest() : link_(DaemonLink::make(options_for(socket_))) {
    lease_.state.floor = kFloor;
    link_->bind(0, unowned(lease_));
  }
  ~DaemonLinkTest() override { link_->stop(); }

  void start_daemon(std::uint64_t epoch = 3) {
    daemon_ = std::make_unique<FakeDaemon>(socket_,
                                           [this, epoch](grpc::ServerContext&, SessionCall& call) {
                                             return serve(call, epoch, seen_mutex_, seen_);
                                           });
  }
  void start_daemon(const grpc::Status& answer) {
    daemon_ =
        std::make_unique<FakeDaemon>(socket_, [answer](grpc::ServerContext&, SessionCall& call) {
          v1::ClientFrame hello;
          call.Read(&hello);
          return answer;
        });
  }
  bool granted(std::uint64_t id) {
    const std::lock_guard lock(lease_.mutex);
    return lease_.granted.contains({id});
  }
  template <class Predicate>
  bool saw(Predicate predicate) {
    return comes_true([&] {
      const std::lock_guard lock(seen_mutex_);
      return std::any_of(seen_.begin(), seen_.end(), predicate);
    });
  }

  const testing::TemporaryFolder folder_;
  const std::string socket_ = folder_.path("broker.sock");
  FakeLease lease_;
  std::shared_ptr<DaemonLink> link_;
  std::mutex seen_mutex_;
  std::vector<v1::ClientMessage> seen_;
  std::unique_ptr<FakeDaemon> daemon_;  // stopped first
};

TEST_F(DaemonLinkTest, ConnectsAtTheFirstUseAndIsAnswered) {
  start_daemon();
  link_->source(0)->changed(false);
  EXPECT_EQ(link_->status().state, LinkState::kIdle);
  ASSERT_TRUE(link_->wait_connected(kSoon));
  link_->source(0)->acquire({{1}, 2 * kMiB, kMiB, 1'000, 0});
  ASSERT_TRUE(comes_true([&] { return granted(1); }));
  const LinkStatus status = link_->status();
  EXPECT_EQ(status.state, LinkState::kAttached);
  EXPECT_EQ(status.session_id, 7U);
  EXPECT_EQ(status.epoch, 3U);
  EXPECT_EQ(status.attach, 1U);
  EXPECT_EQ(lease_.attached->totals.granted, kFloor);
}

TEST_F(DaemonLinkTest, HeartbeatsAndUrgentChangesAreSaid) {
  start_daemon();
  ASSERT_TRUE(link_->wait_connected(kSoon));
  ASSERT_TRUE(saw([](const v1::ClientMessage& m) { return m.has_inventory(); }));
  {
    const std::lock_guard lock(lease_.mutex);
    lease_.state.totals.returned = kMiB;
  }
  link_->source(0)->changed(true);
  ASSERT_TRUE(saw([](const v1::ClientMessage& m) {
    return m.has_release() && m.release().returned_total() == kMiB;
  }));
}

TEST_F(DaemonLinkTest, AMissingSocketIsNamedAndTriedAgain) {
  const Status status = link_->wait_connected(30);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::kTimeout);
  EXPECT_THAT(status.error().message(), HasSubstr(socket_));
  EXPECT_THAT(status.error().message(), HasSubstr("is membrokerd running"));
  EXPECT_EQ(link_->status().state, LinkState::kAway);
  start_daemon();
  EXPECT_TRUE(link_->wait_connected(kSoon));
}

TEST_F(DaemonLinkTest, RefusalsAreFinalAndClear) {
  start_daemon(grpc::Status(grpc::StatusCode::NOT_FOUND, "no tenant \"acme\""));
  Status status = link_->wait_connected(kSoon);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(status.error().message(), HasSubstr("no tenant \"acme\""));
  EXPECT_EQ(link_->status().state, LinkState::kRefused);
  const int calls = daemon_->calls;
  // A request for bytes soon after gets the same answer at once, without another attempt.
  link_->source(0)->acquire({{1}, kMiB, kMiB, 0, 0});
  ASSERT_TRUE(comes_true([&] {
    const std::lock_guard lock(lease_.mutex);
    return lease_.detached.size() >= 2;
  }));
  EXPECT_EQ(daemon_->calls, calls);
  const std::lock_guard lock(lease_.mutex);
  EXPECT_TRUE(lease_.detached.back().second);
  EXPECT_EQ(lease_.detached.back().first.code(), ErrorCode::kNotFound);
}

TEST_F(DaemonLinkTest, StatusesHaveTheirWords) {
  const std::vector<std::pair<grpc::StatusCode, ErrorCode>> words = {
      {grpc::StatusCode::PERMISSION_DENIED, ErrorCode::kPermissionDenied},
      {grpc::StatusCode::UNAUTHENTICATED, ErrorCode::kPermissionDenied},
      {grpc::StatusCode::INVALID_ARGUMENT, ErrorCode::kInvalid},
      {grpc::StatusCode::UNIMPLEMENTED, ErrorCode::kUnsupported},
  };
  for (const auto& [code, expected] : words) {
    start_daemon(grpc::Status(code, "because"));
    FakeLease lease;
    const auto link = DaemonLink::make(options_for(socket_));
    link->bind(0, unowned(lease));
    const Status status = link->wait_connected(kSoon);
    link->stop();
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code(), expected) << status.error().message();
    EXPECT_THAT(status.error().message(), HasSubstr("because"));
    daemon_.reset();
  }
}

TEST_F(DaemonLinkTest, ALimitIsMetWithSmallerFloors) {
  std::deque<Bytes> floors;
  std::mutex mutex;
  daemon_ = std::make_unique<FakeDaemon>(socket_, [&](grpc::ServerContext&, SessionCall& call) {
    v1::ClientFrame hello;
    call.Read(&hello);
    const std::lock_guard lock(mutex);
    floors.push_back(hello.messages(0).hello().leases(0).floor_bytes());
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "the floor does not fit");
  });
  const Status status = link_->wait_connected(kSoon);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::kResourcesExhausted);
  const std::lock_guard lock(mutex);
  EXPECT_THAT(floors, ::testing::ElementsAre(8 * kMiB, 4 * kMiB, 2 * kMiB, kMiB, 0));
}

TEST_F(DaemonLinkTest, ADaemonsDeathAndReturnIsAResume) {
  start_daemon(3);
  ASSERT_TRUE(link_->wait_connected(kSoon));
  link_->source(0)->acquire({{1}, 2 * kMiB, kMiB, 1'000, 0});
  ASSERT_TRUE(comes_true([&] { return granted(1); }));
  daemon_.reset();
  ASSERT_TRUE(comes_true([&] { return link_->status().state == LinkState::kAway; }));
  start_daemon(4);
  ASSERT_TRUE(link_->wait_connected(kSoon));
  EXPECT_EQ(link_->status().epoch, 4U);
  EXPECT_GE(link_->status().attach, 2U);
  EXPECT_EQ(link_->status().counters.resumed, 1U);
  EXPECT_TRUE(saw([](const v1::ClientMessage& m) {
    return m.has_hello() && m.hello().leases(0).granted_total() == kFloor + 2 * kMiB;
  }));
  const std::lock_guard lock(lease_.mutex);
  EXPECT_EQ(lease_.attaches, 2);
}

TEST_F(DaemonLinkTest, AListenerThatNeverAnswersIsATimeoutAndStopIsQuick) {
  const UniqueFd listener = testing::listen_on(socket_);
  ASSERT_TRUE(listener);
  const Status status = link_->wait_connected(50);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::kTimeout);
  EXPECT_THAT(status.error().message(), HasSubstr("does not answer"));
  const auto before = std::chrono::steady_clock::now();
  link_->stop();
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(2));
}

TEST_F(DaemonLinkTest, GarbageInsteadOfADaemonIsAwayNotACrash) {
  const UniqueFd listener = testing::listen_on(socket_);
  ASSERT_TRUE(listener);
  std::thread babbler([&] {
    const UniqueFd peer(::accept(listener.get(), nullptr, nullptr));
    const std::string garbage(4'096, 'x');
    EXPECT_GT(::send(peer.get(), garbage.data(), garbage.size(), MSG_NOSIGNAL), 0);
  });
  EXPECT_FALSE(link_->wait_connected(200));
  babbler.join();
  EXPECT_TRUE(comes_true([&] { return link_->status().state == LinkState::kAway; }));
}

TEST_F(DaemonLinkTest, SilenceBeyondTheTimeToLiveIsALoss) {
  std::atomic<bool> talk{false};
  daemon_ =
      std::make_unique<FakeDaemon>(socket_, [&](grpc::ServerContext& context, SessionCall& call) {
        if (talk) return serve(call, 3, seen_mutex_, seen_);
        v1::ClientFrame hello;
        call.Read(&hello);
        call.Write(FakeDaemon::welcome(hello, 3));
        while (call.Read(&hello)) {
        }
        return context.IsCancelled() ? grpc::Status::CANCELLED : grpc::Status::OK;
      });
  ASSERT_TRUE(link_->wait_connected(kSoon));
  talk = true;
  ASSERT_TRUE(comes_true([&] { return link_->status().counters.resumed == 1; }));
  const std::lock_guard lock(lease_.mutex);
  ASSERT_FALSE(lease_.detached.empty());
  EXPECT_THAT(lease_.detached.front().first.message(), HasSubstr("silent"));
}

TEST_F(DaemonLinkTest, GoodbyeEndsTheSession) {
  start_daemon();
  EXPECT_TRUE(link_->end_session(0));  // there was none
  ASSERT_TRUE(link_->wait_connected(kSoon));
  {
    const std::lock_guard lock(lease_.mutex);
    lease_.state.reserved = kMiB;
  }
  EXPECT_FALSE(link_->end_session(50));
  {
    const std::lock_guard lock(lease_.mutex);
    lease_.state.reserved = 0;
  }
  link_->source(0)->changed(true);
  EXPECT_TRUE(link_->end_session(kSoon));
  EXPECT_EQ(link_->status().state, LinkState::kEnded);
  EXPECT_TRUE(saw([](const v1::ClientMessage& m) { return m.has_goodbye(); }));
  const Status status = link_->wait_connected(kSoon);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::kClosed);
}

TEST_F(DaemonLinkTest, ALeftSessionEndsWithItsLastByte) {
  start_daemon();
  const auto lease = std::make_shared<FakeLease>();
  lease->state.reserved = kMiB;
  auto link = DaemonLink::make(options_for(socket_));
  link->bind(0, lease);
  ASSERT_TRUE(link->wait_connected(kSoon));
  const auto source = link->source(0);
  link->abandon();
  link.reset();
  {
    const std::lock_guard lock(lease->mutex);
    lease->state.reserved = 0;
  }
  source->changed(true);
  EXPECT_TRUE(saw([](const v1::ClientMessage& m) { return m.has_goodbye(); }));
  EXPECT_TRUE(comes_true([&] { return lease.use_count() == 1; }));  // the thread has let it go
}

TEST_F(DaemonLinkTest, ALeftSessionThatHoldsNothingDoesNotWaitForADaemonThatIsAway) {
  const auto lease = std::make_shared<FakeLease>();
  auto link = DaemonLink::make(options_for(socket_));
  link->bind(0, lease);
  EXPECT_FALSE(link->wait_connected(10));
  link->abandon();
  EXPECT_TRUE(comes_true([&] { return lease.use_count() == 1; }));
}

TEST_F(DaemonLinkTest, AForkedChildIsCutOffAndTheParentGoesOn) {
  start_daemon();
  ASSERT_TRUE(link_->wait_connected(kSoon));
  const int child = in_child([&] {
    link_->source(0)->acquire({{1}, kMiB, kMiB, 0, 0});
    link_->source(0)->changed(true);
    const Status status = link_->wait_connected(kSoon);
    const bool good = link_->forked() && !status && status.error().code() == ErrorCode::kForked &&
                      link_->end_session(kSoon);
    link_->stop();
    return good ? 0 : 1;
  });
  EXPECT_EQ(child, 0);
  EXPECT_FALSE(link_->forked());
  link_->source(0)->acquire({{2}, kMiB, kMiB, 0, 0});
  EXPECT_TRUE(comes_true([&] { return granted(2); }));
}

TEST_F(DaemonLinkTest, ManyThreadsAskAtOnce) {
  start_daemon();
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::uint64_t i = 1; i <= 200; ++i) {
        link_->source(0)->acquire({{t * 1'000 + i}, 1, 1, 10'000, 0});
        link_->source(0)->changed(i % 2 == 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  // Asked before the stream was up: the lease's to send again, as on_attached() tells it.
  ASSERT_TRUE(link_->wait_connected(kSoon));
  for (std::uint64_t t = 0; t < 4; ++t) {
    for (std::uint64_t i = 1; i <= 200; ++i)
      link_->source(0)->acquire({{t * 1'000 + i}, 1, 1, 0, 0});
  }
  EXPECT_TRUE(comes_true([&] {
    const std::lock_guard lock(lease_.mutex);
    return lease_.granted.size() == 800;
  }));
}

}  // namespace
}  // namespace membroker::transport
