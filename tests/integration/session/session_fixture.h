#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

#include "shared/bytes.h"
#include "tests/integration/daemon_process.h"
#include "tests/integration/raw_session.h"
#include "tests/unit/broker/messages.h"

namespace membroker::testing {

inline constexpr Bytes kCapacity = 64 * kMiB;

/// Of a connection of its own, on which less than 64 KiB stay unread.
inline std::unique_ptr<v1::admin::Admin::Stub> slow_reader(const DaemonProcess& daemon) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  return v1::admin::Admin::NewStub(grpc::CreateCustomChannel(
      "unix:" + daemon.admin_socket(), grpc::InsecureChannelCredentials(), arguments));
}

/// A running daemon with 64 MiB for the tenants "a" and "b".
class SessionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(daemon_.start()) << daemon_.log();
    admin_.emplace(daemon_.admin_socket());
  }
  void TearDown() override {
    if (HasFailure()) std::cerr << "---- the daemon's log\n" << daemon_.log() << "----\n";
  }

  /// A stream without Hello.
  std::unique_ptr<RawSession> connect() {
    return std::make_unique<RawSession>(daemon_.broker_socket());
  }
  /// An attached session.
  std::unique_ptr<RawSession> open(const std::string& tenant, char token = 't') {
    auto session = connect();
    EXPECT_TRUE(session->attach(hello(tenant, claim(0), token))) << session->end().error_message();
    return session;
  }
  /// A client process that holds the bytes; `session` and `child` as it printed them.
  struct Client {
    std::unique_ptr<ChildProcess> process;
    std::uint64_t session = 0;
    pid_t child = 0;
  };
  /// `how`: what else raw_client is to do, such as "fork".
  Client client(const std::string& tenant, Bytes bytes, const std::string& how = "");

  bool held_becomes(Bytes bytes, std::chrono::milliseconds most = kWaitMax) {
    return admin_->held_becomes(bytes, most);
  }
  /// The daemon answers, and a session of another tenant can do its work.
  void expect_serving();

  DaemonProcess daemon_{MEMBROKERD};
  std::optional<RawAdmin> admin_;
  int clients_ = 0;
};

}  // namespace membroker::testing
