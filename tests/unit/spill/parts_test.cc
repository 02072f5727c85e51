#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "client/spill/codec.h"
#include "client/spill/file_queue.h"
#include "client/spill/format.h"
#include "client/spill/io_engine.h"
#include "tests/unit/spill/spill_kit.h"

/// \file
/// The parts on their own: the frozen format, codecs, the I/O engine, writes that fail late.

namespace membroker::spill::test {
namespace {

// The frozen format, byte by byte: a file of one batch {"hello spill", nothing, 100 x 'a'}.
constexpr char kGoldenFile[] =
    "4d425350494c4c31000000000100000000000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000004611890f42467168"
    "424154430300000000000000000000006f00000000000000cf57f506836c452e"
    "0000000000000000000000000000000000000000000000007e01acb4515d5a6e"
    "0b00000000000000000000000000000064000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000000000000000000000"
    "68656c6c6f207370696c6c000000000000000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000000000000000000000"
    "6161616161616161616161616161616161616161616161616161616161616161"
    "6161616161616161616161616161616161616161616161616161616161616161"
    "6161616161616161616161616161616161616161616161616161616161616161"
    "6161616100000000000000000000000000000000000000000000000000000000"
    "454e4442000000000000000000000000c00000000000000051140c45bb6a2554"
    "0000000000000000000000000000000000000000000000009e64a2434b5b20e1";

std::string to_hex(std::span<const std::uint8_t> bytes) {
  std::string hex;
  for (const std::uint8_t byte : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

TEST(SpillFormat, GoldenFile) {
  const TestDirectory directory;
  auto [writer, reader] = *spill_channel(directory.options());
  ASSERT_TRUE(writer.push_batch(Batch{
      {Buffer::from_string("hello spill"), Buffer(), Buffer::from_string(std::string(100, 'a'))}}));
  ASSERT_TRUE(writer.finish());
  std::vector<std::uint8_t> file(8192);
  const std::string path = "/proc/self/fd/" + std::to_string(files_open_in(directory.path()).at(0));
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::pread(fd.get(), file.data(), file.size(), 0), 4096);
  file.resize(4096);
  constexpr std::size_t kUsed = 64 + 64 + 64 + 64 + 128 + 64;
  EXPECT_EQ(to_hex({file.data(), kUsed}), kGoldenFile);
  EXPECT_TRUE(std::all_of(file.begin() + kUsed, file.end(), [](auto byte) { return byte == 0; }));
}

TEST(SpillFormat, RecordsComeBack) {
  const FileHeader file{SpillCompression::kZstd, SpillChecksum::kXxh3, 65536, 77};
  EXPECT_EQ(*decode_file_header(encode(file)), file);
  const BatchHeader batch{16384, UINT64_MAX, kBytesMax, 0x1234567890ABCDEF};
  EXPECT_EQ(*decode_batch_header(encode(batch)), batch);
  const BatchTrailer trailer{3, kBytesMax, 0xFEDCBA0987654321};
  EXPECT_EQ(*decode_batch_trailer(encode(trailer)), trailer);
}

TEST(SpillFormat, EveryFlippedBitIsFound) {
  const Record good = encode(BatchHeader{2, 5, 100, 42});
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    Record bad = good;
    bad[bit / 8] = static_cast<std::uint8_t>(bad[bit / 8] ^ (1u << (bit % 8)));
    ASSERT_FALSE(decode_batch_header(bad)) << bit;
  }
  EXPECT_FALSE(decode_file_header(good));
  EXPECT_FALSE(decode_batch_header(encode(BatchHeader{0, 0, 0, 0})));
  EXPECT_FALSE(decode_batch_header(encode(BatchHeader{16385, 0, 0, 0})));
  EXPECT_FALSE(decode_batch_header(encode(BatchHeader{1, 0, -1, 0})));
}

TEST(SpillCodec, ChunksComeBackAndNoiseIsLeftAlone) {
  for (const Bytes memory_bytes : {256 * kKiB, 512 * kKiB, kMiB}) {
    auto memory = *allocate_buffer(memory_bytes);
    const Bytes chunk_bytes = codec_chunk_bytes(memory_bytes);
    for (const auto kind : {SpillCompression::kLz4, SpillCompression::kZstd}) {
      for (const Bytes size : {Bytes{1}, Bytes{50}, chunk_bytes - 1, chunk_bytes}) {
        const Buffer noise = pattern(size, 1);
        const Buffer text = runs(size, 2);
        Compressor compressor(kind, chunk_bytes, memory.bytes());
        EXPECT_TRUE(compressor.compress(noise.bytes()).empty()) << size;
        const auto packed = compressor.compress(text.bytes());
        const std::vector<std::uint8_t> stored(packed.begin(), packed.end());
        if (size >= chunk_bytes - 1) {
          EXPECT_LT(static_cast<Bytes>(stored.size()), size / 4);
        }
        if (stored.empty()) continue;
        Decompressor decompressor(kind, chunk_bytes, memory.bytes());
        std::copy(stored.begin(), stored.end(), decompressor.input().begin());
        std::vector<std::uint8_t> out(static_cast<std::size_t>(size));
        ASSERT_TRUE(decompressor.decompress(static_cast<Bytes>(stored.size()), out));
        EXPECT_EQ(0, std::memcmp(out.data(), text.data(), out.size()));
        // Neither fewer bytes than it holds, nor more.
        out.resize(out.size() - 1);
        EXPECT_FALSE(decompressor.decompress(static_cast<Bytes>(stored.size()), out));
        out.resize(out.size() + 2);
        EXPECT_FALSE(decompressor.decompress(static_cast<Bytes>(stored.size()), out));
      }
    }
  }
}

// Collects what requests answered.
struct Answers {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Bytes> moved;

  std::vector<Bytes> wait_for(std::size_t count) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return moved.size() >= count; });
    return moved;
  }
};

class TestRequest final : public IoRequest {
 public:
  TestRequest(Answers& answers, Kind what, int file, std::uint8_t* bytes, Bytes how_many, Bytes at)
      : IoRequest(what, file, bytes, how_many, at), answers_(answers) {}
  void complete(Bytes moved) noexcept override {
    const std::lock_guard lock(answers_.mutex);
    answers_.moved.push_back(moved);
    answers_.changed.notify_all();
  }

 private:
  Answers& answers_;
};

class SpillEngine : public ::testing::TestWithParam<bool> {};

TEST_P(SpillEngine, WritesReadsAndTellsErrors) {
  const TestDirectory directory;
  const UniqueFd fd(::open(directory.path().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_TRUE(fd);
  Answers answers;
  IoEngine engine(GetParam());
  std::vector<std::uint8_t> out(5000, 7);
  std::vector<std::uint8_t> in(6000, 0);
  const auto run = [&](IoRequest::Kind kind, int file, std::vector<std::uint8_t>& data) {
    const std::size_t before = answers.moved.size();
    engine.submit(std::make_unique<TestRequest>(answers, kind, file, data.data(),
                                                static_cast<Bytes>(data.size()), 0));
    return answers.wait_for(before + 1).back();
  };
  EXPECT_EQ(run(IoRequest::Kind::kWrite, fd.get(), out), 5000);
  EXPECT_EQ(run(IoRequest::Kind::kRead, fd.get(), in), 5000);  // short at the end of the file
  EXPECT_EQ(in[4999], 7);
  EXPECT_EQ(in[5000], 0);
  EXPECT_EQ(run(IoRequest::Kind::kWrite, -1, out), -EBADF);
  const UniqueFd full(::open("/dev/full", O_RDWR | O_CLOEXEC));
  EXPECT_EQ(run(IoRequest::Kind::kWrite, full.get(), out), -ENOSPC);
}

// O_DIRECT that turns out to be impossible only at the first request: an unaligned one.
TEST_P(SpillEngine, GoesThroughThePageCacheWhereDirectIsRefused) {
  const TestDirectory directory;
  const UniqueFd fd(
      ::open(directory.path().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC | O_DIRECT, 0600));
  if (!fd) GTEST_SKIP() << "no O_DIRECT in " << directory.path();
  Answers answers;
  IoEngine engine(GetParam());
  std::vector<std::uint8_t> out(5001, 9);
  engine.submit(std::make_unique<TestRequest>(answers, IoRequest::Kind::kWrite, fd.get(),
                                              out.data() + 1, 5000, 0));
  EXPECT_EQ(answers.wait_for(1).at(0), 5000);
}

TEST_P(SpillEngine, ManyRequestsAtOnceAllEnd) {
  const TestDirectory directory;
  const UniqueFd fd(::open(directory.path().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_TRUE(fd);
  Answers answers;
  std::vector<std::uint8_t> out(1000, 7);
  {
    IoEngine engine(GetParam());
    std::vector<std::thread> threads;
    for (Bytes t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (Bytes i = 0; i < 250; ++i) {
          engine.submit(std::make_unique<TestRequest>(answers, IoRequest::Kind::kWrite, fd.get(),
                                                      out.data(), 1000, (t * 250 + i) * 1000));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }  // the engine's end waits for all
  EXPECT_EQ(answers.moved, std::vector<Bytes>(1000, 1000));
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_END), 1'000'000);
}

INSTANTIATE_TEST_SUITE_P(All, SpillEngine, ::testing::Values(true, false));

std::shared_ptr<SpillFile> any_file(std::uint64_t number) {
  NewFile made;
  made.fd = UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC));
  made.directory = "/somewhere";
  return std::make_shared<SpillFile>(std::move(made), number, nullptr);
}

// Where no space can be allocated beforehand, a disk may turn out full after push returned.
TEST(SpillQueue, AWriteThatFailsLateEndsTheStreamThere) {
  FileQueue queue;
  const auto file = any_file(3);
  queue.add_file(file);
  for (int i = 0; i < 3; ++i) queue.write_begins(*file);
  ASSERT_TRUE(queue.commit(*file, 4096, 4096));
  ASSERT_TRUE(queue.commit(*file, 8192, 8192));
  queue.write_done(file, 8192, 4096, 4096);  // out of order
  EXPECT_EQ(file->written_end, 0);
  queue.write_done(file, 0, 4096, 4096);
  EXPECT_EQ(file->written_end, 4096);
  queue.write_done(file, 4096, 4096, -ENOSPC);

  // The reader still gets what is whole, and then the error.
  EXPECT_EQ(queue.next_turn(true)->file, file);
  EXPECT_EQ(queue.wait_readable(*file, 0)->end, 4096);
  const auto beyond = queue.wait_readable(*file, 4096);
  ASSERT_FALSE(beyond);
  EXPECT_EQ(beyond.error().code(), ErrorCode::kDiskFull);
  EXPECT_EQ(beyond.error().message(),
            "write 4096 bytes to spill file 3 in /somewhere, offset 4096: No space left on device");
  // And so do the writers.
  EXPECT_EQ(queue.refusal()->code(), ErrorCode::kDiskFull);
  EXPECT_EQ(queue.commit(*file, 1, 1).error().code(), ErrorCode::kDiskFull);
  queue.end_writers();
  EXPECT_EQ(queue.wait_if_ended().error().code(), ErrorCode::kDiskFull);
}

TEST(SpillQueue, AShortWriteIsAnErrorToo) {
  FileQueue queue;
  const auto file = any_file(0);
  queue.add_file(file);
  queue.write_begins(*file);
  queue.write_done(file, 0, 4096, 100);
  EXPECT_EQ(queue.refusal()->code(), ErrorCode::kIo);
}

}  // namespace
}  // namespace membroker::spill::test
