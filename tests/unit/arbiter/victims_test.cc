#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/arbiter/harness.h"

namespace membroker::arbiter {
namespace {

Harness three() { return with_sessions({"a1", "b1", "c1"}); }

// A sixteenth of what it holds is a lease's to work with.
TEST(ArbiterVictims, TheSlackThatALeaseWorksWithIsNotCheap) {
  Harness h = three();
  h.hold("a1", 512, 48, 464);
  h.hold("b1", 512, 0, 512);
  // 16 as slack, then both are asked to spill, in turn, down to one level.
  EXPECT_EQ(h.acquire(0, 1, "c1", 48, 48, 5'000),
            "revoke a1 24 by 200 slack fair; revoke b1 24 by 2000 spill fair");
}

TEST(ArbiterVictims, OfTwoOverTheAverageTheLowerPriorityIsAsked) {
  TenantPolicy high;
  high.priority = 1;
  Harness h = three();
  h.tenant("a", high);
  h.hold("a1", 520, 0, 520);
  h.hold("b1", 504, 0, 504);
  EXPECT_EQ(h.acquire(0, 1, "c1", 64, 64, 5'000), "revoke b1 64 by 2000 spill fair");
}

TEST(ArbiterVictims, UnderTheAverageNoPriorityMatters) {
  TenantPolicy low;
  low.priority = -1;
  Harness h = three();
  h.tenant("a", low);
  h.hold("a1", 100, 0, 100);
  h.hold("b1", 924, 0, 924);
  EXPECT_EQ(h.acquire(0, 1, "c1", 64, 64, 5'000), "revoke b1 64 by 2000 spill fair");
}

TEST(ArbiterVictims, IdleSlackIsTakenAlsoFromTheLowerSideAndIsNotSpilled) {
  Harness h = three();
  h.hold("a1", 500, 200, 300);
  h.hold("b1", 524, 0, 524);
  h.report(1, "a1", 200, 300);  // the second report: what is slack in both is idle
  EXPECT_EQ(h.acquire(2, 1, "b1", 64, 64, 5'000), "revoke a1 64 by 202 slack fair");
}

TEST(ArbiterVictims, IdleSlackMakesNobodySpillBeyondIt) {
  Harness h = three();
  h.hold("a1", 480, 100, 380);
  h.hold("b1", 544, 0, 544);
  h.report(1, "a1", 100, 380);
  // A sixteenth of 480 stays with it.
  EXPECT_EQ(h.acquire(2, 1, "b1", 128, 8, 5'000), "revoke a1 70 by 202 slack fair");
}

TEST(ArbiterVictims, WhatOneReportSaysIsNotIdle) {
  Harness h = three();
  h.hold("a1", 500, 200, 300);
  h.hold("b1", 524, 0, 524);
  EXPECT_EQ(h.acquire(2, 1, "b1", 64, 64, 5'000), "denied 1 self_spill spill self_spill 64");
}

// The cheap slack of a1 is asked first, while c1 has little; in the end c1 is far above a1.
TEST(ArbiterVictims, WhatWasAskedEarlyOfALowerSideIsTakenBack) {
  Harness h = three();
  h.hold("a1", 100, 100, 0);
  h.hold("b1", 924, 0, 924);
  h.acquire(0, 1, "c1", 400, 8, 60'000);
  EXPECT_EQ(h.lease("a1").revoking, 0);
  EXPECT_GE(h.lease("b1").revoking, 340 * kMiB);
}

TEST(ArbiterVictims, WhoIsBelowItsGuaranteeKeepsWhatWasAskedForIt) {
  TenantPolicy guaranteed;
  guaranteed.guarantee = 400 * kMiB;
  Harness h = three();
  h.tenant("c", guaranteed);
  h.hold("a1", 100, 100, 0);
  h.hold("b1", 924, 0, 300);
  h.acquire(0, 1, "c1", 400, 8, 60'000);
  EXPECT_GT(h.lease("a1").revoking, 0);
  EXPECT_EQ(h.lease("b1").revoking, 300 * kMiB);
}

TEST(ArbiterVictims, TheSpillRateRemembersThreeQuarters) {
  Harness h = three();
  h.hold("a1", 1024, 0, 1024);
  h.acquire(0, 1, "b1", 512, 512, 60'000);
  h.release(1'000, "a1", 256);                                   // 256 MiB/s
  EXPECT_EQ(h.release(5'000, "a1", 256), "granted 1 512 free");  // 102.4: 217.6 together
  EXPECT_EQ(h.acquire(6'000, 2, "c1", 256, 8, 60'000),           // 2 * 256 / 217.6 s
            "revoke a1 256 by 8352 spill fair");
}

TEST(ArbiterVictims, NobodyIsAskedBelowItsTenantsGuaranteeWhateverItsSiblingsHold) {
  TenantPolicy guaranteed;
  guaranteed.guarantee = 300 * kMiB;
  Harness h = three();
  h.tenant("a", guaranteed);
  h.tenant("a/x");
  h.open("x1", "a/x");
  h.hold("x1", 300, 0, 300);
  h.hold("b1", 724, 0, 100);
  h.acquire(0, 1, "c1", 400, 8, 60'000);
  EXPECT_EQ(h.lease("x1").revoking, 0);
  EXPECT_EQ(h.lease("b1").revoking, 100 * kMiB);
}

}  // namespace
}  // namespace membroker::arbiter
