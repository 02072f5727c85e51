#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config_kit.h"

namespace membroker::app {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

Bytes capacity(const std::string& keys) {
  return good("[resources.ram]\n" + keys).broker.resources.at(0).capacity;
}
std::string capacity_error(const std::string& keys) { return error("[resources.ram]\n" + keys); }

const std::string kRam = "[resources.ram]\ncapacity = \"1000MiB\"\n";  // lines 1 and 2

broker::PressureConfig pressure(const std::string& keys) {
  return good(kRam + "[pressure]\n" + keys).pressure;
}
std::string pressure_error(const std::string& keys) {  // keys: line 4
  return error(kRam + "[pressure]\n" + keys);
}

TEST(ConfigCapacity, AReserveIsTakenOffBeforeThePercentage) {
  EXPECT_EQ(capacity("capacity = \"100%\"\nreserve = \"2GiB\"\n"), 8 * kGiB);
  EXPECT_EQ(capacity("capacity = \"50%\"\nreserve = \"20%\"\n"), 4 * kGiB);
  EXPECT_EQ(capacity("capacity = \"7GiB\"\nreserve = \"3GiB\"\n"), 7 * kGiB);
}

TEST(ConfigCapacity, WhatDoesNotFitBesideTheReserveIsAnError) {
  EXPECT_EQ(capacity_error("capacity = \"8GiB\"\nreserve = \"3GiB\"\n"),
            "m.toml:2:12: a capacity of 8589934592 bytes does not fit beside the reserve: there "
            "are 10737418240, of which 3221225472 are reserved");
  EXPECT_THAT(capacity_error("capacity = \"80%\"\nreserve = \"10GiB\"\n"),
              AllOf(StartsWith("m.toml:3:11: "), HasSubstr("leaves nothing of the 10737418240")));
  EXPECT_THAT(capacity_error("capacity = \"80%\"\nreserve = \"lots\"\n"),
              StartsWith("m.toml:3:11: reserve in [resources.ram]"));
  EXPECT_THAT(error(kRam + "[resources.gpu]\ncapacity = \"1GiB\"\nreserve = \"1MiB\"\n"),
              AllOf(StartsWith("m.toml:5:11: "), HasSubstr("leave it out")));
  EXPECT_THAT(error(kRam + "[resources.gpu]\ncapacity = \"10%\"\n"),
              AllOf(StartsWith("m.toml:4:12: "), HasSubstr("write a size")));
}

TEST(ConfigPressure, IsOffUnlessEnabled) {
  EXPECT_FALSE(good(kRam).pressure.enabled);
  EXPECT_FALSE(pressure("high_percent = 30\n").enabled);
}

TEST(ConfigPressure, HasDefaultsThatDependOnTheCapacity) {
  const broker::PressureConfig made = pressure("enabled = true\n");
  EXPECT_TRUE(made.enabled);
  EXPECT_EQ(made.file, "/proc/pressure/memory");
  EXPECT_EQ(made.step, 20 * kMiB);
  EXPECT_EQ(made.grow, 5 * kMiB);
  EXPECT_EQ(made.floor, 500 * kMiB);
  EXPECT_EQ(made.interval, 1'000);
  EXPECT_EQ(made.hold, 30'000);
  EXPECT_LT(made.low_percent, made.high_percent);
}

const char* const kEveryKey = R"(enabled = true
file = "/sys/fs/cgroup/data/memory.pressure"
high_percent = 40
low_percent = 10
step = "5%"
grow = "3MiB"
floor = "25%"
interval = "500ms"
hold = "1min"
)";

TEST(ConfigPressure, ReadsEveryKeyAndPrintsItAgain) {
  const AppConfig config = good(kRam + "[pressure]\n" + kEveryKey);
  const broker::PressureConfig& made = config.pressure;
  EXPECT_EQ(made.file, "/sys/fs/cgroup/data/memory.pressure");
  EXPECT_EQ(made.high_percent, 40);
  EXPECT_EQ(made.low_percent, 10);
  EXPECT_EQ(made.step, 50 * kMiB);
  EXPECT_EQ(made.grow, 3 * kMiB);
  EXPECT_EQ(made.floor, 250 * kMiB);
  EXPECT_EQ(made.interval, 500);
  EXPECT_EQ(made.hold, 60'000);
  EXPECT_EQ(print_config(good(print_config(config))), print_config(config));
}

TEST(ConfigPressure, SaysWhereAndWhatIsWrong) {
  EXPECT_EQ(pressure_error("high_percent = 0\n"),
            "m.toml:4:16: high_percent = 0 is out of range; write 1 to 99");
  EXPECT_THAT(pressure_error("high_percent = \"20%\"\n"),
              StartsWith("m.toml:4:16: high_percent in [pressure] must be a whole number"));
  EXPECT_THAT(pressure_error("low_percent = 20\n"),
              AllOf(StartsWith("m.toml:4:15: "), HasSubstr("below high_percent 20")));
  EXPECT_THAT(pressure_error("high_percent = 3\n"), StartsWith("m.toml:4:16: low_percent 5 must"));
  EXPECT_THAT(pressure_error("file = \"memory.pressure\"\n"),
              AllOf(StartsWith("m.toml:4:8: "), HasSubstr("absolute path")));
  EXPECT_THAT(pressure_error("step = 0\n"), StartsWith("m.toml:4:8: step in [pressure] comes to"));
  EXPECT_THAT(pressure_error("floor = \"2GiB\"\n"),
              AllOf(StartsWith("m.toml:4:9: "), HasSubstr("1048576000")));
  EXPECT_THAT(pressure_error("interval = \"1ms\"\n"),
              AllOf(StartsWith("m.toml:4:12: "), HasSubstr("\"100ms\" to \"60000ms\"")));
  EXPECT_THAT(pressure_error("hold = \"2h\"\n"), StartsWith("m.toml:4:8: hold"));
  EXPECT_THAT(pressure_error("hihg_percent = 3\n"),
              HasSubstr("4:1: unknown key \"hihg_percent\" in [pressure]; did you mean "
                        "\"high_percent\"?"));
}

}  // namespace
}  // namespace membroker::app
