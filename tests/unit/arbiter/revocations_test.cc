#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/arbiter/harness.h"

namespace membroker::arbiter {
namespace {

// a1 holds all; b1 asks for 64 MiB and waits long.
Harness asked(Bytes slack, Bytes reclaimable, const TenantPolicy& policy = {}) {
  Harness h;
  h.tenant("a", policy);
  h.tenant("b");
  h.open("a1", "a");
  h.open("b1", "b");
  h.hold("a1", 1024, slack, reclaimable);
  h.acquire(0, 1, "b1", 64, 64, 600'000);
  EXPECT_EQ(h.lease("a1").revoking, 64 * kMiB);
  return h;
}

TEST(ArbiterRevocations, WordsBuyNoTimeAndBytesDo) {
  Harness h = asked(0, 1024);
  EXPECT_EQ(h.progress(1'900, "a1", ProgressState::kWorking, 0, 1024), "");
  EXPECT_EQ(h.lease("a1").deadline, Instant{2'000});
  EXPECT_EQ(h.release(1'900, "a1", 1), "");
  EXPECT_EQ(h.lease("a1").deadline, Instant{31'900});  // half a MiB/s: the longest time
  EXPECT_EQ(h.release(31'000, "a1", 1), "");
  EXPECT_EQ(h.release(59'000, "a1", 1), "");
  EXPECT_EQ(h.lease("a1").deadline, Instant{60'000});  // never past a minute from its opening
  EXPECT_EQ(h.tick(60'000), "overdue a1 61");
}

TEST(ArbiterRevocations, AnAnswerAboutAnOlderTargetOnlyReports) {
  Harness h = asked(0, 1024);
  EXPECT_EQ(h.progress(5, "a1", ProgressState::kDone, 0, 900, false), "");
  EXPECT_EQ(h.lease("a1").revoking, 64 * kMiB);
  EXPECT_EQ(h.lease("a1").reclaimable, 900 * kMiB);
}

TEST(ArbiterRevocations, WithoutTheSlackItSaidTheSameLeaseIsAskedToSpill) {
  Harness h = asked(500, 500);
  EXPECT_EQ(h.lease("a1").stage, Stage::kSlack);
  EXPECT_EQ(h.progress(5, "a1", ProgressState::kDone, 500, 500), "revoke a1 64 by 2005 spill fair");
}

TEST(ArbiterRevocations, StrikesDoubleWhileNothingIsFreed) {
  Harness h = asked(0, 1024);
  Millis at = 0;
  for (const Millis backoff : {1'000, 2'000, 4'000, 8'000, 16'000, 32'000, 60'000, 60'000}) {
    EXPECT_EQ(h.progress(++at, "a1", ProgressState::kCannot, 0, 1024), "");
    h.report(at, "a1", 0, 1024);
    EXPECT_EQ(h.tick(at + backoff - 1), "") << backoff;
    at += backoff;
    EXPECT_THAT(h.tick(at), testing::StartsWith("revoke a1 64")) << backoff;
  }
  EXPECT_EQ(h.release(++at, "a1", 1), "");
  EXPECT_EQ(h.progress(at, "a1", ProgressState::kDone, 0, 1024), "");
  h.report(at, "a1", 0, 1024);
  EXPECT_THAT(h.tick(at + 1'000), testing::StartsWith("revoke a1 64"));
}

TEST(ArbiterRevocations, AFullAnswerClearsTheStrike) {
  Harness h = asked(0, 1024);
  h.progress(1, "a1", ProgressState::kCannot, 0, 1024);
  h.report(1, "a1", 0, 1024);
  h.tick(1'001);
  EXPECT_EQ(h.release(1'002, "a1", 64), "granted 1 64 free");
  EXPECT_THAT(h.acquire(1'003, 2, "b1", 64, 64, 9'000), testing::StartsWith("revoke a1 64"));
  h.progress(1'004, "a1", ProgressState::kCannot, 0, 960);
  h.report(1'004, "a1", 0, 960);
  EXPECT_THAT(h.tick(2'004), testing::StartsWith("revoke a1 64"));
}

TEST(ArbiterRevocations, OverdueIsWarnedOfEveryThirtySecondsAndFencedByPolicy) {
  Harness warned = asked(0, 1024);
  EXPECT_EQ(warned.tick(2'000), "overdue a1 64");
  warned.report(2'000, "a1", 0, 0);
  EXPECT_EQ(warned.tick(31'999), "");
  EXPECT_EQ(warned.tick(32'000), "warn a1 64");
  EXPECT_EQ(warned.tick(62'000), "warn a1 64");
  EXPECT_EQ(warned.release(62'001, "a1", 64), "granted 1 64 free");
  EXPECT_EQ(warned.tick(99'000), "");
  TenantPolicy fencing;
  fencing.on_overdue = OnOverdue::kFence;
  Harness fenced = asked(0, 1024, fencing);
  fenced.tick(2'000);
  fenced.report(2'000, "a1", 0, 0);
  EXPECT_EQ(fenced.tick(32'000), "fence a1 64");
}

TEST(ArbiterRevocations, CannotClearsWhatIsOverdue) {
  Harness h = asked(0, 1024);
  h.tick(2'000);
  EXPECT_EQ(h.lease("a1").overdue, 64 * kMiB);
  h.progress(2'001, "a1", ProgressState::kDone, 0, 0);
  EXPECT_EQ(h.lease("a1").overdue, 64 * kMiB);
  h.progress(2'002, "a1", ProgressState::kCannot, 0, 0);
  EXPECT_EQ(h.lease("a1").overdue, 0);
  EXPECT_THAT(h.acquire(2'003, 2, "a1", 8, 8, 0), testing::HasSubstr("too_large"));
}

TEST(ArbiterRevocations, AnAdminAsksLikeAnyOtherAndIsNotWithdrawn) {
  Harness h = with_sessions({"a1"});
  h.hold("a1", 512, 0, 400);
  EXPECT_EQ(h.apply(0, Ask{h.id("a1"), 64 * kMiB}), "revoke a1 64 by 2000 spill admin");
  EXPECT_EQ(h.tick(100), "");
  EXPECT_EQ(h.apply(101, Ask{h.id("a1"), 1'000 * kMiB}), "revoke a1 400 by 8101 spill admin");
  EXPECT_EQ(h.release(200, "a1", 400), "");
  EXPECT_EQ(h.lease("a1").revoking, 0);
  EXPECT_THAT(h.apply(201, Ask{h.id("a1"), kMiB}), testing::HasSubstr("nothing to ask"));
}

TEST(ArbiterRevocations, DrainAsksForAllButTheFloorAndGrantsNothing) {
  Harness h;
  h.tenant("a");
  h.open("a1", "a", 8);
  h.open("a2", "a");
  h.hold("a1", 504, 0, 504);
  h.hold("a2", 512, 0, 0);
  h.acquire(0, 1, "a2", 8, 8, 9'000);
  EXPECT_EQ(h.apply(1, Drain{}),
            "denied 1 draining wait; revoke a1 504 by 10081 spill drain; "
            "revoke a2 512 by 10241 spill drain");
  EXPECT_EQ(h.tick(500), "");
  EXPECT_EQ(h.acquire(501, 2, "a2", 8, 8, 9'000), "denied 2 draining wait");
  EXPECT_EQ(h.release(502, "a1", 504), "");
  EXPECT_EQ(h.held("a1"), 8);
  EXPECT_THAT(h.open("a3", "a"), testing::HasSubstr("draining"));
  EXPECT_EQ(h.progress(503, "a2", ProgressState::kCannot, 0, 0), "");
  EXPECT_THAT(h.report(504, "a2", 0, 512), testing::Eq(""));  // in back-off
  EXPECT_THAT(h.tick(1'503), testing::StartsWith("revoke a2 512"));
}

TEST(ArbiterRevocations, TheOverdueBytesOfATenantCountAgainstIt) {
  Harness h = asked(0, 1024);
  h.tick(2'000);
  h.report(2'000, "a1", 0, 1024);
  h.open("a2", "a");
  // a keeps 960 + 64 overdue; a2 shares its tenant's level but not its lease's denial.
  EXPECT_EQ(h.acquire(2'001, 2, "a1", 8, 8, 0), "denied 2 overdue spill self_spill 64");
}

TEST(ArbiterRevocations, DebtAboveAThirtySecondOfTheLimitIsAnAlarmPerTenant) {
  Harness h;
  TenantPolicy limited;
  limited.limit = 320 * kMiB;
  h.tenant("a", limited);
  h.tenant("a/x");
  h.open("x1", "a/x");
  h.hold("x1", 320);
  EXPECT_EQ(h.apply(0, Over{h.id("x1"), 10 * kMiB}), "");
  EXPECT_EQ(h.apply(1, Over{h.id("x1"), 1 * kMiB}),
            "debt_over_cap a/x 11 > 10; debt_over_cap a 11 > 10");
  EXPECT_EQ(h.acquire(2, 1, "x1", 8, 8, 0), "denied 1 debt spill self_spill 11");
  EXPECT_EQ(h.release(3, "x1", 20), "");
  EXPECT_EQ(h.lease("x1").debt, 0);
}

TEST(ArbiterRevocations, ASubTenantsDebtStopsItsParentsOwnLeasesButNotItsSiblings) {
  Harness h;
  h.tenant("p");
  h.tenant("p/x");
  h.tenant("p/y");
  for (const auto& [name, tenant] : {std::pair{"p1", "p"}, {"x1", "p/x"}, {"y1", "p/y"}}) {
    h.open(name, tenant);
  }
  h.hold("x1", 1024);
  h.apply(0, Over{h.id("x1"), 8 * kMiB});
  h.acquire(1, 1, "p1", 8, 8, 9'000);
  h.acquire(2, 2, "y1", 8, 8, 9'000);
  EXPECT_EQ(h.release(3, "x1", 8), "");  // repays the debt only: still full
  EXPECT_EQ(h.lease("x1").debt, 0);
  h.apply(4, Over{h.id("x1"), 8 * kMiB});
  EXPECT_EQ(h.release(5, "x1", 4), "");
  EXPECT_EQ(h.release(6, "x1", 20), "granted 1 8 free; granted 2 8 free");
}

}  // namespace
}  // namespace membroker::arbiter
