#include <gtest/gtest.h>

#include <string>

#include "shared/bytes.h"
#include "tests/e2e/sort_job.h"
#include "tests/e2e/text.h"
#include "tests/kit/temporary_folder.h"

// The main job at 64 MiB: two tenants' sorts, each larger than all there is to lend.

namespace membroker::e2e {
namespace {

constexpr Bytes kCapacity = 48 * kMiB;
constexpr Bytes kInput = 64 * kMiB;
constexpr std::int64_t kRunsMax = 24;  // a run per block would be 64 and more
constexpr Bytes kMemoryBeside = 16 * kMiB;
constexpr const char* kConfig =
    "[resources.ram]\ncapacity = \"48MiB\"\n"
    "[[tenant]]\npath = \"etl\"\nweight = 2\n"
    "[[tenant]]\npath = \"reports\"\nweight = 1\nguarantee = \"8MiB\"\n";

class TwoSorts : public ::testing::Test {
 protected:
  TwoSorts() {
    for (const std::uint64_t i : {1, 2}) {
      const std::string input = "input" + std::to_string(i);
      folder_.write(input, package_lines(kInput, i));
      EXPECT_TRUE(gnu_sort(folder_.path(input), folder_.path(input + ".expected")));
    }
  }

  SortJob job(const std::string& tenant, const std::string& input) {
    return SortJob(folder_.root(), tenant, folder_.path(input),
                   {"--tenant", tenant, "--socket", daemon_.broker_socket(), "--temp-dir",
                    folder_.path("spill")});
  }

  void expect_good(SortJob& sort, std::int64_t memory_peak) {
    SCOPED_TRACE(sort.output());
    EXPECT_TRUE(same_files(sort.output(), sort.input() + ".expected"));
    EXPECT_GT(sort.stat("spilled_bytes"), 0);
    EXPECT_GT(sort.stat("runs"), 0);
    EXPECT_LE(sort.stat("runs"), kRunsMax);
    EXPECT_EQ(sort.stat("revocations_late"), 0);
    EXPECT_EQ(sort.stat("overdrawn_total_bytes"), 0);
    EXPECT_GT(memory_peak, 0);
    if (!kSanitized) {
      EXPECT_LE(memory_peak, sort.stat("lease_peak_bytes") + kMemoryBeside);
    }
  }

  const testing::TemporaryFolder folder_;
  testing::DaemonProcess daemon_{MEMBROKERD, kConfig};
};

TEST_F(TwoSorts, ShareOneBudgetThatIsNeverExceeded) {
  ASSERT_TRUE(daemon_.start()) << daemon_.log();
  BudgetWatch watch(daemon_.admin_socket());
  SortJob first = job("etl", "input1");
  SortJob second = job("reports", "input2");
  first.start();
  watch.add(first.pid());
  // Alone it gets nearly all.
  EXPECT_TRUE(testing::comes_true(
      [&] { return watch.held("etl") >= kCapacity * 9 / 10 || !first.running(); }, kJobWait));
  EXPECT_TRUE(first.running()) << first.log();
  second.start();
  watch.add(second.pid());
  EXPECT_EQ(first.wait(), 0) << first.log();
  EXPECT_EQ(second.wait(), 0) << second.log();
  watch.stop();

  expect_good(first, watch.peak_memory(0));
  expect_good(second, watch.peak_memory(1));
  EXPECT_GT(watch.samples(), 0);
  EXPECT_LE(watch.peak_sum(), kCapacity);
  EXPECT_EQ(watch.peak_debt(), 0);
  EXPECT_GT(first.stat("revocations_asked"), 0);
  EXPECT_EQ(daemon_.stop(), 0) << daemon_.log();
}

}  // namespace
}  // namespace membroker::e2e
