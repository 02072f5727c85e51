#include <gtest/gtest.h>

#include "membroker/client.h"
#include "tests/kit/comes_true.h"
#include "tests/kit/temporary_folder.h"
#include "tests/unit/transport/fake_daemon.h"

/// \file
/// Frames of an old stream, or of a daemon's earlier life, that come after the new Hello: a client
/// over a real socket does nothing of what they say. The other direction:
/// tests/integration/session.

namespace membroker::testing {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t kMiB = std::int64_t{1} << 20;
constexpr std::int64_t kFloor = 4 * kMiB;

v1::ServerFrame frame_of(std::uint64_t epoch, std::uint64_t attach) {
  v1::ServerFrame frame;
  frame.set_epoch(epoch);
  frame.set_attach(attach);
  return frame;
}

// Everything that would move bytes, ask for them or end the session.
v1::ServerFrame harmful(std::uint64_t epoch, std::uint64_t attach) {
  v1::ServerFrame frame = frame_of(epoch, attach);
  v1::Granted& granted = *frame.add_messages()->mutable_granted();
  granted.set_request_id(1);
  granted.set_resource("ram");
  granted.set_bytes(kMiB << 10);
  granted.set_granted_total(kMiB << 10);
  v1::LeaseSet& set = *frame.add_messages()->mutable_lease_set();
  set.set_resource("ram");
  set.set_granted_total(kMiB << 11);
  set.set_debt_bytes(kMiB);
  v1::Revoke& revoke = *frame.add_messages()->mutable_revoke();
  revoke.set_revocation_id(5);
  revoke.set_resource("ram");
  revoke.set_target_returned_total(kFloor);
  revoke.set_deadline_ms(1);
  frame.add_messages()->mutable_fenced();
  return frame;
}

v1::ServerFrame debt_of_one_byte(std::uint64_t epoch, std::uint64_t attach) {
  v1::ServerFrame frame = frame_of(epoch, attach);
  v1::LeaseSet& set = *frame.add_messages()->mutable_lease_set();
  set.set_resource("ram");
  set.set_granted_total(kFloor);
  set.set_debt_bytes(1);
  return frame;
}

// The first call ends after its Welcome. In the second, whose daemon is in its next life, what is
// old comes before and after the Welcome; then a figure that shows that all of it was read.
grpc::Status serve(SessionCall& call) {
  v1::ClientFrame hello;
  if (!call.Read(&hello)) return grpc::Status::OK;
  const std::uint64_t attach = hello.attach();
  if (attach == 1) {
    call.Write(FakeDaemon::welcome(hello, 3));
    return {grpc::StatusCode::UNAVAILABLE, "restarting"};
  }
  call.Write(harmful(3, attach - 1));
  call.Write(FakeDaemon::welcome(hello, 4, true));
  call.Write(harmful(3, attach - 1));
  call.Write(harmful(4, attach - 1));
  call.Write(harmful(3, attach));
  call.Write(debt_of_one_byte(4, attach));
  v1::ClientFrame frame;
  while (call.Read(&frame)) {
    v1::ServerFrame pulse = frame_of(4, attach);
    pulse.add_messages()->mutable_pulse();
    call.Write(pulse);
  }
  return grpc::Status::OK;
}

TEST(StaleFramesTest, WhatAnOldStreamSaysAfterTheNewHelloChangesNothing) {
  const TemporaryFolder folder;
  const std::string socket = folder.path("broker.sock");
  FakeDaemon daemon(socket, [](grpc::ServerContext&, SessionCall& call) { return serve(call); });
  Client client = *Client::open({.tenant = "a",
                                 .socket = socket,
                                 .client_name = "test",
                                 .resources = {{.floor_bytes = kFloor}}});
  ASSERT_TRUE(client.wait_connected(10s));
  const auto ram = [&] { return client.stats().resources.front(); };
  ASSERT_TRUE(comes_true([&] { return ram().debt_bytes == 1; })) << client.stats().last_error;
  EXPECT_EQ(client.stats().state, ConnectionState::kAttached);
  EXPECT_EQ(client.stats().epoch, 4U);
  EXPECT_EQ(ram().granted_total, kFloor);
  EXPECT_EQ(ram().held_bytes, kFloor);
  EXPECT_EQ(ram().revocations_asked, 0U);
  EXPECT_EQ(ram().requests_granted, 0U);
}

}  // namespace
}  // namespace membroker::testing
