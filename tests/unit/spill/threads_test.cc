#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <random>
#include <set>
#include <thread>

#include "tests/kit/comes_true.h"
#include "tests/unit/spill/spill_kit.h"

/// \file
/// Both ends at work at once. Runs under ThreadSanitizer too.

namespace membroker::spill::test {
namespace {

using namespace std::chrono_literals;

TEST(SpillThreads, AWaitingReaderGetsBatchesAsTheyCome) {
  const TestDirectory directory;
  auto [writer, reader] = *spill_channel(directory.options());
  std::vector<std::promise<std::uint64_t>> seen(10);
  std::thread consumer([&reader_end = reader, &seen] {
    for (std::promise<std::uint64_t>& one : seen) one.set_value(number_of(**reader_end.next()));
  });
  for (std::uint64_t i = 0; i < seen.size(); ++i) {
    ASSERT_TRUE(push(writer, number(i)));
    auto value = seen[i].get_future();
    ASSERT_EQ(value.wait_for(30s), std::future_status::ready);
    EXPECT_EQ(value.get(), i);
  }
  consumer.join();
}

TEST(SpillThreads, TenWritersKeepTheirOrder) {
  const TestDirectory directory;
  SpillOptions options = directory.options();
  options.max_file_size = 10 * 4096;
  options.workspace = *SpillWorkspace::create({.bytes = kSpillWorkspaceBytesMin});
  auto [first, reader] = *spill_channel(options);
  constexpr std::uint64_t kWriters = 10;
  constexpr std::uint64_t kBatches = 50;
  std::vector<std::thread> threads;
  for (std::uint64_t w = 0; w < kWriters; ++w) {
    threads.emplace_back([sink = first.new_sink(), w]() mutable {
      for (std::uint64_t i = 0; i < kBatches; ++i) {
        ASSERT_TRUE(push(sink, number(w * kBatches + i)));
      }
    });
  }
  ASSERT_TRUE(first.finish());
  const auto numbers = read_numbers(reader);
  for (std::thread& thread : threads) thread.join();
  ASSERT_EQ(numbers.size(), kWriters * kBatches);
  std::vector<std::uint64_t> next(kWriters, 0);
  for (const std::uint64_t value : numbers) EXPECT_EQ(value % kBatches, next[value / kBatches]++);
}

// Writers of many channels want more blocks than the workspace has, some of them to compress in.
TEST(SpillThreads, ChannelsShareASmallWorkspace) {
  const TestDirectory directory;
  const auto workspace = *SpillWorkspace::create({.bytes = kSpillWorkspaceBytesMin});
  std::vector<std::thread> threads;
  for (std::uint64_t c = 0; c < 8; ++c) {
    threads.emplace_back([&directory, &workspace, c] {
      SpillOptions options = directory.options();
      options.workspace = workspace;
      options.read_ahead = kSpillReadAheadBytesMin;
      options.compression = static_cast<SpillCompression>(c % 3);
      auto [writer, reader] = *spill_channel(options);
      for (std::uint64_t i = 0; i < 6; ++i) {
        ASSERT_TRUE(push(writer, i % 2 == 0 ? runs(300'000, c + i) : pattern(300'000, c + i)));
      }
      ASSERT_TRUE(writer.finish());
      for (std::uint64_t i = 0; i < 6; ++i) {
        auto batch = reader.next();
        ASSERT_TRUE(batch && *batch);
        EXPECT_EQ((*batch)->buffers[0],
                  i % 2 == 0 ? runs(300'000, c + i) : pattern(300'000, c + i));
      }
      EXPECT_FALSE(*reader.next());
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(SpillThreads, AnErrorReachesAWaitingReader) {
  const TestDirectory directory;
  SpillOptions options = directory.options();
  options.quota = SpillQuota::create(2 * 4096);
  auto [writer, reader] = *spill_channel(options);
  std::promise<std::optional<Error>> ended;
  std::thread consumer([&reader_end = reader, &ended] {
    std::optional<Error> error;
    EXPECT_EQ(read_numbers(reader_end, &error).size(), 2u);
    ended.set_value(error);
  });
  while (push(writer, number(1))) {
  }
  auto answer = ended.get_future();
  ASSERT_EQ(answer.wait_for(30s), std::future_status::ready);
  EXPECT_EQ(answer.get()->code(), ErrorCode::kDiskFull);
  consumer.join();
}

TEST(SpillThreads, AReaderThatLeavesStopsTheWriters) {
  const TestDirectory directory;
  SpillOptions options = directory.options();
  options.max_file_size = 64 * kKiB;
  auto [first, reader] = *spill_channel(options);
  std::vector<std::thread> threads;
  for (std::uint64_t w = 0; w < 3; ++w) {
    threads.emplace_back([sink = first.new_sink(), w]() mutable {
      Status status;
      while (status) status = push(sink, pattern(10'000, w));
      EXPECT_EQ(status.error().code(), ErrorCode::kClosed);
    });
  }
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(*reader.next());
  reader = SpillReader();
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(first.finish());
  EXPECT_TRUE(files_open_in(directory.path()).empty());
}

// Ends that are dropped in any order while writes are under way.
TEST(SpillThreads, DroppingEverythingAtOnceIsSafe) {
  const TestDirectory directory;
  for (int round = 0; round < 30; ++round) {
    auto [writer, reader] = *spill_channel(directory.options());
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(push(writer, pattern(200'000, 1)));
    if (round % 3 == 1) {
      ASSERT_TRUE(*reader.next());
    }
    if (round % 2 == 0) {
      reader = SpillReader();
      writer = SpillWriter();
    }
  }
  // Writes under way keep their file until they have ended; they do end.
  EXPECT_TRUE(
      membroker::testing::comes_true([&] { return files_open_in(directory.path()).empty(); }));
}

// One seeded story: phases in which some writers push at once, the reader reads some of it, and
// writers leave. Everything comes back, in each writer's order; at the end nothing is left.
class Story {
 public:
  explicit Story(std::uint64_t seed) : random_(seed) {
    static constexpr Bytes kMaxFile[] = {2048, 3 * 4096, kGiB};
    options_ = directory_.options();
    options_.max_file_size = kMaxFile[random_() % 3];
    options_.compression = static_cast<SpillCompression>(random_() % 3);
    options_.quota = SpillQuota::create(kGiB);
    options_.read_ahead = kSpillReadAheadBytesMin;
    options_.workspace =
        *SpillWorkspace::create({.bytes = kSpillWorkspaceBytesMin, .io_uring = random_() % 4 != 0});
    auto ends = *spill_channel(options_);
    reader_ = std::move(ends.reader);
    const std::uint64_t writers = 1 + random_() % 4;
    for (std::uint64_t w = 1; w < writers; ++w) writers_.push_back(ends.writer.new_sink());
    writers_.push_back(std::move(ends.writer));
    pushed_.resize(writers);
    read_.resize(writers);
  }

  void run() {
    const std::uint64_t phases = 1 + random_() % 6;
    for (std::uint64_t phase = 0; phase < phases; ++phase) {
      push_at_once();
      read_up_to(random_() % (outstanding() + 1));
      if (outstanding() == 0 && random_() % 3 == 0) {
        const auto present = std::count_if(writers_.begin(), writers_.end(),
                                           [](const auto& writer) { return writer.has_value(); });
        EXPECT_EQ(try_state(reader_), present > 0 ? SpillReady::kPending : SpillReady::kEnd);
      }
      if (random_() % 3 == 0) writers_[random_() % writers_.size()].reset();
    }
    for (auto& writer : writers_) writer.reset();
    read_up_to(outstanding());
    EXPECT_EQ(try_state(reader_), SpillReady::kEnd);
    EXPECT_EQ(options_.quota->used(), 0);
    EXPECT_TRUE(files_open_in(directory_.path()).empty());
  }

 private:
  std::uint64_t outstanding() const {
    std::uint64_t sum = 0;
    for (std::size_t w = 0; w < pushed_.size(); ++w) sum += pushed_[w] - read_[w];
    return sum;
  }

  void push_at_once() {
    std::vector<std::thread> threads;
    for (std::size_t w = 0; w < writers_.size(); ++w) {
      if (!writers_[w] || random_() % 2 == 0) continue;
      const std::uint64_t count = 1 + random_() % 3;
      const std::uint64_t start = pushed_[w];
      pushed_[w] += count;
      const Bytes extra = static_cast<Bytes>(random_() % 3) * 150'000;
      threads.emplace_back([&writer = *writers_[w], w, start, count, extra] {
        for (std::uint64_t i = start; i < start + count; ++i) {
          const std::vector<Buffer> batch = {number(w), number(i), runs(extra, i)};
          ASSERT_TRUE(writer.push_batch(batch));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  void read_up_to(std::uint64_t count) {
    for (; count > 0; --count) {
      auto batch = reader_.next();
      ASSERT_TRUE(batch && *batch);
      ASSERT_EQ((*batch)->buffers.size(), 3u);
      std::uint64_t writer = 0;
      std::uint64_t index = 0;
      std::memcpy(&writer, (*batch)->buffers[0].data(), sizeof writer);
      std::memcpy(&index, (*batch)->buffers[1].data(), sizeof index);
      ASSERT_LT(writer, read_.size());
      EXPECT_EQ(index, read_[writer]++);
      EXPECT_EQ((*batch)->buffers[2], runs((*batch)->buffers[2].size(), index));
    }
  }

  std::mt19937_64 random_;
  const TestDirectory directory_;
  SpillOptions options_;
  SpillReader reader_;
  std::vector<std::optional<SpillWriter>> writers_;
  std::vector<std::uint64_t> pushed_;  // by each writer
  std::vector<std::uint64_t> read_;
};

TEST(SpillThreads, SeededStories) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Story story(seed);
    story.run();
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace membroker::spill::test
