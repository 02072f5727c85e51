// Watchers of events at a real daemon: what they are told, and what they cannot hold up.

#include <thread>
#include <vector>

#include "tests/integration/session/session_fixture.h"

namespace membroker::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using v1::admin::Event;
using v1::admin::WatchEventsRequest;
using v1::admin::WatchEventsResponse;

/// A call of WatchEvents over a connection of its own, up from when this is made.
class Watcher {
 public:
  explicit Watcher(const DaemonProcess& daemon, const WatchEventsRequest& request = {})
      : stub_(slow_reader(daemon)) {
    context_.set_deadline(std::chrono::system_clock::now() + 4 * kWaitMax);
    stream_ = stub_->WatchEvents(&context_, request);
    stream_->WaitForInitialMetadata();
  }
  /// Reads up to the event of that name, that one included.
  std::vector<Event> until(const std::string& name) {
    std::vector<Event> events;
    WatchEventsResponse response;
    while (stream_->Read(&response)) {
      EXPECT_EQ(response.missed(), 0U);
      events.push_back(response.event());
      if (response.event().name() == name) return events;
    }
    ADD_FAILURE() << "ended before " << name << ": " << stream_->Finish().error_message();
    return events;
  }
  /// Reads to the end.
  grpc::Status end() {
    WatchEventsResponse response;
    while (stream_->Read(&response)) ++read_;
    return stream_->Finish();
  }
  int read() const { return read_; }
  void cancel() { context_.TryCancel(); }

 private:
  std::unique_ptr<v1::admin::Admin::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<WatchEventsResponse>> stream_;
  int read_ = 0;
};

std::vector<std::string> names(const std::vector<Event>& events) {
  std::vector<std::string> result;
  for (const Event& event : events) result.push_back(event.name());
  return result;
}

class EventsTest : public SessionTest {
 protected:
  void set_weight() {
    grpc::ClientContext context;
    set_deadline(context);
    v1::admin::SetTenantRequest request;
    request.set_path("a");
    request.set_weight(1);
    v1::admin::SetTenantResponse response;
    EXPECT_TRUE(admin_->stub().SetTenant(&context, request, &response).ok());
  }
};

TEST_F(EventsTest, ASessionOpensIsAskedReturnsAndLeaves) {
  Watcher watcher(daemon_);
  auto a = open("a");
  a->send({acquire(1, kCapacity, kMiB, 0), inventory(kCapacity, 0, kCapacity)});
  ASSERT_TRUE(a->granted(1).has_value());
  auto b = open("b", 'b');
  b->send({acquire(1, 16 * kMiB, 16 * kMiB, 60'000)});
  ASSERT_TRUE(a->revoke().has_value());
  a->send({release(16 * kMiB)});
  ASSERT_TRUE(b->granted(1).has_value());

  const auto events = watcher.until("revoke_answered");
  ASSERT_THAT(names(events),
              ElementsAre("session_opened", "session_opened", "lease_revoked", "revoke_answered"));
  for (std::size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(events[i].sequence(), events[0].sequence() + i);
    EXPECT_GT(events[i].wall_ms(), 0);
  }
  EXPECT_EQ(events[0].session_id(), a->welcome().session_id());
  EXPECT_EQ(events[0].tenant(), "a");
  EXPECT_THAT(events[0].detail(), HasSubstr("pid="));
  EXPECT_EQ(events[1].tenant(), "b");
  EXPECT_EQ(events[2].session_id(), a->welcome().session_id());
  EXPECT_EQ(events[2].resource(), "ram");
  EXPECT_GE(events[2].bytes(), 16 * kMiB);
  EXPECT_EQ(events[3].bytes(), 16 * kMiB);

  a->cancel();
  EXPECT_THAT(names(watcher.until("session_suspect")), ElementsAre("session_suspect"));
  set_weight();
  const auto set = watcher.until("tenant_set");
  EXPECT_THAT(set.back().detail(), HasSubstr("weight=1"));
}

TEST_F(EventsTest, WhatIsKeptCanBeReadAgainFromANumber) {
  for (int i = 0; i < 3; ++i) set_weight();
  Watcher probe(daemon_);
  set_weight();
  const std::uint64_t last = probe.until("tenant_set").back().sequence();
  WatchEventsRequest request;
  request.set_kept_only(true);
  Watcher all(daemon_, request);
  EXPECT_TRUE(all.end().ok());
  EXPECT_EQ(all.read(), static_cast<int>(last));
  probe.cancel();
  EXPECT_EQ(probe.end().error_code(), grpc::StatusCode::CANCELLED);

  request.set_after_sequence(last - 2);
  Watcher some(daemon_, request);
  EXPECT_TRUE(some.end().ok());
  EXPECT_EQ(some.read(), 2);
  request.set_after_sequence(last + 1);
  Watcher none(daemon_, request);
  EXPECT_EQ(none.end().error_code(), grpc::StatusCode::OUT_OF_RANGE);
}

TEST_F(EventsTest, AThirdWatcherIsRefusedUntilOneLeaves) {
  Watcher first(daemon_);
  Watcher second(daemon_);
  Watcher third(daemon_);
  const grpc::Status refused = third.end();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.error_message(), HasSubstr("2 watchers"));
  first.cancel();
  EXPECT_TRUE(comes_true([&] {
    Watcher next(daemon_, [] {
      WatchEventsRequest request;
      request.set_kept_only(true);
      return request;
    }());
    return next.end().ok();
  }));
  expect_serving();
}

TEST_F(EventsTest, WhoDoesNotReadIsCutOffAndTheOtherIsToldAll) {
  Watcher deaf(daemon_);
  Watcher reader(daemon_);
  std::vector<Event> told;
  std::thread reading([&] { told = reader.until("capacity_set"); });
  int sets = 0;
  EXPECT_TRUE(comes_true(
      [&] {
        for (int i = 0; i < 50; ++i, ++sets) set_weight();
        return daemon_.log().find("watcher_cut_off") != std::string::npos;
      },
      3 * kWaitMax));
  grpc::ClientContext context;
  set_deadline(context);
  v1::admin::SetCapacityRequest request;
  request.set_capacity_bytes(kCapacity);
  v1::admin::SetCapacityResponse response;
  EXPECT_TRUE(admin_->stub().SetCapacity(&context, request, &response).ok());
  reading.join();
  EXPECT_EQ(told.size(), static_cast<std::size_t>(sets) + 1);
  expect_serving();
}

TEST_F(EventsTest, WatchersDoNotHoldTheEndUp) {
  Watcher deaf(daemon_);
  Watcher reader(daemon_);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(daemon_.stop(), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  EXPECT_THAT(names(reader.until("daemon_stopping")), ElementsAre("daemon_stopping"));
  EXPECT_EQ(reader.end().error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace membroker::testing
