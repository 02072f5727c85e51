#include <gtest/gtest.h>

#include <numeric>

#include "tests/unit/spill/spill_kit.h"

/// \file
/// What goes in comes out: order, rotation, ends, sizes. Small batches take 4096 bytes of file.

namespace membroker::spill::test {
namespace {

constexpr Bytes kSmallBatch = 4096;

std::vector<std::uint64_t> count_to(std::uint64_t n) {
  std::vector<std::uint64_t> numbers(n);
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

TEST(SpillOrder, WriteSomeReadSomeWriteMore) {
  const TestDirectory directory;
  auto [writer, reader] = *spill_channel(directory.options());
  std::uint64_t pushed = 0;
  std::uint64_t read = 0;
  for (const int count : {1, 1, 3}) {
    for (int i = 0; i < count; ++i) ASSERT_TRUE(push(writer, number(pushed++)));
    for (int i = 0; i < count; ++i) {
      auto batch = reader.next();
      ASSERT_TRUE(batch && *batch);
      EXPECT_EQ(number_of(**batch), read++);
    }
    EXPECT_EQ(try_state(reader), SpillReady::kPending);
  }
  ASSERT_TRUE(writer.finish());
  EXPECT_EQ(try_state(reader), SpillReady::kEnd);
  EXPECT_FALSE(*reader.next());
}

TEST(SpillOrder, NothingPushedMakesNoFile) {
  const TestDirectory directory;
  const std::size_t descriptors = descriptors_open();
  auto [writer, reader] = *spill_channel(directory.options());
  ASSERT_TRUE(writer.push_batch(std::span<const Buffer>()));
  EXPECT_EQ(writer.stats().files_created, 0);
  EXPECT_EQ(try_state(reader), SpillReady::kPending);
  EXPECT_EQ(descriptors_open(), descriptors);
  ASSERT_TRUE(writer.finish());
  EXPECT_FALSE(*reader.next());
}

TEST(SpillOrder, EmptyBuffersAreKept) {
  const TestDirectory directory;
  for (const auto kind : {SpillCompression::kNone, SpillCompression::kLz4}) {
    SpillOptions options = directory.options();
    options.compression = kind;
    auto [writer, reader] = *spill_channel(options);
    const std::vector<Buffer> buffers = {Buffer(), Buffer::from_string("a"), Buffer()};
    ASSERT_TRUE(writer.push_batch(buffers));
    ASSERT_TRUE(writer.push_batch(Batch{{Buffer()}}));
    ASSERT_TRUE(writer.finish());
    auto batch = reader.next();
    ASSERT_TRUE(batch && *batch);
    EXPECT_EQ((*batch)->buffers, buffers);
    batch = reader.next();
    ASSERT_TRUE(batch && *batch);
    EXPECT_EQ((*batch)->buffers.size(), 1u);
    EXPECT_EQ((*batch)->size(), 0);
    EXPECT_FALSE(*reader.next());
  }
}

// A file is ended by the push that takes it past the maximum, the next begun by the push after.
// Exactly the maximum is not past it.
TEST(SpillOrder, RotatesWhenWrittenPassesTheMaximum) {
  const TestDirectory directory;
  for (const Bytes max : {kSmallBatch, kSmallBatch + 1}) {
    SpillOptions options = directory.options();
    options.max_file_size = max;
    auto [writer, reader] = *spill_channel(options);
    ASSERT_TRUE(push(writer, number(0)));
    EXPECT_EQ(writer.stats().files_created, 1);
    EXPECT_EQ(writer.stats().bytes_written, kSmallBatch);
    ASSERT_TRUE(push(writer, number(1)));
    EXPECT_EQ(writer.stats().files_created, 1) << max;
    ASSERT_TRUE(push(writer, number(2)));
    EXPECT_EQ(writer.stats().files_created, 2) << max;
    ASSERT_TRUE(writer.finish());
    EXPECT_EQ(read_numbers(reader), count_to(3));
  }
}

TEST(SpillOrder, EveryMaximumKeepsTheOrder) {
  const TestDirectory directory;
  for (const Bytes max : {Bytes{1}, Bytes{100}, 2 * kSmallBatch + 1, kMiB, kBytesMax}) {
    SpillOptions options = directory.options();
    options.max_file_size = max;
    auto [writer, reader] = *spill_channel(options);
    for (std::uint64_t i = 0; i < 10; ++i) ASSERT_TRUE(push(writer, number(i)));
    const Bytes files = writer.stats().files_created;
    EXPECT_EQ(files, max < kSmallBatch ? 10 : max == 2 * kSmallBatch + 1 ? 4 : 1);
    ASSERT_TRUE(writer.finish());
    EXPECT_EQ(read_numbers(reader), count_to(10)) << max;
  }
}

struct Way {
  SpillCompression compression;
  SpillDirectIo direct_io;
  bool io_uring;
  Bytes workspace;
};

class SpillWays : public ::testing::TestWithParam<Way> {};

// Sizes around each boundary of the format, by each way through the code.
TEST_P(SpillWays, SizesAroundEveryBoundaryComeBack) {
  const TestDirectory directory;
  const Way way = GetParam();
  SpillOptions options = directory.options();
  options.compression = way.compression;
  options.direct_io = way.direct_io;
  options.max_file_size = 3 * kMiB;
  options.read_ahead = 256 * kKiB;
  options.workspace = *SpillWorkspace::create({.bytes = way.workspace, .io_uring = way.io_uring});
  EXPECT_TRUE(way.io_uring || !options.workspace->uses_io_uring());
  auto [writer, reader] = *spill_channel(options);
  std::vector<std::vector<Buffer>> batches;
  std::uint64_t seed = 1;
  for (const Bytes around : {Bytes{64}, Bytes{4096}, 32 * kKiB, 64 * kKiB, 256 * kKiB, kMiB}) {
    for (const Bytes by : {-65, -64, -1, 0, 1, 64, 300}) {
      if (around + by < 0) continue;
      batches.push_back(
          {pattern(around + by, seed), runs(around + by, seed + 1), pattern(1, seed)});
      seed += 2;
    }
  }
  batches.push_back({pattern(5 * kMiB + 17, seed)});
  Bytes pushed = 0;
  for (const auto& batch : batches) {
    ASSERT_TRUE(writer.push_batch(batch));
    for (const Buffer& buffer : batch) pushed += buffer.size();
  }
  ASSERT_TRUE(writer.finish());
  for (const auto& expected : batches) {
    auto batch = reader.next();
    ASSERT_TRUE(batch) << batch.error().to_string();
    ASSERT_TRUE(*batch);
    EXPECT_EQ((*batch)->buffers, expected);
    for (const Buffer& buffer : (*batch)->buffers) {
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64, 0u);
    }
  }
  EXPECT_FALSE(*reader.next());
  const SpillStats stats = reader.stats();
  EXPECT_EQ(stats.bytes_pushed, pushed);
  EXPECT_EQ(stats.bytes_read, pushed);
  EXPECT_EQ(stats.files_open, 0);
  EXPECT_EQ(stats.file_bytes_now, 0);
  EXPECT_GT(stats.files_created, 3);
  if (way.compression != SpillCompression::kNone) {
    EXPECT_LT(stats.bytes_written, pushed);  // half of it compresses
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, SpillWays,
    ::testing::Values(Way{SpillCompression::kNone, SpillDirectIo::kAuto, true, 8 * kMiB},
                      Way{SpillCompression::kNone, SpillDirectIo::kOff, true, 8 * kMiB},
                      Way{SpillCompression::kNone, SpillDirectIo::kAuto, false, 8 * kMiB},
                      Way{SpillCompression::kNone, SpillDirectIo::kAuto, true, kMiB},
                      Way{SpillCompression::kLz4, SpillDirectIo::kAuto, true, 8 * kMiB},
                      Way{SpillCompression::kLz4, SpillDirectIo::kAuto, false, kMiB},
                      Way{SpillCompression::kZstd, SpillDirectIo::kAuto, true, 8 * kMiB},
                      Way{SpillCompression::kZstd, SpillDirectIo::kOff, true, kMiB}));

TEST(SpillOrder, NextIntoReadsIntoTheCallersMemory) {
  const TestDirectory directory;
  auto [writer, reader] = *spill_channel(directory.options());
  const std::vector<Buffer> batch = {pattern(1000, 1), pattern(500, 2)};
  ASSERT_TRUE(writer.push_batch(batch));
  ASSERT_TRUE(push(writer, number(7)));
  ASSERT_TRUE(writer.finish());
  std::vector<std::uint8_t> memory(1499);
  auto read = reader.next_into(memory);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), ErrorCode::kInvalid);
  EXPECT_NE(read.error().message().find("1500"), std::string::npos) << read.error().message();
  memory.resize(2000);
  read = reader.next_into(memory);
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(**read, 1500);
  EXPECT_EQ(0, std::memcmp(memory.data(), batch[0].data(), 1000));
  EXPECT_EQ(0, std::memcmp(memory.data() + 1000, batch[1].data(), 500));
  EXPECT_EQ(number_of(**reader.next()), 7u);
  EXPECT_FALSE(*reader.next_into(memory));
}

TEST(SpillOrder, OneWritersEndIsNotTheEnd) {
  const TestDirectory directory;
  auto [writer, reader] = *spill_channel(directory.options());
  std::optional<SpillWriter> second = writer.new_sink();
  ASSERT_TRUE(push(writer, number(0)));
  ASSERT_TRUE(writer.finish());
  ASSERT_TRUE(writer.finish());
  EXPECT_EQ(push(writer, number(9)).error().code(), ErrorCode::kClosed);
  EXPECT_EQ(number_of(**reader.next()), 0u);
  EXPECT_EQ(try_state(reader), SpillReady::kPending);
  ASSERT_TRUE(push(*second, number(1)));
  EXPECT_EQ(number_of(**reader.next()), 1u);
  EXPECT_EQ(try_state(reader), SpillReady::kPending);
  second.reset();
  EXPECT_EQ(try_state(reader), SpillReady::kEnd);
}

TEST(SpillOrder, SpaceIsGivenBackAsFilesAreReadOut) {
  const TestDirectory directory;
  SpillOptions options = directory.options();
  options.max_file_size = 1;
  const std::size_t descriptors = descriptors_open();
  auto [writer, reader] = *spill_channel(options);
  const Buffer data = pattern(100 * kKiB, 3);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(push(writer, data));
  ASSERT_TRUE(writer.finish());
  const Bytes all = disk_bytes_in(directory.path());
  EXPECT_EQ(files_open_in(directory.path()).size(), 3u);
  // More was allocated ahead; all but a little was given back when the last write was done.
  EXPECT_GE(all, reader.stats().bytes_written);
  EXPECT_LE(all, reader.stats().bytes_written * 9 / 8);
  for (std::size_t left = 3; left-- > 0;) {
    ASSERT_TRUE(*reader.next());
    EXPECT_EQ(files_open_in(directory.path()).size(), left);
    EXPECT_EQ(disk_bytes_in(directory.path()), all / 3 * static_cast<Bytes>(left));
    EXPECT_EQ(reader.stats().files_open, static_cast<std::int64_t>(left));
  }
  EXPECT_FALSE(*reader.next());
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
  reader = SpillReader();
  EXPECT_LE(descriptors_open(), descriptors);
}

TEST(SpillOrder, NoFileEverHasAName) {
  const TestDirectory directory;
  auto [writer, reader] = *spill_channel(directory.options());
  ASSERT_TRUE(push(writer, number(1)));
  EXPECT_EQ(files_open_in(directory.path()).size(), 1u);
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

// A merge: each run its own channel, all open, one workspace.
TEST(SpillOrder, ManyRunsAreReadAtOnce) {
  const TestDirectory directory;
  constexpr std::uint64_t kRuns = 100;
  constexpr std::uint64_t kBatches = 12;
  SpillOptions options = directory.options();
  options.workspace = *SpillWorkspace::create({.bytes = kSpillWorkspaceBytesMin});
  options.read_ahead = 128 * kKiB;
  const auto allocator = std::make_shared<LimitedAllocator>();
  options.allocator = allocator;
  std::vector<SpillReader> runs_open;
  for (std::uint64_t run = 0; run < kRuns; ++run) {
    auto [writer, reader] = *spill_channel(options);
    for (std::uint64_t i = 0; i < kBatches; ++i) {
      ASSERT_TRUE(push(writer, pattern(20'000, run * kBatches + i)));
    }
    ASSERT_TRUE(writer.finish());
    runs_open.push_back(std::move(reader));
  }
  EXPECT_EQ(files_open_in(directory.path()).size(), kRuns);
  EXPECT_EQ(allocator->bytes_allocated(), 0);  // finished runs cost none
  std::vector<std::uint8_t> memory(20'000);
  for (std::uint64_t i = 0; i < kBatches; ++i) {
    for (std::uint64_t run = 0; run < kRuns; ++run) {
      auto read = runs_open[run].next_into(memory);
      ASSERT_TRUE(read) << read.error().to_string();
      const Buffer expected = pattern(20'000, run * kBatches + i);
      EXPECT_EQ(0, std::memcmp(memory.data(), expected.data(), memory.size()));
    }
    EXPECT_LE(allocator->bytes_allocated(), static_cast<Bytes>(kRuns) * 128 * kKiB);
  }
  EXPECT_TRUE(files_open_in(directory.path()).empty());
}

TEST(SpillOrder, ReadAheadCanBeGivenBackBetweenReads) {
  const TestDirectory directory;
  SpillOptions options = directory.options();
  options.read_ahead = kSpillReadAheadBytesMin;
  auto [writer, reader] = *spill_channel(options);
  for (std::uint64_t i = 0; i < 20; ++i) ASSERT_TRUE(push(writer, pattern(30'000, i)));
  ASSERT_TRUE(writer.finish());
  for (std::uint64_t i = 0; i < 20; ++i) {
    auto batch = reader.next();
    ASSERT_TRUE(batch && *batch);
    EXPECT_EQ((*batch)->buffers[0], pattern(30'000, i));
    if (i % 3 == 0) reader.release_read_ahead();
  }
  EXPECT_FALSE(*reader.next());
}

}  // namespace
}  // namespace membroker::spill::test
