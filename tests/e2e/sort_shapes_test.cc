#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "shared/bytes.h"
#include "tests/e2e/sort_job.h"
#include "tests/e2e/text.h"
#include "tests/kit/temporary_folder.h"

// Every shape of input, byte for byte as LC_ALL=C sort has it; in little memory and in enough.

namespace membroker::e2e {
namespace {

struct Shape {
  const char* name;
  std::function<std::string(std::mt19937_64&)> make;
};

constexpr std::int64_t kScale = kSanitized ? 1 : 4;

std::string lines_of(std::size_t count, const std::function<std::string()>& line) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += line() + '\n';
  return text;
}

std::string random_bytes(std::mt19937_64& random, std::size_t count, unsigned from, unsigned to) {
  std::string bytes(count, '\0');
  for (char& c : bytes) c = static_cast<char>(from + random() % (to - from + 1));
  return bytes;
}

std::string numbers(std::mt19937_64& random, int order) {
  std::vector<std::uint64_t> values(100'000 * kScale);
  for (std::uint64_t& value : values) value = random() % 1'000'000'000'000;
  if (order != 0) std::sort(values.begin(), values.end());
  if (order < 0) std::reverse(values.begin(), values.end());
  std::ostringstream text;
  for (const std::uint64_t value : values) text << (1'000'000'000'000 + value) << " some text\n";
  return text.str();
}

const std::vector<Shape>& shapes() {
  static const std::vector<Shape> all = {
      {"Empty", [](auto&) { return std::string(); }},
      {"OneNewline", [](auto&) { return std::string("\n"); }},
      {"OneByte", [](auto&) { return std::string("x"); }},
      {"NoNewlineAtTheEnd", [](auto&) { return std::string("b\nc\na"); }},
      {"ManyWithoutNewlineAtTheEnd",
       [](auto& random) {
         std::string text = package_lines(2 * kScale << 20, random());
         text += "last line, in no order";
         return text;
       }},
      {"EmptyLines", [](auto&) { return std::string(700'000 * kScale, '\n'); }},
      {"OneByteLines",
       [](auto& random) {
         return lines_of(400'000 * kScale, [&] { return random_bytes(random, 1, 'a', 'z'); });
       }},
      {"Nuls",
       [](auto& random) {
         return lines_of(50'000 * kScale,
                         [&] { return random_bytes(random, random() % 24, 0, 2); });
       }},
      {"Binary",
       [](auto& random) {
         return random_bytes(random, static_cast<std::size_t>(3 * kScale << 20), 0, 255);
       }},
      {"LongLines",
       [](auto& random) {
         constexpr std::size_t kLengths[] = {5, 100, 300'000, 1'200'000};
         return lines_of(40, [&] {
           const char c = static_cast<char>('a' + random() % 3);
           return std::string(kLengths[random() % 4], c);
         });
       }},
      {"LongCommonPrefixes",
       [](auto& random) {
         return lines_of(
             3'000, [&] { return std::string(3'000, 'p') + std::to_string(random() % 1'000'000); });
       }},
      {"AllEqual",
       [](auto&) { return lines_of(300'000 * kScale, [] { return "the same line"; }); }},
      {"Sorted", [](auto& random) { return numbers(random, 1); }},
      {"Reversed", [](auto& random) { return numbers(random, -1); }},
      {"Random", [](auto& random) { return numbers(random, 0); }},
  };
  return all;
}

class SortShapes : public ::testing::TestWithParam<std::size_t> {
 protected:
  std::string stats_of(const SortJob& job) const {
    return "runs " + std::to_string(job.stat("runs")) + "\n" + job.log();
  }

  const testing::TemporaryFolder folder_;
};

TEST_P(SortShapes, AsGnuSortHasThem) {
  const Shape& shape = shapes()[GetParam()];
  std::mt19937_64 random(GetParam());
  const std::string text = shape.make(random);
  folder_.write("input", text);
  ASSERT_TRUE(gnu_sort(folder_.path("input"), folder_.path("expected")));
  for (const char* capacity : {"4MiB", "64MiB"}) {
    SCOPED_TRACE(std::string(shape.name) + " in " + capacity);
    SortJob job(folder_.root(), capacity, folder_.path("input"),
                {"--embedded", capacity, "--temp-dir", folder_.path("spill")});
    job.start();
    ASSERT_EQ(job.wait(), 0) << job.log();
    EXPECT_TRUE(same_files(job.output(), folder_.path("expected"))) << stats_of(job);
    EXPECT_EQ(job.log(), "");
    EXPECT_EQ(job.stat("input_bytes"), static_cast<std::int64_t>(text.size()));
    EXPECT_LE(job.stat("lease_peak_bytes"), *parse_bytes(capacity));
    EXPECT_EQ(job.stat("overdrawn_total_bytes"), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, SortShapes, ::testing::Range(std::size_t{0}, shapes().size()),
                         [](const auto& test) { return shapes()[test.param].name; });

class SortCommand : public ::testing::Test {
 protected:
  // Runs it to its end; its exit status.
  int run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), EXTERNAL_SORT);
    testing::ChildProcess process(arguments, log_);
    return process.wait(kJobWait);
  }
  std::string log() const { return testing::read_file(log_); }

  const testing::TemporaryFolder folder_;
  const std::string log_ = folder_.path("log");
};

TEST_F(SortCommand, SortsAFileInPlaceAndToTheStandardOutput) {
  folder_.write("file", "c\nb\na");
  EXPECT_EQ(run({folder_.path("file"), "-o", folder_.path("file"), "--embedded", "4MiB"}), 0);
  EXPECT_EQ(testing::read_file(folder_.path("file")), "a\nb\nc\n");
  EXPECT_EQ(run({folder_.path("file"), "--embedded", "4MiB"}), 0);
  EXPECT_EQ(log(), "a\nb\nc\n");
}

TEST_F(SortCommand, SaysWhatIsWrongWithItsArguments) {
  EXPECT_EQ(run({}), 2);
  EXPECT_EQ(run({"x", "--no-such-option"}), 2);
  folder_.write("file", "a\n");
  EXPECT_EQ(run({folder_.path("file"), "--embedded", "lots"}), 2);
  EXPECT_NE(log().find("lots"), std::string::npos) << log();
}

TEST_F(SortCommand, NamesTheFileThatCannotBeRead) {
  EXPECT_EQ(run({folder_.path("nowhere"), "--embedded", "4MiB"}), 1);
  EXPECT_NE(log().find(folder_.path("nowhere")), std::string::npos) << log();
  EXPECT_EQ(run({folder_.root(), "--embedded", "4MiB"}), 1);
  EXPECT_NE(log().find("not a regular file"), std::string::npos) << log();
}

TEST_F(SortCommand, NamesTheFileThatCannotBeWrittenAndLeavesNothingBehind) {
  folder_.write("file", "a\n");
  const std::string output = folder_.path("no/such/folder/out");
  EXPECT_EQ(run({folder_.path("file"), "-o", output, "--embedded", "4MiB"}), 1);
  EXPECT_NE(log().find(output), std::string::npos) << log();
  EXPECT_EQ(run({folder_.path("file"), "-o", "/dev/full", "--embedded", "4MiB"}), 1);
  EXPECT_NE(log().find("/dev/full"), std::string::npos) << log();
}

TEST_F(SortCommand, NamesTheLineThatDoesNotFit) {
  folder_.write("file", "a\n" + std::string(8 << 20, 'x') + "\nb\n");
  EXPECT_EQ(run({folder_.path("file"), "-o", folder_.path("out"), "--embedded", "4MiB"}), 1);
  EXPECT_NE(log().find("the line at byte 2 of " + folder_.path("file")), std::string::npos)
      << log();
  EXPECT_EQ(testing::read_file(folder_.path("out")), "");
}

TEST_F(SortCommand, SaysThatNoDaemonAnswers) {
  folder_.write("file", "a\n");
  EXPECT_EQ(run({folder_.path("file"), "--tenant", "a", "--socket", folder_.path("none.sock")}), 3);
  EXPECT_NE(log().find(folder_.path("none.sock")), std::string::npos) << log();
}

}  // namespace
}  // namespace membroker::e2e
