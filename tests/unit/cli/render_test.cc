#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "client/cli/bar.h"
#include "client/cli/table.h"
#include "client/cli/text.h"
#include "client/cli/top_view.h"
#include "client/cli/views.h"
#include "shared/bytes.h"

namespace membroker::cli {
namespace {

using testing::Each;
using testing::HasSubstr;
using testing::Not;

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> result;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) result.push_back(line);
  return result;
}

std::string bar(const BarFigures& figures, Bytes scale, std::size_t width) {
  return draw(bar_cells(figures, scale, width), false, false);
}

TEST(Text, ControlBytesAndBadUtf8AreReplaced) {
  EXPECT_EQ(clean("plain"), "plain");
  EXPECT_EQ(clean("\x1b[2J\n\x7f"), "?[2J??");
  EXPECT_EQ(clean("h\xc3\xa9"), "h\xc3\xa9");
  EXPECT_EQ(clean("\xff\xc3"), "??");
  EXPECT_EQ(clean("\xc2\x9b"), "?");        // C1: a one-byte escape sequence for some terminals
  EXPECT_EQ(clean("\xc0\xaf"), "??");       // overlong
  EXPECT_EQ(clean("\xe0\x80\xaf"), "???");  // overlong
  EXPECT_EQ(clean("\xed\xa0\x80"), "???");  // a surrogate
  EXPECT_EQ(clean("\xf4\x90\x80\x80"), "????");  // above the last code point
  EXPECT_EQ(clean(std::string("a\0b", 3)), "a?b");
}

TEST(Text, CutsByColumns) {
  EXPECT_EQ(cut("abcdef", 6), "abcdef");
  EXPECT_EQ(cut("abcdef", 4), "abc~");
  EXPECT_EQ(cut("abcdef", 1), "~");
  EXPECT_EQ(cut("abcdef", 0), "");
  EXPECT_EQ(cut("\xc3\xa9\xc3\xa9\xc3\xa9", 2), "\xc3\xa9~");
}

TEST(Text, Durations) {
  EXPECT_EQ(format_duration(0), "0 ms");
  EXPECT_EQ(format_duration(999), "999 ms");
  EXPECT_EQ(format_duration(4'250), "4.2 s");
  EXPECT_EQ(format_duration(185'000), "3m05s");
  EXPECT_EQ(format_duration(3'725'000), "1h02m");
  EXPECT_EQ(format_duration(276'000'000), "3d04h");
}

TEST(Text, ParsesDurations) {
  EXPECT_EQ(parse_duration("500ms", 0, 10'000).value(), 500);
  EXPECT_EQ(parse_duration("2s", 0, 10'000).value(), 2000);
  EXPECT_EQ(parse_duration("0.5", 0, 10'000).value(), 500);
  EXPECT_EQ(parse_duration("0.1m", 0, 10'000).value(), 6'000);
  for (const char* bad : {"", "s", "1m", "-1s", "1 s", "nan", "inf", "1e99", "11s", "1ss"}) {
    EXPECT_FALSE(parse_duration(bad, 0, 10'000)) << bad;
  }
  EXPECT_THAT(parse_duration("11s", 100, 10'000).error().message(),
              HasSubstr("between 100 ms and 10.0 s"));
}

TEST(Text, ParsesTimes) {
  constexpr std::int64_t kNow = 1'779'192'000'000;  // 2026-05-19 12:00 UTC
  EXPECT_EQ(parse_time("2h", kNow).value(), kNow - 7'200'000);
  EXPECT_EQ(parse_time("1.5m", kNow).value(), kNow - 90'000);
  EXPECT_EQ(parse_time("7d", kNow).value(), kNow - 604'800'000);
  EXPECT_EQ(parse_time("30000d", kNow).value(), 0) << "no time is before 1970";
  EXPECT_EQ(parse_time("2026-05-19T12:00:00Z", kNow).value(), kNow);
  EXPECT_EQ(parse_time("2026-05-19 12:00Z", kNow).value(), kNow);
  EXPECT_EQ(parse_time("2026-05-19Z", kNow).value(), kNow - 43'200'000);
  for (const char* bad :
       {"", "2026", "90", "h", "-2h", "2h ", "2026-05", "2026-02-30", "2026-05-19T25:00",
        "2026-05-19T12:00ZZ", "2026-05-19T12:00+02:00", "1969-12-30", "tomorrow"}) {
    const auto time = parse_time(bad, kNow);
    ASSERT_FALSE(time) << bad;
    EXPECT_THAT(time.error().message(), HasSubstr("write for example 2h (ago), 2026-05-20"));
  }
}

TEST(Text, TimesAreThoseOfTheClockHere) {
  ::setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
  ::tzset();
  EXPECT_EQ(local_minute(1'779'192'059'999), "2026-05-19 14:00");
  EXPECT_EQ(parse_time("2026-05-19T14:00", 0).value(), 1'779'192'000'000);
  EXPECT_EQ(parse_time("2026-01-19", 0).value(), 1'768'777'200'000);
  ::unsetenv("TZ");
  ::tzset();
}

TEST(Text, PaintsOnlyWithColour) {
  EXPECT_EQ(paint("x", Style::kBad, false), "x");
  EXPECT_EQ(paint("x", Style::kBad, true), "\x1b[31mx\x1b[0m");
  EXPECT_EQ(paint("x", Style::kPlain, true), "x");
}

TEST(Table, AlignsAndLeavesNoTrailingBlanks) {
  Table table({{"NAME"}, {"BYTES", true}, {"NOTE"}});
  table.add({{"a"}, {"1"}, {""}});
  table.add({{"long name"}, {"12345678"}, {"x"}});
  EXPECT_EQ(table.render(0, false),
            "NAME          BYTES  NOTE\n"
            "a                 1\n"
            "long name  12345678  x\n");
  EXPECT_EQ(table.natural_width(), 25U);
}

TEST(Table, ShrinksThenDropsThenCuts) {
  Table table({{"NAME", false, 4}, {"BYTES", true}, {"NOTE", false, 0, true}});
  table.add({{"long name"}, {"12345678"}, {"noted"}});
  EXPECT_EQ(lines(table.render(23, false))[1], "long ~  12345678  noted");
  EXPECT_EQ(lines(table.render(19, false))[1], "lon~  12345678");
  EXPECT_EQ(lines(table.render(10, false))[1], "lon~  123~");
}

TEST(Table, LeavesOutAnOptionalColumnThatIsEmpty) {
  Table table({{"NAME"}, {"NOTE", false, 0, true}});
  EXPECT_EQ(table.render(0, false), "NAME  NOTE\n");
  table.add({{"a"}, {""}});
  EXPECT_EQ(table.render(0, false), "NAME\na\n");
}

TEST(Table, NamesCannotDraw) {
  Table table({{"NAME"}});
  table.add({{"a\x1b[31mb\n"}});
  EXPECT_EQ(lines(table.render(0, false))[1], "a?[31mb?");
}

TEST(Bar, ShowsHeldGuaranteeAndLimit) {
  BarFigures figures;
  figures.held = 30;
  figures.guarantee = 50;
  figures.limit = 80;
  EXPECT_EQ(bar(figures, 100, 10), "###.|...  ");
}

TEST(Bar, RevokingAndOverdueAreTheTailOfHeldAndWaitingFollows) {
  BarFigures figures;
  figures.held = 60;
  figures.revoking = 20;
  figures.overdue = 10;
  figures.waiting = 20;
  EXPECT_EQ(bar(figures, 100, 10), "###<<!++..");
}

TEST(Bar, WhatIsNotZeroIsSeen) {
  BarFigures figures;
  figures.held = 1;
  figures.waiting = 1;
  EXPECT_EQ(bar(figures, 1'000'000, 4), "#+..");
}

TEST(Bar, SurvivesAnyFigures) {
  BarFigures figures{kBytesMax, kBytesMax, kBytesMax, kBytesMax, kBytesMax, 0};
  EXPECT_EQ(bar(figures, 1, 3).size(), 3U);
  EXPECT_EQ(bar(figures, 0, 3), "   ");
  EXPECT_EQ(bar(figures, 100, 0), "");
  figures = {-5, -5, -5, -5, -5, -5};
  EXPECT_EQ(bar(figures, 100, 3), "   ");
}

TEST(Bar, UnicodeCellsTakeOneColumn) {
  BarFigures figures;
  figures.held = 50;
  EXPECT_EQ(columns(draw(bar_cells(figures, 100, 10), true, false)), 10U);
}

Sample sample(int tenants, int leases) {
  Sample sample;
  sample.clock = "12:00:01";
  sample.time_ms = 1'700'000'000'000;
  sample.status.set_version("0.1.0");
  sample.status.set_state("serving");
  auto* ram = sample.status.add_resources();
  ram->set_resource("ram");
  ram->set_capacity_bytes(256 * kMiB);
  ram->set_held_bytes(128 * kMiB);
  ram->set_granted_count(100);
  for (int i = 0; i < tenants; ++i) {
    auto* tenant = sample.tenants.add_tenants();
    tenant->set_path("tenant" + std::to_string(i));
    tenant->set_resource("ram");
    tenant->set_held_bytes(64 * kMiB);
    tenant->set_guarantee_bytes(32 * kMiB);
    tenant->set_limit_bytes(128 * kMiB);
  }
  for (int i = 0; i < leases; ++i) {
    auto* lease = sample.leases.add_leases();
    lease->set_session_id(static_cast<std::uint64_t>(i) + 1);
    lease->set_client_name("client" + std::to_string(i));
    lease->set_resource("ram");
    lease->set_held_bytes(Bytes{i} * kMiB);
  }
  return sample;
}

TEST(TopFrame, BarsAndTheLargestLeaseFirst) {
  const auto frame = lines(render_frame(sample(2, 3), nullptr, {100, false, false}, 40, ""));
  ASSERT_GT(frame.size(), 12U);
  EXPECT_THAT(frame[0], HasSubstr("serving"));
  EXPECT_THAT(frame[3], HasSubstr("####"));
  EXPECT_THAT(frame[3], HasSubstr("128.0 MiB of 256.0 MiB held"));
  const auto first = std::find_if(frame.begin(), frame.end(), [](const std::string& line) {
    return line.find("client") != std::string::npos;
  });
  ASSERT_NE(first, frame.end());
  EXPECT_THAT(*first, HasSubstr("client2"));
}

TEST(TopFrame, ShowsGrantsPerSecondSinceTheSampleBefore) {
  const Sample before = sample(1, 0);
  Sample now = sample(1, 0);
  now.time_ms += 2000;
  now.status.mutable_resources(0)->set_granted_count(150);
  EXPECT_THAT(render_frame(now, &before, {100, false, false}, 40, ""), HasSubstr("150 (25/s)"));
  // A restarted daemon counts from zero again.
  now.status.mutable_resources(0)->set_granted_count(10);
  EXPECT_THAT(render_frame(now, &before, {100, false, false}, 40, ""), Not(HasSubstr("/s)")));
}

// Whatever the terminal's size and the number of tenants, the frame fits and does not scroll.
TEST(TopFrame, FitsEveryTerminal) {
  const Sample before = sample(30, 0);
  const Sample now = sample(30, 50);
  for (std::size_t width : {20U, 40U, 79U, 80U, 132U, 300U}) {
    for (std::size_t height : {1U, 5U, 10U, 24U, 60U, 200U}) {
      for (const bool unicode : {false, true}) {
        const std::string frame = render_frame(now, &before, {width, false, unicode}, height,
                                               "cannot read the status: no answer");
        const auto shown = lines(frame);
        EXPECT_LE(shown.size(), height);
        EXPECT_NE(frame.back(), '\n');
        for (const std::string& line : shown) EXPECT_LE(columns(line), width) << line;
        EXPECT_THAT(shown.back(), HasSubstr("cannot read"));
      }
    }
  }
}

TEST(TopLine, IsOneLinePerResource) {
  EXPECT_EQ(render_line(sample(2, 1)),
            "12:00:01 resource=ram capacity=256.0MiB held=128.0MiB free=0B revoking=0B waiting=0B "
            "overdue=0B debt=0B revocations=0 answered=0 late=0 tenant.tenant0=64.0MiB "
            "tenant.tenant1=64.0MiB\n");
}

TEST(Json, KeepsNamesDefaultsAndExactBytes) {
  v1::admin::ListTenantsResponse tenants;
  tenants.add_tenants()->set_held_bytes(9'007'199'254'740'993);
  const std::string json = to_json(tenants, true).value();
  EXPECT_THAT(json, HasSubstr("\"held_bytes\":\"9007199254740993\""));
  EXPECT_THAT(json, HasSubstr("\"debt_bytes\":\"0\""));
  EXPECT_EQ(json.find('\n'), json.size() - 1);
}

TEST(Views, EmptyAnswersHaveHeadersOnly) {
  const Look look;
  EXPECT_EQ(lines(render(v1::admin::ListTenantsResponse(), look)).size(), 1U);
  EXPECT_EQ(lines(render(v1::admin::ListSessionsResponse(), look)).size(), 1U);
  EXPECT_EQ(lines(render(v1::admin::ListLeasesResponse(), look)).size(), 1U);
}

TEST(Views, AnOpenRevocationIsShownWithWhatIsAskedAndWhy) {
  v1::admin::ListLeasesResponse leases;
  auto* lease = leases.add_leases();
  lease->set_revoking_bytes(8 * kMiB);
  lease->set_revoke_stage("spill");
  lease->set_revoke_reason("fair_share");
  lease->set_revoke_deadline_ms(1500);
  EXPECT_THAT(render(leases, {}), HasSubstr("8.0 MiB  spill fair_share 1.5 s"));
}

TEST(Views, AlarmsAndWithheldBytesAreShownOnlyWhileTheyLast) {
  v1::admin::GetStatusResponse status;
  auto* ram = status.add_resources();
  ram->set_resource("ram");
  v1::admin::ListTenantsResponse tenants;
  auto* tenant = tenants.add_tenants();
  tenant->set_debt_cap_bytes(2 * kMiB);
  EXPECT_THAT(render(status, {}), Not(HasSubstr("WITHHELD")));
  EXPECT_THAT(render(status, {}), Not(HasSubstr("debt cap")));
  EXPECT_THAT(render(tenants, {}), Not(HasSubstr("debt above")));

  ram->set_withheld_bytes(96 * kMiB);
  ram->set_tenants_over_debt_cap(2);
  tenant->set_debt_over_cap(true);
  tenant->set_orphaned_bytes(kMiB);
  EXPECT_THAT(render(status, {}), HasSubstr("WITHHELD\n"));
  EXPECT_THAT(render(status, {}), HasSubstr("96.0 MiB\n"));
  EXPECT_THAT(render(*ram, {}), HasSubstr("96.0 MiB\n"));
  EXPECT_THAT(render(status, {}), HasSubstr("0 sessions, 2 tenants over the debt cap of ram\n"));
  EXPECT_THAT(render(tenants, {}), HasSubstr("debt above 2.0 MiB, orphaned 1.0 MiB"));
}

TEST(Views, WhatHasHappenedIsCountedWithinTheWidth) {
  v1::admin::GetStatusResponse status;
  (*status.mutable_counts())["sessions_gone"] = 0;
  EXPECT_THAT(render(status, {}), Not(HasSubstr("since the start")));
  (*status.mutable_counts())["sessions_fenced"] = 3;
  (*status.mutable_counts())["orphans_left"] = 12;
  EXPECT_THAT(render(status, {}),
              HasSubstr("\nsince the start: orphans_left=12 sessions_fenced=3\n"));
  EXPECT_THAT(render(status, {40, false, false}),
              HasSubstr("\nsince the start: orphans_left=12\n  sessions_fenced=3\n"));
}

TEST(Views, NoLineIsWiderThanTheTerminal) {
  const Sample now = sample(3, 3);
  for (const std::size_t width : {30U, 60U, 80U, 120U}) {
    const Look look{width, false, false};
    std::vector<std::size_t> widths;
    for (const std::string& text : {render(now.tenants, look), render(now.leases, look)}) {
      for (const std::string& line : lines(text)) widths.push_back(columns(line));
    }
    EXPECT_THAT(widths, Each(testing::Le(width)));
  }
}

}  // namespace
}  // namespace membroker::cli
