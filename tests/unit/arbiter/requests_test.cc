#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/unit/arbiter/harness.h"

namespace membroker::arbiter {
namespace {

TEST(ArbiterRequests, AReplayOfAnOpenRequestIsNotAnsweredAgain) {
  Harness h = with_sessions({"a1", "a2"});
  h.hold("a1", 1024);
  EXPECT_EQ(h.acquire(0, 1, "a2", 8, 8, 500), "");
  EXPECT_EQ(h.acquire(1, 1, "a2", 8, 8, 900), "");
  EXPECT_EQ(h.tick(500), "denied 1 deadline wait");
  EXPECT_EQ(h.tick(901), "");
}

TEST(ArbiterRequests, SixteenWaitPerLease) {
  Harness h = with_sessions({"a1", "a2"});
  h.hold("a1", 1024);
  for (std::uint64_t i = 1; i <= 16; ++i) EXPECT_EQ(h.acquire(0, i, "a2", 8, 8, 500), "");
  EXPECT_EQ(h.acquire(0, 17, "a2", 8, 8, 500), "denied 17 too_many_waits wait");
  h.apply(1, Cancel{h.id("a2"), {3}});
  EXPECT_EQ(h.acquire(1, 18, "a2", 8, 8, 500), "");
}

TEST(ArbiterRequests, NonsenseIsInvalid) {
  Harness h = with_sessions({"a1"});
  EXPECT_EQ(h.acquire(0, 1, "a1", 0, 0, 0), "denied 1 invalid none");
  EXPECT_EQ(h.acquire(0, 2, "a1", 8, 0, 0), "denied 2 invalid none");
  EXPECT_EQ(h.acquire(0, 3, "a1", 8, -1, 0), "denied 3 invalid none");
  EXPECT_EQ(h.acquire(0, 4, "a1", 8, 8, -1), "denied 4 invalid none");
  EXPECT_EQ(h.apply(0, Acquire{h.id("a1"), {5}, kBytesMax, 1, INT64_MAX, 0}),
            "granted 5 1024 free");
}

TEST(ArbiterRequests, CancelIsAnsweredOnce) {
  Harness h = with_sessions({"a1", "a2"});
  h.hold("a1", 1024);
  h.acquire(0, 1, "a2", 8, 8, 500);
  EXPECT_EQ(h.apply(1, Cancel{h.id("a2"), {1}}), "denied 1 cancelled none");
  EXPECT_EQ(h.apply(2, Cancel{h.id("a2"), {1}}), "");
}

TEST(ArbiterRequests, AtItsDeadlineARequestTakesWhatThereIs) {
  Harness h = with_sessions({"a1", "a2"});
  h.hold("a1", 1020);
  EXPECT_EQ(h.acquire(0, 1, "a2", 64, 4, 500), "granted 1 4 partial");
  h.release(1, "a1", 4);
  EXPECT_EQ(h.acquire(1, 2, "a2", 64, 8, 500), "");
  h.release(2, "a1", 3);
  EXPECT_EQ(h.tick(501), "denied 2 deadline wait");
  EXPECT_EQ(h.release(502, "a1", 3), "");
  EXPECT_EQ(h.acquire(503, 3, "a2", 64, 8, 0), "granted 3 10 partial");
}

TEST(ArbiterRequests, WhileMoreIsComingNobodyIsFedCrumbs) {
  Harness h = with_sessions({"a1", "b1"});
  h.hold("a1", 1020, 0, 1020);
  EXPECT_EQ(h.acquire(0, 1, "b1", 64, 2, 5'000), "revoke a1 64 by 2000 spill fair");
  EXPECT_EQ(h.release(10, "a1", 60), "granted 1 64 free; withdraw a1 4");
}

TEST(ArbiterRequests, AHeadIsPassedSixteenTimesAndAgainAfterAStall) {
  Harness h = with_sessions({"a1", "b1", "c1"});
  h.hold("a1", 800);
  EXPECT_EQ(h.acquire(0, 1, "b1", 512, 512, 60'000), "");
  std::uint64_t id = 10;
  const auto pass = [&](Millis at) {
    const std::string came = h.acquire(at, ++id, "c1", 2, 2, 0);
    if (!came.starts_with("granted")) return false;
    h.release(at, "c1", 2);
    return true;
  };
  for (int i = 0; i < 16; ++i) EXPECT_TRUE(pass(1)) << i;
  EXPECT_FALSE(pass(1));
  for (Millis at = 101; at < 240; at += 100) EXPECT_FALSE(pass(at)) << at;
  h.tick(252);  // its room has not grown for 250 ms: the earmark helps nobody
  int passes = 0;
  while (passes < 40 && pass(253)) ++passes;
  EXPECT_EQ(passes, 16);
}

TEST(ArbiterRequests, TheSmallLaneIsUsedFirstAndHasAnEnd) {
  Harness h = with_sessions({"a1", "b1"});
  h.hold("a1", 960);
  EXPECT_EQ(h.acquire(0, 1, "b1", 512, 512, 60'000), "");
  // Of the head's own lease: only the lane, of a 128th of the capacity.
  for (std::uint64_t i = 10; i < 18; ++i) {
    EXPECT_THAT(h.acquire(1, i, "b1", 1, 1, 0), testing::StartsWith("granted")) << i;
  }
  EXPECT_EQ(h.acquire(1, 18, "b1", 1, 1, 0), "denied 18 deadline wait");
}

TEST(ArbiterRequests, PastHalfItsWaitARequestComesBeforeAPriority) {
  Harness h = with_sessions({"a1", "a2"});
  h.open("a3", "a", 0, false, 5);
  h.hold("a1", 1024);
  h.acquire(0, 1, "a2", 8, 8, 1'000);
  h.acquire(0, 2, "a3", 8, 8, 9'000);
  EXPECT_EQ(h.release(400, "a1", 8), "granted 2 8 free");
  h.acquire(401, 3, "a3", 8, 8, 9'000);
  EXPECT_EQ(h.release(501, "a1", 8), "granted 1 8 free");
}

TEST(ArbiterRequests, InsideALeasePriorityThenArrival) {
  Harness h = with_sessions({"a1", "a2"});
  h.hold("a1", 1024);
  h.acquire(0, 1, "a2", 8, 8, 9'000);
  h.acquire(1, 2, "a2", 8, 8, 9'000, 1);
  h.acquire(2, 3, "a2", 8, 8, 9'000, 1);
  EXPECT_EQ(h.release(3, "a1", 24), "granted 2 8 free; granted 3 8 free; granted 1 8 free");
}

TEST(ArbiterRequests, ACrowdAtOneLimitDoesNotKeepOthersFromFreeBytes) {
  Harness h;
  TenantPolicy limited;
  limited.limit = 64 * kMiB;
  limited.guarantee = 64 * kMiB;
  h.tenant("a", limited);
  h.tenant("b");
  h.open("b1", "b");
  for (int i = 0; i < 40; ++i) h.open("a" + std::to_string(i), "a");
  h.hold("a0", 60);
  for (int i = 1; i < 40; ++i) {
    const auto id = static_cast<std::uint64_t>(i);
    EXPECT_EQ(h.acquire(1, id, "a" + std::to_string(i), 8, 8, 9'000), "") << i;
  }
  EXPECT_EQ(h.acquire(2, 100, "b1", 512, 512, 9'000), "granted 100 512 free");
  EXPECT_EQ(h.release(3, "a0", 4), "granted 1 8 free");
  EXPECT_EQ(h.release(4, "a0", 8), "granted 2 8 free");
  EXPECT_TRUE(h.arbiter().tight(h.id("a5")));
  EXPECT_FALSE(h.arbiter().tight(h.id("b1")));
}

TEST(ArbiterRequests, DenialsForWantOfMemoryNameTheLargestHolders) {
  Arbiter arbiter(1024 * kMiB);
  Effects effects;
  for (const char* tenant : {"a", "b"}) arbiter.apply({0}, SetTenant{tenant, {}}, effects);
  const Bytes sizes[] = {500 * kMiB, 20 * kMiB, 504 * kMiB};
  const char* tenants[] = {"a", "a", "b"};
  for (std::uint64_t i = 0; i < 3; ++i) {
    arbiter.apply({0}, Open{{i + 1}, "s" + std::to_string(i), tenants[i], 0, 0, false}, effects);
    arbiter.apply({0}, Acquire{{i + 1}, {1}, sizes[i], sizes[i], 0, 0}, effects);
  }
  effects.clear();
  arbiter.apply({1}, Acquire{{2}, {2}, 8 * kMiB, 8 * kMiB, 0, 0}, effects);
  ASSERT_EQ(effects.size(), 1u);
  const auto& denied = std::get<Denied>(effects[0]);
  EXPECT_EQ(denied.retry_after, 1'000);
  ASSERT_EQ(denied.holders.size(), 3u);
  EXPECT_EQ(denied.holders[0].tenant, "b");
  EXPECT_FALSE(denied.holders[0].session);  // others as a sum
  EXPECT_EQ(denied.holders[0].held, 504 * kMiB);
  EXPECT_EQ(denied.holders[1].session, SessionId{1});
  EXPECT_EQ(denied.holders[2].session, SessionId{2});
}

TEST(ArbiterRequests, TheDeadlockBreakerSparesPriorities) {
  Harness h;
  h.tenant("a");
  h.open("a1", "a", 0, false, 1);
  h.open("a2", "a");
  h.open("a3", "a", 0, false, 1);
  h.hold("a1", 400);
  h.hold("a2", 300);
  h.hold("a3", 324);
  h.acquire(0, 1, "a2", 64, 64, 9'000);
  h.acquire(1, 2, "a1", 64, 64, 9'000);
  h.acquire(2, 3, "a3", 64, 64, 9'000);
  EXPECT_EQ(h.tick(499), "");
  EXPECT_EQ(h.tick(510), "denied 1 deadlock rollback");
  EXPECT_EQ(h.tick(900), "");  // a2 does not wait any more: nobody is deadlocked
  h.acquire(901, 4, "a2", 64, 64, 9'000);
  EXPECT_EQ(h.tick(1'100), "denied 4 deadlock rollback");
}

TEST(ArbiterRequests, NextDeadlineIsNeverInThePastAndNeverForgets) {
  Harness h = with_sessions({"a1", "a2"});
  EXPECT_EQ(h.arbiter().next_deadline(), Instant::never());
  h.hold("a1", 1024);
  h.acquire(10, 1, "a2", 8, 8, 5'000);
  EXPECT_EQ(h.arbiter().next_deadline(), Instant{110});
  h.acquire(10, 2, "a2", 8, 8, 50);
  EXPECT_EQ(h.arbiter().next_deadline(), Instant{36});  // it ages
  EXPECT_EQ(h.tick(36), "");
  EXPECT_EQ(h.arbiter().next_deadline(), Instant{60});
}

}  // namespace
}  // namespace membroker::arbiter
