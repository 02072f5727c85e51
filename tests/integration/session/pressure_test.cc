// [pressure]: the daemon lends less while the file says that the machine stalls, and tells so.

#include <chrono>
#include <cstdio>
#include <fstream>

#include "shared/format.h"
#include "tests/integration/session/session_fixture.h"

namespace membroker::testing {
namespace {

using ::testing::HasSubstr;

class PressureTest : public SessionTest {
 protected:
  void SetUp() override {
    stall(0);
    daemon_.configure(
        "[resources.ram]\ncapacity = \"64MiB\"\n[pressure]\nenabled = true\nfile = \"" +
        daemon_.path("psi") +
        "\"\ninterval = \"100ms\"\nhold = \"200ms\"\nstep = \"4MiB\"\n"
        "grow = \"16MiB\"\nfloor = \"16MiB\"\n[[tenant]]\npath = \"a\"\n");
    SessionTest::SetUp();
  }
  // In one step: the daemon must never see half a file.
  void write(const std::string& text) {
    std::ofstream(daemon_.path("next")) << text;
    ASSERT_EQ(std::rename(daemon_.path("next").c_str(), daemon_.path("psi").c_str()), 0);
  }
  void stall(std::int64_t total_us) {
    write(strf("some avg10=0.00 avg60=0.00 avg300=0.00 total=%lld\n",
               static_cast<long long>(total_us)));
  }
  Bytes capacity() { return admin_->status().resources(0).capacity_bytes(); }
};

TEST_F(PressureTest, WhileTheMachineStallsLessIsLentAndLaterAllAgain) {
  auto a = open("a");
  a->send({acquire(1, kCapacity, kMiB, 0), inventory(kCapacity, 0, kCapacity)});
  ASSERT_TRUE(a->granted(1).has_value());
  ASSERT_EQ(capacity(), kCapacity);
  std::int64_t total = 0;
  ASSERT_TRUE(comes_true([&] {
    stall(total += 1'000'000);  // more than all the time there was
    return capacity() == 16 * kMiB;
  }));
  const auto revoke = a->revoke();
  ASSERT_TRUE(revoke.has_value());
  EXPECT_EQ(revoke->reason(), v1::REVOKE_REASON_CAPACITY);
  EXPECT_TRUE(comes_true([&] { return capacity() == kCapacity; }));
  EXPECT_TRUE(daemon_.logs("pressure_capacity resource=ram withheld=0"));
}

TEST_F(PressureTest, AFileThatMakesNoSenseEndsItWithOneWarningAndLendsEverything) {
  std::int64_t total = 0;
  ASSERT_TRUE(comes_true([&] {
    stall(total += 1'000'000);
    return capacity() == 16 * kMiB;
  }));
  write("nothing\n");
  EXPECT_TRUE(comes_true([&] { return capacity() == kCapacity; }));
  const std::string log = daemon_.log();
  const auto warned = log.find("pressure_control_off");
  ASSERT_NE(warned, std::string::npos);
  EXPECT_EQ(log.find("pressure_control_off", warned + 1), std::string::npos);
  EXPECT_THAT(log, HasSubstr("is no pressure file"));
}

}  // namespace
}  // namespace membroker::testing
