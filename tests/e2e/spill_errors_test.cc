#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "client/cli/admin_client.h"
#include "shared/bytes.h"
#include "tests/e2e/sort_job.h"
#include "tests/e2e/text.h"
#include "tests/kit/temporary_folder.h"

// A place for spill files that is none, or is full: one clear error for that sort; the other
// tenant's sort does not notice.

namespace membroker::e2e {
namespace {

constexpr Bytes kInput = kSanitized ? 32 * kMiB : 64 * kMiB;
constexpr uid_t kNobody = 65534;
constexpr const char* kConfig =
    "[socket]\nmode = \"0666\"\n"
    "[resources.ram]\ncapacity = \"48MiB\"\n"
    "[[tenant]]\npath = \"etl\"\n"
    "[[tenant]]\npath = \"reports\"\n";

class SpillErrors : public ::testing::Test {
 protected:
  SpillErrors() {
    folder_.write("input", package_lines(kInput, 4));
    EXPECT_TRUE(gnu_sort(folder_.path("input"), folder_.path("expected")));
    // Somebody else's output goes here.
    std::filesystem::create_directory(folder_.path("open"));
    ::chmod(folder_.path("open").c_str(), 0777);
  }

  void SetUp() override { ASSERT_TRUE(daemon_.start()) << daemon_.log(); }

  SortJob job(const std::string& tenant, const std::string& temp_dir) {
    return SortJob(
        folder_.path("open"), tenant, folder_.path("input"),
        {"--tenant", tenant, "--socket", daemon_.broker_socket(), "--temp-dir", temp_dir});
  }

  // Both ran at the same time: `bad` with no place to spill to, `good` beside it.
  void expect_only_bad_noticed(SortJob& bad, const std::string& directory, SortJob& good) {
    EXPECT_EQ(bad.wait(), 1) << bad.log();
    const std::string log = bad.log();
    EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1) << log;
    EXPECT_NE(log.find(directory), std::string::npos) << log;
    EXPECT_FALSE(std::filesystem::exists(bad.output()));

    EXPECT_EQ(good.wait(), 0) << good.log();
    EXPECT_TRUE(same_files(good.output(), folder_.path("expected")));
    EXPECT_EQ(good.log(), "");
    cli::AdminClient admin(daemon_.admin_socket(), 5'000);
    EXPECT_TRUE(testing::comes_true([&] {
      const auto status = admin.status();
      return status && status->sessions() == 0 && status->resources(0).held_bytes() == 0;
    }));
    EXPECT_EQ(daemon_.stop(), 0) << daemon_.log();
  }

  const testing::TemporaryFolder folder_;
  testing::DaemonProcess daemon_{MEMBROKERD, kConfig};
};

TEST_F(SpillErrors, AnUnwritableDirectoryIsNamed) {
  const std::string closed = folder_.path("closed");
  std::filesystem::create_directory(closed);
  ::chmod(closed.c_str(), 0555);
  SortJob good = job("etl", folder_.path("spill"));
  SortJob bad = job("reports", closed);
  good.start();
  bad.start(::geteuid() == 0 ? kNobody : 0);  // for root nothing is unwritable
  expect_only_bad_noticed(bad, closed, good);
}

TEST_F(SpillErrors, AFullDirectoryIsNamed) {
  const std::string full = folder_.path("full");
  std::filesystem::create_directory(full);
  // A file system of its own, seen by the sort only; without root in a user namespace.
  const std::string mount = "mount -t tmpfs -o size=8m none " + full;
  std::vector<std::string> prefix = {"/usr/bin/unshare",
                                     ::geteuid() == 0 ? "-m" : "-rm",
                                     "/bin/sh",
                                     "-c",
                                     mount + " && exec \"$@\"",
                                     "sh"};
  std::vector<std::string> probe = prefix;
  probe.emplace_back("/bin/true");
  if (testing::ChildProcess(probe, folder_.path("probe")).wait() != 0) {
    GTEST_SKIP() << "a tmpfs cannot be mounted here: " << testing::read_file(folder_.path("probe"));
  }
  SortJob good = job("etl", folder_.path("spill"));
  SortJob bad = job("reports", full);
  bad.run_under(prefix);
  good.start();
  bad.start();
  expect_only_bad_noticed(bad, full, good);
}

}  // namespace
}  // namespace membroker::e2e
