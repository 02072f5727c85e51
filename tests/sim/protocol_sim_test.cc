#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <iostream>
#include <string>

#include "tests/kit/temporary_folder.h"
#include "tests/sim/protocol_world.h"

namespace membroker::sim {
namespace {

/// MEMBROKER_SIM_SEED runs one seed again; MEMBROKER_SIM_STEPS makes runs longer.
std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? std::strtoull(value, nullptr, 10) : otherwise;
}

class ProtocolSimTest : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  ProtocolSimTest() { spdlog::set_level(spdlog::level::off); }
  std::string ledger() const { return folder_.path("ledger"); }

 private:
  const membroker::testing::TemporaryFolder folder_;
};

void print(const WorldOptions& options, const WorldCounts& counts) {
  std::cout << "seed=" << options.seed << " hellos=" << counts.hellos
            << " resumes=" << counts.resumes << " cut=" << counts.streams_cut
            << " broker_kills=" << counts.broker_kills
            << " clients_killed=" << counts.clients_killed << " paused=" << counts.clients_paused
            << " goodbyes=" << counts.goodbyes << " stale_to_broker=" << counts.stale_to_broker
            << " stale_to_client=" << counts.stale_to_client
            << " twice_to_broker=" << counts.twice_to_broker
            << " twice_to_client=" << counts.twice_to_client << " grants=" << counts.grants
            << " denials=" << counts.denials << " revocations=" << counts.revocations
            << " answered=" << counts.answered << '\n';
}

TEST_P(ProtocolSimTest, TheRecordCoversWhatIsHeldWhateverTheLinksDo) {
  WorldOptions options;
  options.seed = from_environment("MEMBROKER_SIM_SEED", GetParam());
  options.steps = static_cast<int>(from_environment("MEMBROKER_SIM_STEPS", 20'000));
  World world(options, ledger());
  const std::string wrong = world.run();
  print(options, world.counts());
  ASSERT_EQ(wrong, "") << "run again with MEMBROKER_SIM_SEED=" << options.seed;
  const WorldCounts& counts = world.counts();
  EXPECT_GT(counts.resumes, 0U);
  EXPECT_GT(counts.broker_kills, 0U);
  EXPECT_GT(counts.clients_killed, 0U);
  EXPECT_GT(counts.stale_to_broker, 0U);
  EXPECT_GT(counts.stale_to_client, 0U);
  EXPECT_GT(counts.twice_to_broker, 0U);
  EXPECT_GT(counts.twice_to_client, 0U);
  EXPECT_GT(counts.grants, 0U);
  EXPECT_GT(counts.revocations, 0U);
}

INSTANTIATE_TEST_SUITE_P(Seeds, ProtocolSimTest, ::testing::Range<std::uint64_t>(1, 9));

// Many worlds, each short and small: what goes wrong early does so in one of them.
class ProtocolShortRuns : public ProtocolSimTest {};

TEST_P(ProtocolShortRuns, TheRecordCoversWhatIsHeldInEveryOne) {
  constexpr std::uint64_t kSeeds = 125;
  std::uint64_t kills = 0;
  std::uint64_t stale = 0;
  for (std::uint64_t seed = GetParam() * kSeeds; seed < (GetParam() + 1) * kSeeds; ++seed) {
    WorldOptions options;
    options.seed = seed;
    options.clients = 2 + static_cast<int>(seed % 12);
    options.steps = 600;
    World world(options, ledger());
    ASSERT_EQ(world.run(), "") << "run again with seed " << seed;
    kills += world.counts().broker_kills + world.counts().clients_killed;
    stale += world.counts().stale_to_broker + world.counts().stale_to_client;
    ::unlink(ledger().c_str());
  }
  EXPECT_GT(kills, 0U);
  EXPECT_GT(stale, 0U);
}

INSTANTIATE_TEST_SUITE_P(Shards, ProtocolShortRuns, ::testing::Range<std::uint64_t>(8, 16));

TEST_F(ProtocolSimTest, QuietLinksNeedNoResume) {
  WorldOptions options;
  options.faults = false;
  World world(options, ledger());
  EXPECT_EQ(world.run(), "");
  EXPECT_EQ(world.counts().resumes, 0U);
  EXPECT_GT(world.counts().grants, 0U);
}

}  // namespace
}  // namespace membroker::sim
