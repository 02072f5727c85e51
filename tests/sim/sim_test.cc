#include <gtest/gtest.h>

#include <string>

#include "shared/format.h"
#include "tests/sim/effect_text.h"
#include "tests/sim/steady_world.h"
#include "tests/sim/world.h"

namespace membroker::sim {
namespace {

using namespace membroker::arbiter;  // NOLINT: its events, by their names

TEST(Simulation, HundredThousandEventsOfEveryKindKeepEveryInvariant) {
  World world({.seed = 1, .events = 100'000, .clients = 64});
  EXPECT_EQ(world.run(), "");
  // It has been where it should have been.
  const Tally& tally = world.tally();
  EXPECT_GT(tally.grants, 5'000u);
  EXPECT_GT(tally.revocations, 5'000u);
  EXPECT_GT(tally.fairness_checks, 1'000u);
  EXPECT_GT(tally.predicted, 5'000u);
  EXPECT_GT(tally.overdue, 20u);
  EXPECT_GT(tally.chosen_of_several, 2'000u);
  EXPECT_GT(tally.covered, 5u);
  EXPECT_GT(tally.alarms, 5u);
  for (const DenyReason reason :
       {DenyReason::kInvalid, DenyReason::kTooLarge, DenyReason::kOverdue, DenyReason::kDebt,
        DenyReason::kSelfSpill, DenyReason::kDeadline, DenyReason::kCancelled,
        DenyReason::kTenantRemoved, DenyReason::kSessionSuspect, DenyReason::kSessionGone}) {
    EXPECT_GT(tally.denials.count(reason), 0u) << reason_name(reason);
  }
}

TEST(Simulation, ManySeedsAndSizes) {
  for (std::uint64_t seed = 100; seed < 130; ++seed) {
    const int clients = 2 + static_cast<int>(seed % 10) * 12;
    const Bytes capacity = seed % 3 == 0 ? 40 * kMiB : kGiB;
    World world({.seed = seed, .events = 1'500, .clients = clients, .capacity = capacity});
    EXPECT_EQ(world.run(), "") << "--clients " << clients;
  }
}

TEST(Simulation, TheSameSeedHasTheSameEffects) {
  World first({.seed = 7, .events = 5'000, .clients = 80});
  World second({.seed = 7, .events = 5'000, .clients = 80});
  EXPECT_EQ(first.run(), "");
  EXPECT_EQ(second.run(), "");
  EXPECT_EQ(first.tally().effects_hash, second.tally().effects_hash);
  World other({.seed = 8, .events = 5'000, .clients = 80});
  EXPECT_EQ(other.run(), "");
  EXPECT_NE(first.tally().effects_hash, other.tally().effects_hash);
}

// Invariant 8.
TEST(Simulation, WithConstantDemandEveryLeaseHasItsFairShare) {
  std::uint64_t overdue = 0;
  for (std::uint64_t seed = 1; seed <= 25; ++seed) {
    const SteadyResult result =
        run_steady({.seed = seed, .clients = 4 + static_cast<int>(seed % 5) * 7});
    EXPECT_EQ(result.wrong, "");
    overdue += result.overdue;
  }
  EXPECT_EQ(overdue, 0u);
}

// Invariant 9: sessions that hold only their floor, with as many bytes more, change nothing. Sizes
// are above the small lane's, which depends on the capacity.
TEST(Simulation, SessionsWithOnlyTheirFloorChangeNoEffect) {
  constexpr int kFloors = 16;
  Arbiter plain(kGiB);
  Arbiter crowded(kGiB + kFloors * kMiB);
  Effects effects;
  crowded.apply({0}, SetTenant{"z", {}}, effects);
  for (std::uint64_t i = 0; i < kFloors; ++i) {
    crowded.apply({0}, Open{{1'000 + i}, strf("z%d", static_cast<int>(i)), "z", 0, kMiB, false},
                  effects);
  }
  ASSERT_EQ(crowded.root().held, kFloors * kMiB);
  Rng rng(5);
  std::string both[2];
  const auto apply = [&](Millis at, const Event& event) {
    int side = 0;
    for (Arbiter* arbiter : {&plain, &crowded}) {
      effects.clear();
      arbiter->apply({at}, event, effects);
      both[side++] = effects_text(effects, {});
    }
    return both[0] == both[1];
  };
  for (int tenant = 0; tenant < 4; ++tenant) {
    TenantPolicy policy;
    policy.limit = 600 * kMiB;
    policy.weight = 1 + tenant % 2;
    policy.guarantee = tenant == 0 ? 128 * kMiB : 0;
    ASSERT_TRUE(apply(0, SetTenant{strf("t%d", tenant), policy}));
  }
  for (std::uint64_t i = 1; i <= 24; ++i) {
    const std::string tenant = strf("t%d", static_cast<int>(i % 4));
    ASSERT_TRUE(apply(0, Open{{i}, strf("s%d", static_cast<int>(i)), tenant, 0, 0, false}));
  }
  for (int i = 0; i < 6'000; ++i) {
    const SessionId session{static_cast<std::uint64_t>(rng.between(1, 24))};
    const Bytes held = plain.lease(session)->held;
    const std::int64_t dice = rng.between(0, 9);
    Event event = Report{session, rng.between(0, held), held};
    if (dice < 4) {
      const Bytes want = 2 * rng.between(2, 60) * kMiB;
      const RequestId id{static_cast<std::uint64_t>(i) + 1};
      event = Acquire{session, id, want, rng.chance(500) ? want : 4 * kMiB, 400, 0};
    } else if (dice < 8) {
      event = Release{session, std::min(held, 2 * rng.between(0, 40) * kMiB)};
    } else if (dice == 8) {
      event = Progress{session, true, ProgressState::kDone, 0, held};
    }
    ASSERT_TRUE(apply(i * 3, event)) << i << "\n" << both[0] << "\n" << both[1];
  }
}

}  // namespace
}  // namespace membroker::sim
