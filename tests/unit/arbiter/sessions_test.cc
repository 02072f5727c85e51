#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/arbiter/harness.h"

namespace membroker::arbiter {
namespace {

TEST(ArbiterSessions, FloorIsChargedAndNeverAskedFor) {
  Harness h;
  h.tenant("a");
  h.tenant("b");
  EXPECT_EQ(h.open("a1", "a", 8), "");
  EXPECT_EQ(h.held("a1"), 8);
  h.open("b1", "b");
  h.hold("a1", 1016, 0, 1024);
  h.apply(0, RemoveTenant{"a"});
  EXPECT_EQ(h.lease("a1").revoking, 1016 * kMiB);
}

TEST(ArbiterSessions, FloorIsRefusedAboveItsBounds) {
  Harness h;
  TenantPolicy small;
  small.limit = 32 * kMiB;
  h.tenant("a");
  h.tenant("small", small);
  EXPECT_THAT(h.open("a1", "a", 17), testing::HasSubstr("floor"));     // floor_max
  EXPECT_THAT(h.open("s1", "small", 9), testing::HasSubstr("floor"));  // a quarter of its limit
  EXPECT_EQ(h.open("s2", "small", 8), "");
  EXPECT_THAT(h.open("s3", "small", 1), testing::HasSubstr("floor"));  // all floors together
  EXPECT_EQ(h.open("s4", "small", 8, true), "");                       // optional: cut
  EXPECT_EQ(h.held("s4"), 0);
  EXPECT_FALSE(h.arbiter().lease(h.id("s1")).has_value());
}

TEST(ArbiterSessions, OpenIsRefusedWithAReason) {
  Harness h;
  h.tenant("a");
  EXPECT_EQ(h.open("x", "nobody"), "refused x (tenant \"nobody\" is not configured)");
  EXPECT_EQ(h.open("a1", "a"), "");
  EXPECT_THAT(h.open("a1", "a"), testing::HasSubstr("already open"));
  EXPECT_THAT(h.apply(0, Open{h.id("n"), "n", "a", 0, -1, true}), testing::HasSubstr("floor"));
  h.apply(0, RemoveTenant{"a"});
  EXPECT_THAT(h.open("a2", "a"), testing::HasSubstr("removed"));
}

TEST(ArbiterSessions, GoneCreditsAllAndAnswersItsWaits) {
  Harness h = with_sessions({"a1", "b1"});
  h.hold("a1", 1024);
  EXPECT_EQ(h.acquire(1, 1, "b1", 64, 64, 5'000), "");
  EXPECT_EQ(h.acquire(2, 2, "a1", 64, 64, 5'000), "denied 2 too_large spill attainable 0");
  EXPECT_EQ(h.apply(3, Gone{h.id("a1")}), "granted 1 64 free");
  EXPECT_EQ(h.acquire(4, 3, "b1", 960, 960, 5'000), "granted 3 960 free");
  h.open("c1", "a");
  EXPECT_EQ(h.acquire(5, 4, "c1", 8, 8, 5'000), "");
  EXPECT_EQ(h.apply(6, Gone{h.id("c1")}), "denied 4 session_gone none");
  h.apply(7, Gone{h.id("b1")});
  EXPECT_EQ(h.arbiter().root().held, 0);
}

TEST(ArbiterSessions, SuspectAndFencedAreNotGrantedNorAsked) {
  Harness h = with_sessions({"a1", "a2"});
  h.hold("a1", 1000, 0, 1000);
  EXPECT_EQ(h.acquire(0, 1, "a2", 24, 24, 9'000), "granted 1 24 free");
  EXPECT_EQ(h.acquire(0, 2, "a2", 8, 8, 9'000), "revoke a1 8 by 2000 spill fair");
  EXPECT_EQ(h.apply(1, Suspect{h.id("a2")}), "denied 2 session_suspect none; withdraw a1 8");
  EXPECT_EQ(h.acquire(2, 3, "a2", 8, 8, 0), "denied 3 session_suspect wait");
  EXPECT_EQ(h.apply(3, Fence{h.id("a2")}), "");
  EXPECT_EQ(h.acquire(4, 4, "a2", 8, 8, 0), "denied 4 session_fenced wait");
  h.apply(5, Suspect{h.id("a2")});
  EXPECT_EQ(h.lease("a2").state, SessionState::kFenced);
  EXPECT_EQ(h.apply(6, Resumed{h.id("a2"), 24 * kMiB, 0, 0}), "");
  EXPECT_EQ(h.acquire(7, 5, "a2", 8, 8, 0),
            "revoke a1 8 by 2007 spill fair; denied 5 deadline wait; withdraw a1 8");
}

TEST(ArbiterSessions, ResumedActiveSessionLosesItsWaitsFirst) {
  Harness h = with_sessions({"a1", "a2"});
  h.hold("a1", 1024);
  h.acquire(0, 1, "a2", 8, 8, 9'000);
  EXPECT_EQ(h.apply(1, Resumed{h.id("a2"), 0, 0, 0}), "denied 1 session_suspect none");
  EXPECT_EQ(h.lease("a2").state, SessionState::kActive);
}

TEST(ArbiterSessions, RecoveredOfAnUnknownTenantIsChargedAndLeavesWithIt) {
  Harness h;
  EXPECT_EQ(h.apply(0, Recovered{h.id("r1"), "r1", "old/team", 0, 300 * kMiB, 4 * kMiB}), "");
  ASSERT_EQ(h.arbiter().tenants().size(), 2u);
  EXPECT_TRUE(h.arbiter().tenants()[0].removed);
  EXPECT_EQ(h.arbiter().root().held, 300 * kMiB);
  EXPECT_EQ(h.arbiter().root().debt, 0);
  EXPECT_EQ(h.apply(1, Resumed{h.id("r1"), 300 * kMiB, 0, 300 * kMiB}),
            "revoke r1 296 by 5921 spill limit");
  h.apply(2, Gone{h.id("r1")});
  EXPECT_TRUE(h.arbiter().tenants().empty());
}

TEST(ArbiterSessions, RecoveredAboveTheCapacityNeverGrows) {
  Harness h;
  h.tenant("a");
  h.apply(0, Recovered{h.id("a1"), "a1", "a", 0, 2000 * kMiB, 0});
  h.open("a2", "a");
  EXPECT_EQ(h.acquire(1, 1, "a2", 8, 8, 100), "");
  EXPECT_EQ(h.tick(101), "denied 1 deadline wait");
}

TEST(ArbiterSessions, AnOrphanIsChargedUntilItEndsAndNeverResumes) {
  Harness h = with_sessions({"a1"});
  h.hold("a1", 100);
  EXPECT_EQ(h.apply(0, Orphaned{h.id("o1"), "o1", "a", 40 * kMiB}), "");
  h.apply(0, Gone{h.id("a1")});
  EXPECT_EQ(h.arbiter().root().held, 40 * kMiB);
  EXPECT_THAT(h.apply(1, Resumed{h.id("o1"), 0, 0, 0}), testing::HasSubstr("cannot resume"));
  EXPECT_EQ(h.acquire(2, 1, "o1", 8, 8, 0), "denied 1 session_fenced wait");
  h.apply(3, Gone{h.id("o1")});
  EXPECT_EQ(h.arbiter().root().held, 0);
}

TEST(ArbiterSessions, WhatASessionLeavesIsNeitherFreeNorChargedTwice) {
  Harness h = with_sessions({"a1", "b1", "c1"});
  h.hold("a1", 512);
  h.hold("b1", 512, 0, 512);
  const SessionId a1 = h.id("a1");
  const SessionId o1 = h.id("o1");
  // Full: neither is anything asked of the other, nor given to who waits.
  EXPECT_EQ(
      h.apply(0, Ended{{a1}, {{o1, "o1", "a", 300 * kMiB}, {h.id("o2"), "o2", "a", 212 * kMiB}}}),
      "");
  EXPECT_EQ(h.held("o1"), 300);
  EXPECT_EQ(h.arbiter().root().held, 1024 * kMiB);
  EXPECT_EQ(h.apply(1, Ended{{o1}, {{o1, "o1", "a", 100 * kMiB}}}), "") << "again, with less";
  EXPECT_EQ(h.arbiter().root().held, 824 * kMiB);
  EXPECT_EQ(h.acquire(2, 1, "c1", 200, 200, 0), "granted 1 200 free");
  EXPECT_THAT(h.apply(3, Ended{{a1}, {}}), testing::HasSubstr("error ("));
  EXPECT_THAT(h.apply(3, Ended{{}, {{o1, "o1", "a", 1}}}), testing::HasSubstr("error ("));
  h.apply(4, Ended{{o1, h.id("o2"), h.id("b1"), h.id("c1")}, {}});
  EXPECT_EQ(h.arbiter().root().held, 0);
}

TEST(ArbiterSessions, EventsOfUnknownSessionsChangeNothing) {
  Harness h;
  h.tenant("a");
  const SessionId nobody{999};
  for (const Event& event :
       {Event{Gone{nobody}}, Event{Release{nobody, 1}}, Event{Over{nobody, 1}},
        Event{Report{nobody, 1, 1}}, Event{Progress{nobody}}, Event{Suspect{nobody}},
        Event{Fence{nobody}}, Event{Resumed{nobody}}, Event{Ask{nobody, 1}}}) {
    EXPECT_THAT(h.apply(0, event), testing::HasSubstr("error ("));
  }
  EXPECT_EQ(h.apply(0, Cancel{nobody, {1}}), "");
  EXPECT_EQ(h.arbiter().root().held, 0);
}

TEST(ArbiterSessions, ImpossibleFiguresAreRejected) {
  Harness h = with_sessions({"a1"});
  h.hold("a1", 100, 10, 20);
  const SessionId a1 = h.id("a1");
  for (const Event& event :
       {Event{Release{a1, -1}}, Event{Release{a1, 101 * kMiB}}, Event{Over{a1, -1}},
        Event{Over{a1, kBytesMax}}, Event{Report{a1, -1, 0}}, Event{Report{a1, 0, -1}},
        Event{Progress{a1, true, ProgressState::kDone, -1, 0}}, Event{Resumed{a1, -1, 0, 0}},
        Event{Resumed{a1, kBytesMax, 0, 0}}, Event{Recovered{a1, "x", "a", 0, 1, 0}},
        Event{Recovered{{77}, "x", "a//b", 0, 1, 0}}, Event{Recovered{{77}, "x", "a", 0, 1, -1}},
        Event{Orphaned{a1, "x", "a", 1}}, Event{Orphaned{{77}, "x", "", 1}}, Event{Ask{a1, 0}}}) {
    EXPECT_THAT(h.apply(0, event), testing::HasSubstr("error ("));
  }
  EXPECT_EQ(h.held("a1"), 100);
  EXPECT_EQ(h.lease("a1").slack, 10 * kMiB);
}

}  // namespace
}  // namespace membroker::arbiter
