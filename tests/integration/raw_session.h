#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "membroker/v1/admin.grpc.pb.h"
#include "membroker/v1/session.grpc.pb.h"
#include "tests/integration/daemon_process.h"

namespace membroker::testing {

/// One Session stream over a connection of its own that says exactly what a test tells it to. Keeps
/// no totals, sends no heartbeat. Reads on a thread of its own, from the start, unless it is to be
/// one of those that never read.
///
/// Thread: the test's.
class RawSession {
 public:
  explicit RawSession(const std::string& broker_socket, bool reads = true);
  ~RawSession();  // cancels the stream

  /// Sends Hello as `attach` and waits for Welcome; false if the stream ended instead.
  bool attach(const v1::Hello& hello, std::uint64_t attach = 1);
  /// Sends a frame of the epoch of Welcome and the attach of attach().
  bool send(std::initializer_list<v1::ClientMessage> messages);
  bool send_frame(const v1::ClientFrame& frame);
  /// For one that does not read: it cannot know the epoch.
  void set_fences(std::uint64_t epoch, std::uint64_t attach);

  /// The oldest message that matches and was not taken before; nothing if none comes in time.
  using Match = std::function<bool(const v1::ServerMessage& message)>;
  std::optional<v1::ServerMessage> take(const Match& match,
                                        std::chrono::milliseconds most = kWaitMax);
  std::optional<v1::Granted> granted(std::uint64_t request,
                                     std::chrono::milliseconds most = kWaitMax);
  std::optional<v1::Denied> denied(std::uint64_t request,
                                   std::chrono::milliseconds most = kWaitMax);
  std::optional<v1::Revoke> revoke(std::chrono::milliseconds most = kWaitMax);
  std::optional<v1::LeaseSet> lease_set(std::chrono::milliseconds most = kWaitMax);
  const v1::Welcome& welcome() const { return welcome_; }

  /// Waits for the end of the stream; the status it was ended with, or DEADLINE_EXCEEDED.
  grpc::Status end(std::chrono::milliseconds most = kWaitMax);
  bool ended() const;
  void cancel() { context_.TryCancel(); }

 private:
  void read();

  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Broker::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ClientFrame, v1::ServerFrame>> stream_;
  v1::Welcome welcome_;
  std::uint64_t attach_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<v1::ServerMessage> messages_;
  std::optional<grpc::Status> end_;
  std::thread reader_;
};

/// The admin service, one unary call at a time, with a deadline.
class RawAdmin {
 public:
  explicit RawAdmin(const std::string& admin_socket);

  v1::admin::GetStatusResponse status();
  v1::admin::ListSessionsResponse sessions();
  v1::admin::ListLeasesResponse leases();
  /// Of ram; waits for the snapshot to get there.
  bool held_becomes(std::int64_t bytes, std::chrono::milliseconds most = kWaitMax);
  bool session_becomes(std::uint64_t session, const std::string& state,
                       std::chrono::milliseconds most = kWaitMax);
  v1::admin::Admin::Stub& stub() { return *stub_; }

 private:
  std::unique_ptr<v1::admin::Admin::Stub> stub_;
};

/// A deadline some seconds ahead, for a call of a test's own.
void set_deadline(grpc::ClientContext& context);

}  // namespace membroker::testing
