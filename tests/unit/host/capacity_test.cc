#include "server/broker/capacity.h"

#include <gtest/gtest.h>

#include "tests/kit/temporary_folder.h"

namespace membroker::broker {
namespace {

constexpr const char* kMeminfo = "MemTotal:       16777216 kB\nMemFree:         1 kB\n";

class CapacityTest : public ::testing::Test {
 protected:
  CapacityTest() { folder_.write("proc/meminfo", kMeminfo); }
  MemoryCapacity read() { return read_memory_capacity(folder_.root()).value(); }

  membroker::testing::TemporaryFolder folder_;
};

TEST_F(CapacityTest, IsTheMachinesWithoutCgroups) {
  EXPECT_EQ(read().machine, 16 * kGiB);
  EXPECT_FALSE(read().cgroup);
  EXPECT_EQ(read().usable(), 16 * kGiB);
}

TEST_F(CapacityTest, IsTheTightestOfVersionTwo) {
  folder_.write("proc/self/cgroup", "0::/system.slice/membroker.service\n");
  folder_.write("sys/fs/cgroup/system.slice/membroker.service/memory.max", "max\n");
  folder_.write("sys/fs/cgroup/system.slice/memory.max", "4294967296\n");
  EXPECT_EQ(read().usable(), 4 * kGiB);
  folder_.write("sys/fs/cgroup/system.slice/membroker.service/memory.max", "1073741824\n");
  EXPECT_EQ(read().usable(), 1 * kGiB);
}

TEST_F(CapacityTest, IsTheTightestOfVersionOne) {
  folder_.write("proc/self/cgroup", "5:cpu,cpuacct:/other\n4:hugetlb,memory:/a/b\n0::/\n");
  folder_.write("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
  folder_.write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "2147483648\n");
  folder_.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(read().usable(), 2 * kGiB);
}

TEST_F(CapacityTest, IsTheMountsWhereAContainerSeesTheHostsPath) {
  folder_.write("proc/self/cgroup", "4:memory:/docker/0123\n");
  folder_.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n");
  EXPECT_EQ(read().usable(), 512 * kMiB);
}

TEST_F(CapacityTest, PassesOverNoLimitAndNonsense) {
  folder_.write("proc/self/cgroup", "0::/\nnonsense\n:\n");
  folder_.write("sys/fs/cgroup/memory.max", "max\n");
  EXPECT_EQ(read().usable(), 16 * kGiB);
  folder_.write("sys/fs/cgroup/memory.max", "9223372036854771712\n");
  EXPECT_EQ(read().usable(), 16 * kGiB);
}

TEST_F(CapacityTest, SaysThatTheMachineDoesNotTell) {
  folder_.write("proc/meminfo", "MemFree: 1 kB\n");
  const auto unknown = read_memory_capacity(folder_.root());
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().message().find("MemTotal"), std::string::npos);
}

TEST(MemoryCapacity, OfThisMachineIsRead) {
  const auto here = read_memory_capacity();
  ASSERT_TRUE(here) << here.error().message();
  EXPECT_GT(here->usable(), 0);
}

}  // namespace
}  // namespace membroker::broker
