#include <gtest/gtest.h>

#include "tests/unit/arbiter/harness.h"

/// \file
/// The policy `greedy`: first come, first served, but for guarantees. Sizes in MiB of 1024.

namespace membroker::arbiter {
namespace {

class Greedy : public testing::Test {
 protected:
  void SetUp() override {
    core_.tenant("a");
    core_.tenant("b", {.weight = 5, .priority = 3, .priority_max = 3});
    for (const char* name : {"a1", "a2"}) core_.open(name, "a");
    for (const char* name : {"b1", "b2"}) core_.open(name, "b");
  }
  Harness core_{1024 * kMiB, {.policy = PolicyKind::kGreedy}};
};

TEST_F(Greedy, WhoHasEverythingKeepsIt) {
  core_.hold("a1", 1024, 200, 800);
  EXPECT_EQ(core_.acquire(0, 1, "b1", 512, 8, 3000), "");
  EXPECT_EQ(core_.tick(3000), "denied 1 deadline wait");
  EXPECT_EQ(core_.held("a1"), 1024);
}

TEST_F(Greedy, FreeBytesGoInOrderOfArrivalWhateverWeightAndPriority) {
  core_.hold("a1", 1024);
  EXPECT_EQ(core_.acquire(0, 1, "a2", 64, 64, 9000), "");
  EXPECT_EQ(core_.acquire(1, 2, "b1", 64, 64, 9000, 3), "");
  EXPECT_EQ(core_.acquire(2, 3, "b2", 64, 64, 9000), "");
  EXPECT_EQ(core_.release(3, "a1", 128), "granted 1 64 free; granted 2 64 free");
  EXPECT_EQ(core_.release(4, "a1", 64), "granted 3 64 free");
}

TEST_F(Greedy, WhoCouldSpillItselfIsToldToAtOnce) {
  core_.hold("a1", 512, 0, 512);
  core_.hold("b1", 512, 0, 512);
  EXPECT_EQ(core_.acquire(0, 1, "b1", 64, 64, 5000), "denied 1 self_spill spill self_spill 64");
}

// What is lent of a guarantee comes back, and not a byte more than the guarantee.
TEST_F(Greedy, AGuaranteeComesBackButNotMore) {
  core_.tenant("a", {.guarantee = 256 * kMiB});
  core_.hold("b1", 1024, 0, 1024);
  EXPECT_EQ(core_.acquire(0, 1, "a1", 512, 64, 9000), "revoke b1 256 by 5120 spill guarantee");
  EXPECT_EQ(core_.release(10, "b1", 256), "granted 1 256 partial");
  EXPECT_EQ(core_.acquire(20, 2, "a2", 64, 64, 1000), "");
  EXPECT_EQ(core_.tick(1020), "denied 2 deadline wait");
}

TEST_F(Greedy, WhoLacksOfAGuaranteeComesBeforeWhoCameEarlier) {
  core_.tenant("b", {.guarantee = 128 * kMiB, .mode = GuaranteeMode::kLent});
  core_.hold("a1", 1024);
  EXPECT_EQ(core_.acquire(0, 1, "a2", 64, 64, 9000), "");
  EXPECT_EQ(core_.acquire(1, 2, "b1", 64, 64, 9000), "");
  EXPECT_EQ(core_.release(2, "a1", 64), "granted 2 64 free");
  EXPECT_EQ(core_.release(3, "a1", 64), "granted 1 64 free");
}

// Limits, capacity and debts are asked back as ever: the most over by weight first.
TEST_F(Greedy, LimitsAndDebtsAreAskedBack) {
  core_.hold("a1", 600, 200, 400);
  EXPECT_EQ(core_.tenant("a", {.limit = 256 * kMiB}), "revoke a1 344 by 6880 spill limit");
  core_.release(10, "a1", 344);
  core_.hold("b1", 768, 0, 768);
  EXPECT_EQ(core_.apply(20, SetCapacity{960 * kMiB}), "revoke a1 64 by 2020 spill capacity");
  core_.release(30, "a1", 64);
  EXPECT_EQ(core_.apply(40, Over{core_.id("b1"), 8 * kMiB}), "revoke b1 8 by 2040 spill debt");
}

TEST_F(Greedy, LargeWaitersAreNotStarvedBySmallOnes) {
  core_.hold("a1", 1024);
  EXPECT_EQ(core_.acquire(0, 1, "b1", 512, 512, 60'000), "");
  int passed = 0;
  std::string on_release;
  for (int i = 1; on_release.empty(); ++i) {
    ASSERT_LT(i, 64) << "the large one waits for ever";
    on_release = core_.release(10 * i, "a1", 16);
    const auto request = static_cast<std::uint64_t>(i + 1);
    const std::string small = core_.acquire(10 * i, request, "a2", 16, 16, 0);
    if (small.find("granted") != std::string::npos && on_release.empty()) ++passed;
  }
  EXPECT_EQ(on_release, "granted 1 512 free");
  EXPECT_EQ(passed, 16);
}

}  // namespace
}  // namespace membroker::arbiter
