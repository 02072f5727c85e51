// The spill workspace of a lease that was lent no floor.
#include <gtest/gtest.h>

#include <future>

#include "client/memory/lease_pool.h"
#include "membroker/memory_pool.h"
#include "membroker/testing.h"
#include "shared/bytes.h"
#include "tests/kit/comes_true.h"

namespace membroker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::comes_true;
using testing::FakeClock;
using testing::RevocationState;
using testing::ScriptedDaemon;

constexpr Bytes kWorkspace = 8 * kMiB;

LeasePool& pool_of(ScriptedDaemon& daemon) { return static_cast<LeasePool&>(*daemon.pool()); }
lease::LeaseFigures figures(ScriptedDaemon& daemon) { return pool_of(daemon).stats().figures; }
MemoryReservation open(ScriptedDaemon& daemon, const std::string& name) {
  return MemoryConsumer(name).register_with(daemon.pool());
}

TEST(WorkspaceTest, ComesBeforeAnyCallersRequest) {
  ScriptedDaemon daemon(
      {.capacity_bytes = 64 * kMiB, .workspace_bytes = kWorkspace, .attached = false});
  daemon.hold_requests(true);
  auto early = open(daemon, "early");
  auto first = std::async(std::launch::async,
                          [&] { return early.acquire(4 * kMiB, 4 * kMiB, seconds(20)); });
  ASSERT_TRUE(comes_true([&] { return daemon.requests().size() == 1; }));  // and was not sent
  daemon.attach();
  auto late = open(daemon, "late");
  auto second =
      std::async(std::launch::async, [&] { return late.acquire(kMiB, kMiB, seconds(20)); });
  EXPECT_FALSE(late.try_grow(1));
  ASSERT_EQ(daemon.held_requests().size(), 1U);
  EXPECT_EQ(daemon.held_requests().front().min_bytes, kMiB);
  EXPECT_GE(daemon.held_requests().front().want_bytes, kWorkspace);
  EXPECT_EQ(daemon.answer_held(), 1);
  EXPECT_EQ(figures(daemon).reserved, kWorkspace);
  EXPECT_EQ(figures(daemon).reclaimable, 0);
  ASSERT_TRUE(comes_true([&] { return daemon.held_requests().size() >= 2; }));
  daemon.hold_requests(false);
  daemon.answer_held();
  EXPECT_EQ(first.get(), 4 * kMiB);
  EXPECT_EQ(second.get(), kMiB);
  EXPECT_EQ(figures(daemon).reserved, kWorkspace + 5 * kMiB);
}

TEST(WorkspaceTest, WhatWasGivenUpBeforeItCameIsNeverAskedFor) {
  ScriptedDaemon daemon(
      {.capacity_bytes = 64 * kMiB, .workspace_bytes = kWorkspace, .attached = false});
  daemon.hold_requests(true);
  daemon.attach();
  auto caller = open(daemon, "caller");
  std::promise<void> ended;
  auto ticket =
      caller.acquire_async(20 * kMiB, 20 * kMiB, seconds(60), [&](auto) { ended.set_value(); });
  ticket.cancel();
  ASSERT_EQ(ended.get_future().wait_for(seconds(10)), std::future_status::ready);
  EXPECT_EQ(daemon.answer_held(), 1);
  ASSERT_TRUE(comes_true([&] { return figures(daemon).reserved == kWorkspace; }));
  for (const auto& request : daemon.held_requests()) EXPECT_LT(request.min_bytes, 20 * kMiB);
}

TEST(WorkspaceTest, IsTakenWithoutAnotherRequestAndKeptFromRevocations) {
  ScriptedDaemon daemon({.capacity_bytes = 64 * kMiB, .workspace_bytes = kWorkspace});
  EXPECT_EQ(daemon.requests().size(), 1U);
  EXPECT_EQ(daemon.held(), kWorkspace);
  daemon.revoke(4 * kMiB, milliseconds(200));
  EXPECT_TRUE(comes_true([&] { return daemon.revocation() == RevocationState::kCannot; }));
  EXPECT_EQ(daemon.returned_total(), 0);

  auto workspace = pool_of(daemon).reserve_workspace(seconds(10));
  ASSERT_TRUE(workspace) << workspace.error().message();
  EXPECT_EQ(workspace->size(), kWorkspace);
  EXPECT_EQ(figures(daemon).reserved, kWorkspace);
  EXPECT_EQ(daemon.requests().size(), 1U);
  daemon.withdraw_revocation();
  workspace->free();  // from here it is memory like any other
  auto again = pool_of(daemon).reserve_workspace(seconds(10));
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(again->size(), kWorkspace);
}

TEST(WorkspaceTest, APartIsEnough) {
  ScriptedDaemon daemon({.capacity_bytes = 3 * kMiB, .workspace_bytes = kWorkspace});
  auto caller = open(daemon, "caller");
  EXPECT_FALSE(caller.try_grow(1));
  auto workspace = pool_of(daemon).reserve_workspace(seconds(10));
  ASSERT_TRUE(workspace) << workspace.error().message();
  EXPECT_EQ(workspace->size(), 3 * kMiB);
}

TEST(WorkspaceTest, NothingIsChargedTwiceWhenTheDaemonComesBack) {
  ScriptedDaemon daemon(
      {.capacity_bytes = 64 * kMiB, .workspace_bytes = kWorkspace, .attached = false});
  auto caller = open(daemon, "caller");
  auto waiting =
      std::async(std::launch::async, [&] { return caller.acquire(kMiB, kMiB, seconds(20)); });
  ASSERT_TRUE(comes_true([&] { return daemon.requests().size() == 1; }));
  daemon.lose_next_grant();
  daemon.attach();  // the workspace is granted, and the answer lost with the stream
  EXPECT_EQ(figures(daemon).reserved, 0);
  daemon.attach();
  EXPECT_EQ(waiting.get(), kMiB);
  EXPECT_EQ(figures(daemon).reserved, kWorkspace + kMiB);
  const Bytes granted = daemon.granted_total();
  EXPECT_LE(granted, kWorkspace + 2 * kMiB);
  const std::size_t asked = daemon.requests().size();
  daemon.detach();
  daemon.attach();
  auto workspace = pool_of(daemon).reserve_workspace(seconds(10));
  ASSERT_TRUE(workspace) << workspace.error().message();
  EXPECT_EQ(workspace->size(), kWorkspace);
  EXPECT_EQ(daemon.requests().size(), asked);
  EXPECT_EQ(daemon.granted_total(), granted);
}

TEST(WorkspaceTest, IsAskedForAgainWhileOthersHoldEverything) {
  const FakeClock clock;
  FakeClock time = clock;
  ScriptedDaemon daemon({.capacity_bytes = 64 * kMiB,
                         .workspace_bytes = kWorkspace,
                         .clock = &clock,
                         .attached = false});
  daemon.deny_request(1, DenialHint::kWait);
  daemon.attach();
  ASSERT_EQ(daemon.requests().size(), 1U);
  const auto none = pool_of(daemon).reserve_workspace(milliseconds(0));
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code(), ErrorCode::kTimeout);
  EXPECT_NE(none.error().message().find("the script says no"), std::string::npos);
  auto caller = open(daemon, "caller");
  const auto refused = caller.acquire(1, 1, milliseconds(0));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("the script says no"), std::string::npos);
  EXPECT_EQ(daemon.requests().size(), 1U);
  time.advance(milliseconds(1'000));
  EXPECT_TRUE(comes_true([&] { return figures(daemon).reserved == kWorkspace; }));
  EXPECT_TRUE(caller.acquire(kMiB, kMiB, seconds(10)));
}

TEST(WorkspaceTest, OneThatCanNeverBeHadHoldsNobodyUp) {
  ScriptedDaemon daemon(
      {.capacity_bytes = 64 * kMiB, .workspace_bytes = kWorkspace, .attached = false});
  daemon.deny_request(1, DenialHint::kSmaller);
  daemon.attach();
  auto caller = open(daemon, "caller");
  EXPECT_TRUE(caller.acquire(kMiB, kMiB, seconds(10)));
  daemon.deny_request(1, DenialHint::kSmaller);
  const auto none = pool_of(daemon).reserve_workspace(seconds(10));
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code(), ErrorCode::kResourcesExhausted);
}

TEST(WorkspaceTest, AFloorHasRoomForIt) {
  ScriptedDaemon daemon(
      {.capacity_bytes = 64 * kMiB, .floor_bytes = 2 * kMiB, .workspace_bytes = kWorkspace});
  EXPECT_EQ(figures(daemon).reserved, 0);
  auto workspace = pool_of(daemon).reserve_workspace(seconds(10));
  ASSERT_TRUE(workspace) << workspace.error().message();
  EXPECT_EQ(workspace->size(), 2 * kMiB);
  for (const auto& request : daemon.requests()) EXPECT_EQ(request.min_bytes, 1);  // prefetch only
}

TEST(WorkspaceTest, NoneIsWantedWithoutAFloor) {
  ScriptedDaemon daemon({.capacity_bytes = 64 * kMiB});
  EXPECT_EQ(daemon.held(), 0);
  const auto none = pool_of(daemon).reserve_workspace(seconds(10));
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code(), ErrorCode::kInvalid);
}

TEST(WorkspaceTest, GoesBackWhenThePoolIsClosed) {
  ScriptedDaemon daemon({.capacity_bytes = 64 * kMiB, .workspace_bytes = kWorkspace});
  EXPECT_EQ(daemon.held(), kWorkspace);
  pool_of(daemon).close();
  EXPECT_EQ(daemon.held(), 0);
  EXPECT_EQ(pool_of(daemon).reserve_workspace(seconds(1)).error().code(), ErrorCode::kClosed);
}

}  // namespace
}  // namespace membroker
