#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/arbiter/harness.h"

namespace membroker::arbiter {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TenantPolicy fencing() {
  TenantPolicy policy;
  policy.on_overdue = OnOverdue::kFence;
  return policy;
}

// a1 holds all and owes 64 MiB since @2000; b1 waits for them.
Harness overdue(const TenantPolicy& policy = {}) {
  Harness h;
  h.tenant("a", policy);
  h.tenant("b");
  h.open("a1", "a");
  h.open("b1", "b");
  h.hold("a1", 1024, 0, 1024);
  h.acquire(0, 1, "b1", 64, 64, 600'000);
  EXPECT_EQ(h.tick(2'000), "overdue a1 64");
  h.report(2'000, "a1", 0, 0);
  return h;
}

TEST(ArbiterOverdue, WhoOwesDoesNotGrow) {
  Harness h = overdue();
  EXPECT_EQ(h.acquire(2'001, 2, "a1", 8, 8, 0), "denied 2 overdue spill self_spill 64");
  h.release(2'002, "a1", 40);
  EXPECT_EQ(h.acquire(2'003, 3, "a1", 8, 8, 0), "denied 3 overdue spill self_spill 24");
  EXPECT_EQ(h.release(2'004, "a1", 24), "granted 1 64 free");
  EXPECT_EQ(h.lease("a1").overdue, 0);
  EXPECT_EQ(h.acquire(2'005, 4, "a1", 8, 8, 100), "");  // it may wait again
}

// A later revocation that is missed too asks for bytes that are owed already.
TEST(ArbiterOverdue, IsTheLargerOfWhatWasMissedNotTheSum) {
  Harness h = overdue();
  h.report(3'000, "a1", 0, 1024);  // the strike is over, it says that it could spill
  EXPECT_THAT(h.tick(3'100), testing::AnyOf(StartsWith("revoke a1 64"), ""));
  EXPECT_EQ(h.lease("a1").revoking, 64 * kMiB);
  EXPECT_THAT(h.tick(h.lease("a1").deadline.ms), StartsWith("overdue a1 64"));
  EXPECT_EQ(h.lease("a1").overdue, 64 * kMiB);
}

// a1 holds 512 of a's 768 and owes 64 of them; b asks: a counts for 832.
TEST(ArbiterOverdue, CountsTwiceAgainstItsTenant) {
  Harness h = with_sessions({"a1", "a2", "b1", "c1"});
  h.hold("a1", 128, 0, 128);
  h.hold("a2", 384, 0, 384);
  h.hold("b1", 512, 0, 512);
  h.apply(0, Ask{h.id("a1"), 64 * kMiB});
  EXPECT_EQ(h.tick(2'000), "overdue a1 64");
  // Else of two equal tenants the first by name, then the other, in turn.
  EXPECT_EQ(h.acquire(2'001, 1, "c1", 64, 64, 60'000), "revoke a2 64 by 4001 spill fair");
}

TEST(ArbiterOverdue, AFencedSessionOwesWhatItOwedAndIsNoVictim) {
  Harness h = overdue(fencing());
  h.report(31'000, "a1", 0, 1024);
  h.tick(31'001);
  EXPECT_EQ(h.lease("a1").revoking, 64 * kMiB);  // asked again meanwhile
  EXPECT_THAT(h.tick(32'000), HasSubstr("fence a1 64"));
  EXPECT_EQ(h.apply(32'001, Fence{h.id("a1")}), "");
  EXPECT_EQ(h.lease("a1").state, SessionState::kFenced);
  EXPECT_EQ(h.lease("a1").revoking, 0);
  EXPECT_EQ(h.lease("a1").overdue, 64 * kMiB);
  EXPECT_EQ(h.held("a1"), 1024);  // nothing is taken from it
  EXPECT_EQ(h.acquire(32'002, 2, "a1", 8, 8, 0), "denied 2 session_fenced wait");
  EXPECT_EQ(h.tick(99'000), "");  // neither asked nor fenced again
}

TEST(ArbiterOverdue, ResumingAfterAFenceChangesNothingThatIsOwed) {
  Harness h = overdue(fencing());
  EXPECT_EQ(h.tick(32'000), "fence a1 64");
  h.apply(32'001, Fence{h.id("a1")});
  EXPECT_EQ(h.apply(40'000, Resumed{h.id("a1"), 1024 * kMiB, 0, 0}), "");
  EXPECT_EQ(h.lease("a1").state, SessionState::kActive);
  EXPECT_EQ(h.lease("a1").overdue, 64 * kMiB);
  EXPECT_EQ(h.acquire(40'001, 2, "a1", 8, 8, 0), "denied 2 overdue spill self_spill 64");
  // The policy's 30 s begin anew.
  EXPECT_EQ(h.tick(69'999), "");
  EXPECT_EQ(h.tick(70'000), "fence a1 64");
}

TEST(ArbiterOverdue, WhatAFencedSessionReturnsIsCredited) {
  Harness h = overdue(fencing());
  h.tick(32'000);
  h.apply(32'001, Fence{h.id("a1")});
  EXPECT_EQ(h.release(32'002, "a1", 60), "");
  EXPECT_EQ(h.lease("a1").overdue, 4 * kMiB);
  EXPECT_EQ(h.apply(32'003, Resumed{h.id("a1"), 960 * kMiB, 0, 0}), "granted 1 64 free");
  EXPECT_EQ(h.lease("a1").overdue, 0);
}

TEST(ArbiterOverdue, ResumingWithMoreIsDebtBesideWhatIsOverdue) {
  Harness h = overdue(fencing());
  h.tick(32'000);
  h.apply(32'001, Fence{h.id("a1")});
  EXPECT_EQ(h.apply(32'002, Resumed{h.id("a1"), 1032 * kMiB, 0, 0}), "");
  EXPECT_EQ(h.lease("a1").overdue, 64 * kMiB);
  EXPECT_EQ(h.lease("a1").debt, 8 * kMiB);
}

TEST(ArbiterOverdue, APolicyThatIsChangedMeanwhileDecides) {
  Harness h = overdue();
  EXPECT_EQ(h.tick(32'000), "warn a1 64");
  h.tenant("a", fencing());
  EXPECT_EQ(h.tick(62'000), "fence a1 64");
}

// ---- overdraft ----

TEST(ArbiterOverdraft, TheAlarmIsAboveAThirtySecondOfTheLeastLimitOnThePath) {
  Harness h;
  TenantPolicy limited;
  limited.limit = 320 * kMiB;
  h.tenant("a");
  h.tenant("p", limited);
  h.tenant("p/x");
  h.open("a1", "a");
  h.open("x1", "p/x");
  h.hold("a1", 1024 - 64);
  EXPECT_EQ(h.apply(0, Over{h.id("x1"), 10 * kMiB}), "covered x1 10");
  h.hold("a1", 54);
  // No limit of its own: the capacity's.
  EXPECT_EQ(h.apply(1, Over{h.id("a1"), 32 * kMiB}), "");
  EXPECT_EQ(h.apply(2, Over{h.id("a1"), 1}), "debt_over_cap a 32 > 32");
  // Below p: p's limit.
  EXPECT_EQ(h.apply(3, Over{h.id("x1"), 10 * kMiB}), "");
  EXPECT_EQ(h.apply(4, Over{h.id("x1"), 1 * kMiB}),
            "debt_over_cap p/x 11 > 10; debt_over_cap p 11 > 10");
}

TEST(ArbiterOverdraft, IsChargedInAnyState) {
  Harness h = with_sessions({"a1"});
  h.hold("a1", 1024);
  h.apply(1, Suspect{h.id("a1")});
  h.apply(2, Over{h.id("a1"), 8 * kMiB});
  EXPECT_EQ(h.held("a1"), 1032);
  h.apply(3, Fence{h.id("a1")});
  h.apply(4, Over{h.id("a1"), 8 * kMiB});
  EXPECT_EQ(h.held("a1"), 1040);
  EXPECT_EQ(h.lease("a1").debt, 16 * kMiB);
  EXPECT_EQ(h.release(5, "a1", 20), "");
  EXPECT_EQ(h.lease("a1").debt, 0);
  EXPECT_EQ(h.held("a1"), 1020);
}

TEST(ArbiterOverdraft, IsAskedOfTheOffenderThenOfItsTenantAndOfNobodyElse) {
  Harness h = with_sessions({"a1", "a2", "b1"});
  h.hold("a1", 300, 0, 10);
  h.hold("a2", 300, 0, 20);
  h.hold("b1", 424, 0, 424);
  EXPECT_EQ(h.apply(1, Over{h.id("a1"), 24 * kMiB}),
            "revoke a1 10 by 2001 spill debt; revoke a2 14 by 2001 spill debt");
  EXPECT_EQ(h.lease("b1").revoking, 0);
}

TEST(ArbiterOverdraft, WhileATenantOwesNothingIsGrantedToIt) {
  Harness h = with_sessions({"a1", "a2", "b1"});
  h.hold("a1", 500);
  h.hold("b1", 524);
  h.acquire(0, 1, "b1", 16, 16, 60'000);
  h.acquire(1, 2, "a2", 8, 8, 60'000);
  h.apply(2, Over{h.id("a1"), 16 * kMiB});
  EXPECT_EQ(h.release(3, "b1", 16), "");  // full, and the debt does not pass b1's request
  EXPECT_EQ(h.lease("a1").debt, 16 * kMiB);
  EXPECT_EQ(h.release(4, "b1", 16), "granted 1 16 free; covered a1 16");
  EXPECT_EQ(h.release(5, "b1", 8), "granted 2 8 free");
}

}  // namespace
}  // namespace membroker::arbiter
