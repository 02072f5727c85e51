// How many admin calls a daemon has under way at once, and what the next one is told.

#include <vector>

#include "server/broker/usage_store.h"
#include "shared/wall_time.h"
#include "tests/integration/session/session_fixture.h"

namespace membroker::testing {
namespace {

using ::testing::HasSubstr;
using v1::admin::GetUsageRequest;
using v1::admin::GetUsageResponse;

/// A call whose answer is not read, and too large for what gRPC takes in unread: the daemon is busy
/// with it until end(). It is under way when this is made.
class UnreadCall {
 public:
  explicit UnreadCall(const DaemonProcess& daemon) : stub_(slow_reader(daemon)) {
    context_.set_deadline(std::chrono::system_clock::now() + 4 * kWaitMax);
    GetUsageRequest request;
    request.set_page_size(4'000);
    call_ = stub_->AsyncGetUsage(&context_, request, &queue_);
    call_->ReadInitialMetadata(this);
    EXPECT_TRUE(next());
  }
  ~UnreadCall() {
    if (call_) end();
  }

  /// Reads the answer.
  grpc::Status end() {
    grpc::Status status;
    call_->Finish(&response_, &status, this);
    EXPECT_TRUE(next());
    call_.reset();
    return status;
  }
  const GetUsageResponse& response() const { return response_; }

 private:
  bool next() {
    void* tag = nullptr;
    bool ok = false;
    return queue_.Next(&tag, &ok) && ok;
  }

  std::unique_ptr<v1::admin::Admin::Stub> stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  GetUsageResponse response_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<GetUsageResponse>> call_;
};

class AdminLimitTest : public SessionTest {
 protected:
  void SetUp() override {
    SessionTest::SetUp();
    // Names as long as they can be.
    broker::UsageStore usage(daemon_.path("state"));
    // Of the last days, or it is dropped with the next minute that is written.
    broker::UsageMinute minute{wall_now_ms() / 60'000 * 60'000 - 3'600'000, 60, {}};
    const std::string resource(255, 'r');
    for (int i = 0; i < kRows; ++i) {
      minute.rows.push_back({std::string(245, 't') + std::to_string(i), resource, 60, 1, 0, 0, 0});
    }
    // Locked while the daemon opens it.
    ASSERT_TRUE(comes_true([&] { return usage.write(minute).has_value(); }));
  }
  grpc::Status status() {
    grpc::ClientContext context;
    set_deadline(context);
    v1::admin::GetStatusResponse response;
    return admin_->stub().GetStatus(&context, {}, &response);
  }

  static constexpr int kRows = 4'000;
};

// Not exactly eight: gRPC counts threads, of which one or two wait for the next call.
TEST_F(AdminLimitTest, CallsBeyondTheLimitAreRefusedUntilOneOfThemIsOver) {
  std::vector<std::unique_ptr<UnreadCall>> calls;
  // A call that has been answered may take its thread a moment longer: three refusals count.
  const auto full = [&] { return !status().ok() && !status().ok() && !status().ok(); };
  while (calls.size() < 10 && !full()) calls.push_back(std::make_unique<UnreadCall>(daemon_));
  EXPECT_GE(calls.size(), 6U);
  ASSERT_LT(calls.size(), 10U);
  const grpc::Status refused = status();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_NE(refused.error_message(), "");
  // Sessions do not depend on admins.
  auto a = open("a");
  a->send({acquire(1, kMiB, kMiB, 0)});
  EXPECT_TRUE(a->granted(1).has_value());

  EXPECT_TRUE(calls.front()->end().ok());
  EXPECT_EQ(calls.front()->response().rows_size(), kRows);
  calls.erase(calls.begin());
  EXPECT_TRUE(comes_true([&] { return status().ok(); }));
  for (auto& call : calls) {  // one may itself have met such a thread
    const grpc::StatusCode code = call->end().error_code();
    EXPECT_TRUE(code == grpc::StatusCode::OK || code == grpc::StatusCode::RESOURCE_EXHAUSTED);
  }
}

TEST_F(AdminLimitTest, APageOfTheLongestNamesFitsIntoAnAnswer) {
  UnreadCall call(daemon_);
  EXPECT_TRUE(call.end().ok());
  EXPECT_EQ(call.response().rows_size(), kRows);
  EXPECT_LT(call.response().ByteSizeLong(), 4U << 20);
}

}  // namespace
}  // namespace membroker::testing
