#include "tests/sim/workload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/sim/held_chart.h"
#include "tests/sim/jobs.h"
#include "tests/sim/report.h"

namespace membroker::sim {
namespace {

using ::testing::AllOf;
using ::testing::DoubleNear;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr const char* kGood = R"(capacity = "256MiB"
run_for = "2min"
[[tenant]]
path = "a"
weight = 2
[[tenant]]
path = "b"
[[group]]
name = "sorts"
tenant = "a"
count = 5
every = { mean = "1s" }
floor = "1MiB"
[[group.phase]]
demand = { mean = "48MiB", most = "200MiB" }
lasts = { least = "100ms", most = "2s" }
[[group]]
name = "scan"
tenant = "b"
[[group.phase]]
demand = "400MiB"
lasts = "1s"
)";

Workload good() { return parse_workload(kGood, "w.toml").value(); }

std::string error(const std::string& text) {
  const auto workload = parse_workload(text, "w.toml");
  return workload ? "it was taken" : workload.error().message();
}

// The good file with one piece of its text replaced.
std::string error_with(const std::string& piece, const std::string& instead) {
  std::string text = kGood;
  return error(text.replace(text.find(piece), piece.size(), instead));
}

Outcome outcome_of(const Workload& workload, const JobsOptions& options) {
  Outcome outcome;
  Jobs(workload, options, outcome).run();
  return outcome;
}

TEST(Workload, IsReadAsItSays) {
  const Workload workload = good();
  EXPECT_EQ(workload.name, "w");
  EXPECT_EQ(workload.capacity, 256 * kMiB);
  EXPECT_EQ(workload.run_for, 120'000);
  ASSERT_EQ(workload.tenants.size(), 2u);
  EXPECT_EQ(workload.tenants[0].policy.weight, 2);
  ASSERT_EQ(workload.groups.size(), 2u);
  EXPECT_EQ(workload.groups[0].count, 5);
  EXPECT_EQ(workload.groups[0].every.mean, 1'000);
  EXPECT_EQ(workload.groups[0].phases[0].demand.most, 200 * kMiB);
  EXPECT_EQ(workload.groups[1].phases[0].demand.least, 400 * kMiB);
}

TEST(Workload, ErrorsSayWhereAndWhatToWrite) {
  EXPECT_THAT(error_with("count = 5", "cuont = 5"),
              AllOf(StartsWith("w.toml:11:1: "), HasSubstr("did you mean \"count\"?")));
  EXPECT_THAT(error_with("count = 5", "count = 0"), StartsWith("w.toml:11:9: count = 0 is out"));
  EXPECT_THAT(error_with("tenant = \"b\"", "tenant = \"c\""),
              StartsWith("w.toml:19:10: there is no [[tenant]] with path \"c\""));
  EXPECT_THAT(error_with("path = \"b\"", "path = \"a\""), HasSubstr("\"a\" is there twice"));
  EXPECT_THAT(error_with("path = \"b\"", "path = \"c/d\""),
              HasSubstr("above \"c/d\" there is no [[tenant]] with path \"c\""));
  EXPECT_THAT(error_with("path = \"b\"", "path = \"a//b\""), HasSubstr("is no path"));
  EXPECT_THAT(error_with("path = \"b\"", "path = \"b\"\nguarantee = \"300MiB\""),
              HasSubstr("guarantees sum to more than the capacity"));
  EXPECT_THAT(error_with("{ mean = \"1s\" }", "{ least = \"1s\" }"),
              AllOf(StartsWith("w.toml:12:9: "), HasSubstr("least = …, most = …")));
  EXPECT_THAT(error_with("most = \"200MiB\"", "most = \"1MiB\""), HasSubstr("below its mean"));
  EXPECT_THAT(error_with("count = 5", "conduct = \"rude\""), HasSubstr("\"honest\", \"ignore\""));
  EXPECT_THAT(error_with("count = 5", "conduct = \"stop\""), HasSubstr("stopped_for"));
  EXPECT_THAT(error_with("capacity = \"256MiB\"\n", ""), HasSubstr("there is no capacity"));
  EXPECT_THAT(error("capacity = "), StartsWith("w.toml:1:"));
  EXPECT_THAT(error("capacity = \"1GiB\"\n"), HasSubstr("there is no [[group]]"));
  EXPECT_EQ(load_workload("/nonexistent/x.toml").error().code(), ErrorCode::kIo);
}

// "a" with sessions of its own beside the sub-tenant "a/x", which is promised a part of "a".
TEST(Workload, ATreeIsSharedLevelByLevelUnderEveryLender) {
  std::string text = kGood;
  text.replace(
      text.find("path = \"b\""), 10,
      "path = \"a/x\"\nweight = 3\nguarantee = \"64MiB\"\nlimit = \"128MiB\"\npriority = 1");
  text.replace(text.find("tenant = \"b\""), 12, "tenant = \"a/x\"\nfloor = \"1MiB\"");
  const auto workload = parse_workload(text, "w.toml");
  ASSERT_TRUE(workload) << workload.error().message();
  EXPECT_EQ(guaranteed(workload->tenants, ""), 64 * kMiB);
  EXPECT_EQ(workload->tenants[1].policy.priority, 1);
  for (const std::string_view policy : kLenders) {
    const Outcome outcome = outcome_of(*workload, {.policy = std::string(policy), .checked = true});
    EXPECT_EQ(outcome.wrong, "") << policy;
    EXPECT_EQ(outcome.ended, 6) << policy;
    Bytes most = 0;
    for (const HeldSample& sample : outcome.history) most = std::max(most, sample.held[1]);
    EXPECT_LE(most, 128 * kMiB) << policy;
    // Static: 3/4 of all that "a" has, but for its limit; the others lend all of that, too.
    EXPECT_GT(most, 64 * kMiB) << policy;
  }
}

TEST(Workload, SpreadsHaveTheirMeansAndBounds) {
  Rng rng(3);
  double sum = 0;
  double squares = 0;
  constexpr int kDraws = 200'000;
  const Spread exponential{0, 0, 1'000'000};
  for (int i = 0; i < kDraws; ++i) {
    const auto drawn = static_cast<double>(exponential.draw(rng)) / 1e6;
    sum += drawn;
    squares += drawn * drawn;
  }
  EXPECT_THAT(sum / kDraws, DoubleNear(1, 0.01));
  EXPECT_THAT(squares / kDraws, DoubleNear(2, 0.06));  // the second moment of an exponential
  for (int i = 0; i < 1'000; ++i) {
    const std::int64_t uniform = Spread{5, 9, 0}.draw(rng);
    EXPECT_TRUE(uniform >= 5 && uniform <= 9);
    EXPECT_LE((Spread{0, 1'500, 1'000}.draw(rng)), 1'500);
  }
}

TEST(Workload, PartsAreFilledAsWater) {
  EXPECT_EQ(fair_parts(100, {{10, 0, 1}, {100, 0, 1}, {100, 0, 2}}),
            (std::vector<double>{10, 30, 60}));
  EXPECT_EQ(fair_parts(100, {{100, 60, 1}, {100, 0, 1}}), (std::vector<double>{80, 20}));
  EXPECT_EQ(fair_parts(100, {{10, 0, 1}, {20, 0, 1}}), (std::vector<double>{10, 20}));
  EXPECT_DOUBLE_EQ(jain({1, 1, 1}), 1);
  EXPECT_DOUBLE_EQ(jain({1, 0}), 0.5);
}

TEST(Workload, TheSameSeedHasTheSameFiguresAndAnotherOthers) {
  const Workload workload = good();
  const auto text = [&](std::uint64_t seed) {
    return json_text({}, figures_of(outcome_of(workload, {.seed = seed}), workload.capacity));
  };
  EXPECT_EQ(text(1), text(1));
  EXPECT_NE(text(1), text(2));
}

TEST(Workload, EveryLenderBringsEveryHonestJobToItsEnd) {
  const Workload workload = good();
  for (const std::string_view policy : kLenders) {
    const Outcome outcome = outcome_of(workload, {.policy = std::string(policy), .checked = true});
    EXPECT_EQ(outcome.wrong, "") << policy;
    EXPECT_EQ(outcome.ended, 6) << policy;
    EXPECT_EQ(outcome.unfinished, 0) << policy;
    EXPECT_LE(outcome.peak_held, workload.capacity) << policy;
    EXPECT_GT(outcome.spilled, 0) << policy;
    EXPECT_EQ(outcome.revocations > 0, policy == "fair") << policy;
  }
}

// The shipped workloads, with every invariant after every event.
TEST(Workload, ShippedOnesKeepEveryInvariant) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(WORKLOADS)) {
    const auto workload = load_workload(entry.path().string());
    ASSERT_TRUE(workload) << workload.error().message();
    ++files;
    for (const char* policy : {"fair", "greedy"}) {
      for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        const Outcome outcome =
            outcome_of(*workload, {.policy = policy, .seed = seed, .checked = true});
        EXPECT_EQ(outcome.wrong, "") << entry.path() << " " << policy;
        EXPECT_EQ(outcome.unfinished, 0) << entry.path() << " " << policy;
      }
    }
  }
  EXPECT_EQ(files, 5);
}

TEST(Workload, TheChartNamesItsTenantsAndUnits) {
  const Workload workload = good();
  HeldChart chart{"w under <fair>", workload.capacity, {"a", "b"}};
  const std::string svg = chart.svg(outcome_of(workload, {}).history);
  EXPECT_THAT(svg, AllOf(StartsWith("<svg "), HasSubstr(">a</text>"), HasSubstr(">b</text>"),
                         HasSubstr("128 MiB"), HasSubstr("capacity 256 MiB"),
                         HasSubstr("w under &lt;fair&gt;")));
  EXPECT_THAT(chart.svg({}), HasSubstr("</svg>"));
}

}  // namespace
}  // namespace membroker::sim
