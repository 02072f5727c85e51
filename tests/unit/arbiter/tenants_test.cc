#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/unit/arbiter/harness.h"

namespace membroker::arbiter {
namespace {

TenantPolicy guarantee(Bytes mib, GuaranteeMode mode = GuaranteeMode::kLent) {
  TenantPolicy policy;
  policy.guarantee = mib * kMiB;
  policy.mode = mode;
  return policy;
}
TenantPolicy limit(Bytes mib) {
  TenantPolicy policy;
  policy.limit = mib * kMiB;
  return policy;
}

TEST(ArbiterTenants, GuaranteesTogetherStayWithinTheCapacity) {
  Harness h;
  EXPECT_EQ(h.tenant("a", guarantee(600)), "");
  EXPECT_THAT(h.tenant("b", guarantee(600)), testing::HasSubstr("error (tenant \"b\""));
  EXPECT_EQ(h.arbiter().tenants().size(), 1u);
  EXPECT_EQ(h.tenant("a/x", guarantee(700)), "");  // a then guarantees what is below it
  EXPECT_EQ(h.arbiter().tenants()[0].guarantee, 700 * kMiB);
  EXPECT_EQ(h.tenant("b", guarantee(324)), "");
  EXPECT_THAT(h.tenant("a/y/z", guarantee(1)), testing::HasSubstr("error"));
  EXPECT_EQ(h.arbiter().tenants().size(), 3u);
}

TEST(ArbiterTenants, ACutScalesGuaranteesAndTheyMayThenBeLowered) {
  Harness h;
  h.tenant("a", guarantee(600));
  h.tenant("b", guarantee(400));
  h.apply(0, SetCapacity{500 * kMiB});
  EXPECT_EQ(h.arbiter().tenants()[0].guarantee, 300 * kMiB);
  EXPECT_EQ(h.arbiter().tenants()[1].guarantee, 200 * kMiB);
  EXPECT_EQ(h.tenant("a", guarantee(400)), "");
  EXPECT_EQ(h.arbiter().tenants()[0].guarantee, 250 * kMiB);
  EXPECT_THAT(h.tenant("a", guarantee(450)), testing::HasSubstr("error"));
  h.apply(0, SetCapacity{1024 * kMiB});
  EXPECT_EQ(h.arbiter().tenants()[0].guarantee, 400 * kMiB);
}

TEST(ArbiterTenants, SenselessPoliciesAreRejected) {
  Harness h;
  TenantPolicy policy;
  policy.weight = 0;
  EXPECT_THAT(h.tenant("a", policy), testing::HasSubstr("error"));
  policy.weight = 10'001;
  EXPECT_THAT(h.tenant("a", policy), testing::HasSubstr("error"));
  policy = guarantee(-1);
  EXPECT_THAT(h.tenant("a", policy), testing::HasSubstr("error"));
  policy = guarantee(8);
  policy.limit = 4 * kMiB;
  EXPECT_THAT(h.tenant("a", policy), testing::HasSubstr("error"));
  for (const char* path : {"", "/", "a/", "/a", "a//b", "a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a"}) {
    EXPECT_THAT(h.tenant(path), testing::HasSubstr("error")) << path;
  }
  EXPECT_THAT(h.apply(0, SetCapacity{-1}), testing::HasSubstr("error"));
  EXPECT_THAT(h.apply(0, SetCapacity{kBytesMax}), testing::HasSubstr("error"));
  EXPECT_THAT(h.apply(0, RemoveTenant{"nobody"}), testing::HasSubstr("error"));
  EXPECT_THAT(h.apply(0, RemoveTenant{""}), testing::HasSubstr("error"));
  EXPECT_TRUE(h.arbiter().tenants().empty());
}

TEST(ArbiterTenants, ReservedIsGrantedAtOnceWhateverTheOthersDo) {
  Harness h;
  h.tenant("a", guarantee(256, GuaranteeMode::kReserved));
  h.tenant("b");
  h.open("a1", "a");
  h.open("b1", "b");
  h.hold("b1", 768);
  EXPECT_EQ(h.acquire(0, 1, "b1", 8, 8, 0), "denied 1 too_large spill attainable 0");
  EXPECT_EQ(h.acquire(1, 2, "a1", 200, 200, 0), "granted 2 200 free");
  EXPECT_EQ(h.acquire(2, 3, "a1", 56, 56, 0), "granted 3 56 free");
  EXPECT_EQ(h.acquire(3, 4, "a1", 8, 8, 0), "denied 4 deadline wait");
}

TEST(ArbiterTenants, ReservedOfASubTenantIsKeptFromItsSiblings) {
  Harness h;
  h.tenant("p", limit(300));
  h.tenant("p/x", guarantee(100, GuaranteeMode::kReserved));
  h.tenant("p/y");
  h.open("x1", "p/x");
  h.open("y1", "p/y");
  EXPECT_EQ(h.acquire(0, 1, "y1", 300, 8, 0), "granted 1 200 free");
  EXPECT_EQ(h.acquire(1, 2, "x1", 100, 100, 0), "granted 2 100 free");
}

TEST(ArbiterTenants, AParentsLimitBindsItsSubtree) {
  Harness h;
  h.tenant("p", limit(256));
  h.tenant("p/x");
  h.tenant("p/y");
  h.open("x1", "p/x");
  h.open("y1", "p/y");
  h.hold("x1", 256, 0, 256);
  EXPECT_EQ(h.acquire(0, 1, "y1", 64, 64, 5'000), "revoke x1 64 by 2000 spill fair");
  EXPECT_EQ(h.release(1, "x1", 64), "granted 1 64 free");
  EXPECT_EQ(h.acquire(2, 2, "y1", 400, 300, 5'000), "denied 2 too_large smaller attainable 192");
}

TEST(ArbiterTenants, WeightsDecideBetweenTenantsAndTheirSubtreesShare) {
  Harness h;
  TenantPolicy heavy;
  heavy.weight = 3;
  h.tenant("a", heavy);
  h.tenant("b");
  h.open("a1", "a");
  h.open("a2", "a");
  h.open("b1", "b");
  h.hold("b1", 1024, 0, 1024);
  // a may have three quarters, however its sessions ask.
  h.acquire(0, 1, "a1", 1024, 8, 60'000);
  EXPECT_EQ(h.lease("b1").revoking, 768 * kMiB);
  EXPECT_THAT(h.release(1, "b1", 768), testing::HasSubstr("granted 1 768 partial"));
  h.report(2, "a1", 0, 768);
  h.acquire(3, 2, "a2", 384, 384, 60'000);
  EXPECT_EQ(h.lease("a1").revoking, 384 * kMiB);
  EXPECT_EQ(h.lease("b1").revoking, 0);
}

TEST(ArbiterTenants, ALenderGetsItsGuaranteeBackFromWhoeverBorrowedIt) {
  Harness h;
  h.tenant("a", guarantee(512));
  h.tenant("b", guarantee(256));
  h.tenant("c");
  h.open("a1", "a");
  h.open("b1", "b");
  h.open("c1", "c");
  h.hold("b1", 300, 0, 300);
  h.hold("c1", 724, 0, 724);
  h.acquire(0, 1, "a1", 512, 512, 60'000);
  EXPECT_GE(h.lease("b1").held - h.lease("b1").revoking, 256 * kMiB);
  EXPECT_EQ(h.arbiter().root().revoking, 512 * kMiB);
  EXPECT_EQ(h.lease("c1").reason, RevokeReason::kGuarantee);
}

TEST(ArbiterTenants, NobodyIsAskedBelowAGuarantee) {
  Harness h;
  h.tenant("a", guarantee(512));
  h.tenant("b");
  h.open("a1", "a");
  h.open("b1", "b");
  h.hold("a1", 520, 0, 520);
  h.hold("b1", 504, 0, 0);
  EXPECT_EQ(h.acquire(0, 1, "b1", 64, 64, 500), "");
  EXPECT_EQ(h.lease("a1").revoking, 0);
  h.apply(1, SetCapacity{900 * kMiB});
  EXPECT_EQ(h.lease("a1").revoking, 8 * kMiB);
}

TEST(ArbiterTenants, ARemovedSubtreeGoesWithItsLastSessionAndCanComeBack) {
  Harness h;
  h.tenant("p", guarantee(100, GuaranteeMode::kReserved));
  h.tenant("p/x");
  h.tenant("p/y");
  h.open("x1", "p/x");
  h.hold("x1", 100);
  EXPECT_EQ(h.acquire(0, 1, "x1", 1'000, 900, 9'000), "granted 1 924 free");
  h.release(0, "x1", 924);
  EXPECT_EQ(h.apply(1, RemoveTenant{"p"}), "");
  ASSERT_EQ(h.arbiter().tenants().size(), 2u);  // y had no session
  EXPECT_EQ(h.arbiter().tenants()[0].guarantee, 0);
  EXPECT_EQ(h.acquire(2, 2, "x1", 8, 8, 0), "denied 2 tenant_removed rollback");
  EXPECT_EQ(h.tenant("p/x", limit(512)), "");
  EXPECT_FALSE(h.arbiter().tenants()[0].removed);
  EXPECT_EQ(h.acquire(3, 3, "x1", 8, 8, 0), "granted 3 8 free");
  h.apply(4, RemoveTenant{"p/x"});
  h.apply(5, Gone{h.id("x1")});
  ASSERT_EQ(h.arbiter().tenants().size(), 1u);
  h.apply(6, RemoveTenant{"p"});
  EXPECT_TRUE(h.arbiter().tenants().empty());
}

TEST(ArbiterTenants, RemovingATenantDeniesItsWaits) {
  Harness h;
  h.tenant("p");
  h.tenant("p/x");
  h.tenant("b");
  h.open("p1", "p");
  h.open("x1", "p/x");
  h.open("b1", "b");
  h.hold("b1", 1024);
  h.acquire(0, 1, "x1", 8, 8, 9'000);
  h.acquire(0, 2, "p1", 8, 8, 9'000);
  EXPECT_EQ(h.apply(1, RemoveTenant{"p"}),
            "denied 2 tenant_removed rollback; denied 1 tenant_removed rollback");
}

TEST(ArbiterTenants, ACapacityOfNothingLendsNothing) {
  Harness h(0);
  h.tenant("a");
  EXPECT_EQ(h.open("a1", "a"), "");
  EXPECT_EQ(h.acquire(0, 1, "a1", 1, 1, 100), "denied 1 too_large spill attainable 0");
  EXPECT_EQ(h.apply(1, Over{h.id("a1"), kMiB}), "debt_over_cap a 1 > 0");
  h.apply(2, SetCapacity{kMiB});
  EXPECT_EQ(h.arbiter().root().debt, 0);  // covered
}

}  // namespace
}  // namespace membroker::arbiter
