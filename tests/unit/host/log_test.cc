#include "server/app/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <algorithm>

namespace membroker::app {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

std::string logged(LogFormat format, const std::string& level, void (*what)()) {
  ::testing::internal::CaptureStderr();
  set_up_log(level, format);
  what();
  return ::testing::internal::GetCapturedStderr();
}

TEST(Log, WritesOneLineOfKeysAndValues) {
  const std::string line = logged(LogFormat::kLogfmt, "info", [] {
    spdlog::warn("session_gone session={} why=\"a b\"", 7);
    spdlog::debug("not_shown");
  });
  EXPECT_THAT(line, MatchesRegex("time=[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\\.[0-9]{3}Z level=warn "
                                 "event=session_gone session=7 why=\"a b\"\n"));
}

TEST(Log, WritesJson) {
  const std::string line = logged(LogFormat::kJson, "info",
                                  [] { spdlog::error("start_failed why=\"no \\\"x\\\"\" pid=7"); });
  EXPECT_THAT(line, HasSubstr("\"level\":\"error\",\"event\":\"start_failed\","));
  EXPECT_THAT(line, EndsWith("\"why\":\"no \\\"x\\\"\",\"pid\":7}\n"));
}

TEST(Log, LetsNoTextBreakTheLine) {
  const std::string line = logged(LogFormat::kLogfmt, "info",
                                  [] { spdlog::info("odd text=a\nlevel=error\x7f\x1b[2J"); });
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  EXPECT_THAT(line, EndsWith("event=odd text=a?level=error??[2J\n"));
}

TEST(Log, MakesJsonMembersOfWhateverThereIs) {
  EXPECT_EQ(json_members("event"), R"("event":"event")");
  EXPECT_EQ(json_members(""), R"("event":"")");
  EXPECT_EQ(json_members("e a=1 b=-2 c=007 d=x e=\"\" f="),
            R"("event":"e","a":1,"b":-2,"c":"007","d":"x","e":"","f":"")");
  EXPECT_EQ(json_members("e some words a=1"), R"("event":"e","text":"some words a=1")");
  EXPECT_EQ(json_members("e a=\"open"), R"("event":"e","text":"a=\"open")");
  EXPECT_EQ(json_members("e a=\"x\\\\y\""), R"("event":"e","a":"x\\y")");
  EXPECT_EQ(json_members("e a=99999999999999999999"), R"("event":"e","a":"99999999999999999999")");
  EXPECT_EQ(json_members("e a=\xff\xc3"), R"("event":"e","a":"??")");
}

}  // namespace
}  // namespace membroker::app
