#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <string>
#include <thread>

#include "client/examples/external_sort/sort.h"
#include "membroker/testing.h"
#include "tests/e2e/text.h"
#include "tests/kit/comes_true.h"
#include "tests/kit/temporary_folder.h"

// The sort against a daemon in the process that takes memory back whenever the seed says so.

namespace membroker::external_sort {
namespace {

using namespace std::chrono_literals;
using testing::ScriptedDaemon;

constexpr Bytes kCapacity = 8 * kMiB;
constexpr Bytes kInput = 16 * kMiB;

struct Outcome {
  bool same = false;
  SortStats stats;
  Bytes overdrawn = 0;
};

class SortRevoked : public ::testing::TestWithParam<int> {
 protected:
  SortRevoked() {
    folder_.write("input", e2e::package_lines(kInput, 5));
    EXPECT_TRUE(e2e::gnu_sort(input_, expected_));
  }

  // `script` is called again and again while the sort runs.
  template <class Script>
  Outcome sort_while(ScriptedDaemon& daemon, Script script) {
    SortOptions options;
    options.input = input_;
    options.output = folder_.path("sorted");
    options.temp_dirs = {folder_.path("spill")};
    options.sizes = Sizes::of_capacity(kCapacity);
    options.workspace = [&daemon] {
      return SpillWorkspace::create(
          {.bytes = kSpillWorkspaceBytesMin, .allocator = make_allocator(daemon.pool())});
    };
    std::atomic<bool> ended{false};
    std::thread scripted([&] {
      while (!ended) {
        script();
        testing::comes_true([&] { return ended.load(); }, 5ms);
      }
    });
    auto stats = sort_file(daemon.pool(), options);
    ended = true;
    scripted.join();
    EXPECT_TRUE(stats.has_value()) << stats.error().message();
    if (!stats) return {};
    return {e2e::same_files(options.output, expected_), *stats, daemon.overdrawn_total()};
  }

  const testing::TemporaryFolder folder_;
  const std::string input_ = folder_.path("input");
  const std::string expected_ = folder_.path("expected");
};

TEST_P(SortRevoked, GivesBackWhatIsAskedAtAnyTime) {
  ScriptedDaemon daemon({.capacity_bytes = kCapacity});
  std::mt19937_64 random(static_cast<std::uint64_t>(GetParam()));
  int asked = 0;
  const Outcome outcome = sort_while(daemon, [&] {
    if (random() % 3 == 0 && daemon.revocation() != testing::RevocationState::kOpen) {
      daemon.revoke(static_cast<Bytes>(random() % 5) * kMiB, 2s);
      ++asked;
    }
  });
  EXPECT_TRUE(outcome.same);
  EXPECT_EQ(outcome.overdrawn, 0);
  EXPECT_GT(asked, 0);
  EXPECT_GT(outcome.stats.revocations_served, 0);
  // All is over, so an open revocation has been met: nothing is held but what is on its way back.
  EXPECT_TRUE(
      testing::comes_true([&] { return daemon.revocation() != testing::RevocationState::kOpen; }));
}

TEST_P(SortRevoked, GoesOnWhileTheDaemonIsAway) {
  ScriptedDaemon daemon({.capacity_bytes = kCapacity});
  std::mt19937_64 random(static_cast<std::uint64_t>(GetParam()));
  bool away = false;
  const Outcome outcome = sort_while(daemon, [&] {
    if (random() % 6 != 0) return;
    away = !away;
    if (away) {
      daemon.detach();
    } else {
      daemon.attach();
    }
  });
  EXPECT_TRUE(outcome.same);
  EXPECT_EQ(outcome.overdrawn, 0);
}

INSTANTIATE_TEST_SUITE_P(Seeds, SortRevoked, ::testing::Range(1, 3));

}  // namespace
}  // namespace membroker::external_sort
