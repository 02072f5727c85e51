#include "shared/bytes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace membroker {
namespace {

using testing::HasSubstr;

TEST(ParseBytes, PlainNumbers) {
  EXPECT_EQ(parse_bytes("0").value(), 0);
  EXPECT_EQ(parse_bytes("268435456").value(), 268435456);
  EXPECT_EQ(parse_bytes("9223372036854775807").value(), kBytesMax);
  EXPECT_EQ(parse_bytes("007").value(), 7);
}

TEST(ParseBytes, Units) {
  EXPECT_EQ(parse_bytes("256MiB").value(), 256 * kMiB);
  EXPECT_EQ(parse_bytes("1.5 GiB").value(), kGiB + kGiB / 2);
  EXPECT_EQ(parse_bytes("64kB").value(), 64'000);
  EXPECT_EQ(parse_bytes("64K").value(), 64'000);
  EXPECT_EQ(parse_bytes("64Ki").value(), 64 * kKiB);
  EXPECT_EQ(parse_bytes("1mib").value(), kMiB);
  EXPECT_EQ(parse_bytes("2TB").value(), 2'000'000'000'000);
  EXPECT_EQ(parse_bytes("1PiB").value(), kGiB * 1024 * 1024);
  EXPECT_EQ(parse_bytes("12 B").value(), 12);
  EXPECT_EQ(parse_bytes(" \t3 MiB\n").value(), 3 * kMiB);
  EXPECT_EQ(parse_bytes("0.5").value(), 0);  // rounded down: never more than was said
  EXPECT_EQ(parse_bytes("1.9B").value(), 1);
}

TEST(ParseBytes, ErrorsNameTheTextAndWhatIsExpected) {
  for (const char* bad : {"",
                          " ",
                          "MiB",
                          "-1",
                          "-1MiB",
                          "+1",
                          "1XB",
                          "1MiBB",
                          "1 Mi B",
                          "1.2.3",
                          ".",
                          "1e3",
                          "0x10",
                          "nan",
                          "inf",
                          "9223372036854775808",
                          "9PiB9",
                          "1iB",
                          "10000000PiB",
                          "9300000TB",
                          "99999999999999999999.5"}) {
    const Result<Bytes> bytes = parse_bytes(bad);
    ASSERT_FALSE(bytes) << bad << " gave " << bytes.value();
    EXPECT_EQ(bytes.error().code(), ErrorCode::kInvalid);
    EXPECT_THAT(bytes.error().message(), HasSubstr("\"" + std::string(bad) + "\""));
    EXPECT_THAT(bytes.error().message(), HasSubstr("256MiB"));
  }
}

// Any text gives a size or an error, and a size is never negative.
TEST(ParseBytes, SurvivesAnyText) {
  std::mt19937_64 random(1);
  const std::string_view alphabet = "0123456789.kKmMgGtTpPiIbB -+eEx\0\xff";
  for (int i = 0; i < 100'000; ++i) {
    std::string text(random() % 24, '0');
    for (char& c : text) c = alphabet[random() % alphabet.size()];
    const Result<Bytes> bytes = parse_bytes(text);
    ASSERT_GE(bytes.value_or(0), 0) << text;
  }
}

TEST(FormatBytes, OneDecimalFromKiB) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(512), "512 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1024), "1.0 KiB");
  EXPECT_EQ(format_bytes(256 * kMiB), "256.0 MiB");
  EXPECT_EQ(format_bytes(kGiB + kGiB / 2), "1.5 GiB");
  EXPECT_EQ(format_bytes(-5), "-5 B");
  EXPECT_EQ(format_bytes(-2 * kMiB), "-2.0 MiB");
}

TEST(FormatBytes, NeverRoundsUpToAFullUnit) {
  EXPECT_EQ(format_bytes(kMiB - 1), "1.0 MiB");  // not "1024.0 KiB"
  EXPECT_EQ(format_bytes(kBytesMax), "8192.0 PiB");
}

TEST(CheckedArithmetic, TellsOverflow) {
  EXPECT_EQ(checked_add(1, 2), 3);
  EXPECT_EQ(checked_add(kBytesMax, 1), std::nullopt);
  EXPECT_EQ(checked_add(-kBytesMax, -2), std::nullopt);
  EXPECT_EQ(checked_sub(1, 2), -1);
  EXPECT_EQ(checked_sub(-kBytesMax, 2), std::nullopt);
  EXPECT_EQ(checked_mul(3, 4), 12);
  EXPECT_EQ(checked_mul(kBytesMax / 2, 3), std::nullopt);
  EXPECT_EQ(saturating_add(kBytesMax - 1, 5), kBytesMax);
  EXPECT_EQ(saturating_add(1, 5), 6);
}

TEST(CheckedArithmetic, RoundsUpToPowersOfTwo) {
  EXPECT_EQ(round_up(0, kMiB), 0);
  EXPECT_EQ(round_up(1, kMiB), kMiB);
  EXPECT_EQ(round_up(kMiB, kMiB), kMiB);
  EXPECT_EQ(round_up(kMiB + 1, kMiB), 2 * kMiB);
  EXPECT_EQ(round_up(kBytesMax, kMiB), std::nullopt);
}

}  // namespace
}  // namespace membroker
