#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <csignal>

#include "tests/kit/in_child.h"
#include "tests/unit/spill/spill_kit.h"

/// \file
/// What goes wrong on disks and between the ends: one clear error, nothing lost before it, nothing
/// leaked after it.

namespace membroker::spill::test {
namespace {

bool mentions(const Error& error, const std::string& text) {
  return error.message().find(text) != std::string::npos;
}

// The process runs as nobody while one exists; needs root.
class AsNobody {
 public:
  AsNobody() : in_force_(::geteuid() == 0 && ::seteuid(65534) == 0) {}
  ~AsNobody() {
    if (in_force_ && ::seteuid(0) != 0) std::abort();
  }
  AsNobody(const AsNobody&) = delete;
  AsNobody& operator=(const AsNobody&) = delete;

 private:
  bool in_force_;
};

// A tmpfs of that many bytes on a directory; needs CAP_SYS_ADMIN.
class SmallDisk {
 public:
  explicit SmallDisk(Bytes bytes) {
    const std::string size = "size=" + std::to_string(bytes);
    mounted_ = ::mount("tmpfs", directory_.path().c_str(), "tmpfs", 0, size.c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_ && ::umount2(directory_.path().c_str(), MNT_DETACH) != 0) std::abort();
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  bool mounted() const { return mounted_; }
  const std::string& path() const { return directory_.path(); }

 private:
  TestDirectory directory_;
  bool mounted_ = false;
};

// Files of this process grow no further than this while one exists: a full disk for anyone.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(Bytes bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = static_cast<rlim_t>(bytes);
    handler_ = ::signal(SIGXFSZ, SIG_IGN);
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  sighandler_t handler_ = SIG_DFL;
};

// Pushes 64 KiB batches numbered by their first bytes until one fails; the error, and how many
// went.
struct Filled {
  std::optional<Error> error;
  std::uint64_t pushed = 0;
};
Filled fill(SpillWriter& writer, int batches_max = 1000) {
  Filled filled;
  while (filled.pushed < static_cast<std::uint64_t>(batches_max)) {
    auto status = push(writer, pattern(64 * kKiB, filled.pushed));
    if (!status) {
      filled.error = status.error();
      return filled;
    }
    ++filled.pushed;
  }
  return filled;
}

// Everything pushed comes back, then the same error, again and again.
void expect_all_then_error(SpillReader& reader, const Filled& filled) {
  for (std::uint64_t i = 0; i < filled.pushed; ++i) {
    auto batch = reader.next();
    ASSERT_TRUE(batch) << batch.error().to_string();
    ASSERT_TRUE(*batch);
    EXPECT_EQ((*batch)->buffers[0], pattern(64 * kKiB, i));
  }
  for (int again = 0; again < 2; ++again) {
    auto batch = reader.next();
    ASSERT_FALSE(batch);
    EXPECT_EQ(batch.error().to_string(), filled.error->to_string());
  }
  EXPECT_FALSE(reader.try_next());
}

TEST(SpillFailure, DirectoriesThatCannotBeUsed) {
  const TestDirectory directory;
  EXPECT_EQ(SpillDirectories::open({}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(SpillDirectories::open({""}).error().code(), ErrorCode::kInvalid);
  const std::string missing = directory.path() + "/a/b";
  auto opened = SpillDirectories::open({directory.path(), missing});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), ErrorCode::kNotFound);
  EXPECT_TRUE(mentions(opened.error(), missing)) << opened.error().message();
  const std::string file = directory.path() + "/file";
  ASSERT_GE(::open(file.c_str(), O_CREAT | O_WRONLY, 0600), 0);
  opened = SpillDirectories::open({file});
  ASSERT_FALSE(opened);
  EXPECT_TRUE(mentions(opened.error(), file)) << opened.error().message();
}

TEST(SpillFailure, ADirectoryIsMadePrivateAndSwept) {
  const TestDirectory directory;
  const std::string made = directory.path() + "/spill";
  ASSERT_TRUE(SpillDirectories::open({made}));
  struct stat status {};
  ASSERT_EQ(::stat(made.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0700u);
  const std::string left = made + "/.membroker-spill-1-1";
  const std::string others = made + "/data";
  for (const std::string& path : {left, others}) {
    UniqueFd(::open(path.c_str(), O_CREAT | O_WRONLY, 0600));
  }
  ASSERT_TRUE(SpillDirectories::open({made}));
  EXPECT_FALSE(std::filesystem::exists(left));
  EXPECT_TRUE(std::filesystem::exists(others));
}

TEST(SpillFailure, UnwritableDirectory) {
  const TestDirectory directory;
  ASSERT_EQ(::chmod(directory.path().c_str(), 0500), 0);
  {
    const AsNobody nobody;
    auto opened = SpillDirectories::open({directory.path()});
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code(), ErrorCode::kPermissionDenied);
    EXPECT_TRUE(mentions(opened.error(), directory.path())) << opened.error().message();
  }
  // And one that becomes so later.
  ASSERT_EQ(::chmod(directory.path().c_str(), 0777), 0);
  auto [writer, reader] = *spill_channel(directory.options());
  ASSERT_EQ(::chmod(directory.path().c_str(), 0500), 0);
  const AsNobody nobody;
  const Filled filled = fill(writer);
  ASSERT_TRUE(filled.error);
  EXPECT_EQ(filled.pushed, 0u);
  EXPECT_EQ(filled.error->code(), ErrorCode::kPermissionDenied);
  EXPECT_TRUE(mentions(*filled.error, directory.path())) << filled.error->message();
  expect_all_then_error(reader, filled);
}

TEST(SpillFailure, FullDisk) {
  const SmallDisk disk(2 * kMiB);
  if (!disk.mounted()) GTEST_SKIP() << "mounting a tmpfs needs CAP_SYS_ADMIN";
  SpillOptions options;
  options.directories = *SpillDirectories::open({disk.path()});
  auto [writer, reader] = *spill_channel(options);
  const Filled filled = fill(writer);
  ASSERT_TRUE(filled.error);
  EXPECT_GT(filled.pushed, 20u);
  EXPECT_EQ(filled.error->code(), ErrorCode::kDiskFull);
  EXPECT_TRUE(mentions(*filled.error, disk.path())) << filled.error->message();
  EXPECT_EQ(push(writer, number(1)).error().to_string(), filled.error->to_string());
  EXPECT_EQ(writer.finish().error().to_string(), filled.error->to_string());
  expect_all_then_error(reader, filled);
  reader = SpillReader();
  EXPECT_TRUE(files_open_in(disk.path()).empty());
}

TEST(SpillFailure, AFullDiskIsLeftForAnotherDirectory) {
  const SmallDisk large(3 * kMiB);
  const SmallDisk small(2 * kMiB);
  if (!large.mounted() || !small.mounted()) {
    GTEST_SKIP() << "mounting a tmpfs needs CAP_SYS_ADMIN";
  }
  SpillOptions options;
  options.directories = *SpillDirectories::open({small.path(), large.path()});
  auto [writer, reader] = *spill_channel(options);
  ASSERT_TRUE(push(writer, pattern(64 * kKiB, 0)));
  EXPECT_EQ(files_open_in(large.path()).size(), 1u);  // the emptier one first
  Filled filled = fill(writer);
  EXPECT_EQ(files_open_in(small.path()).size(), 1u);
  EXPECT_GT(filled.pushed, 4 * kMiB / (68 * kKiB));
  ASSERT_TRUE(filled.error);
  EXPECT_TRUE(mentions(*filled.error, small.path())) << filled.error->message();
  EXPECT_TRUE(mentions(*filled.error, large.path())) << filled.error->message();
  ASSERT_TRUE(*reader.next());
  expect_all_then_error(reader, filled);
}

TEST(SpillFailure, FileSizeLimit) {
  const TestDirectory directory;
  auto [writer, reader] = *spill_channel(directory.options());
  const FileSizeLimit limit(kMiB);
  // Every file ends at the limit and a new one begins; a batch beyond it fits into none.
  for (std::uint64_t i = 0; i < 4; ++i) ASSERT_TRUE(push(writer, pattern(400 * kKiB, i)));
  EXPECT_EQ(writer.stats().files_created, 2);
  const auto pushed = push(writer, pattern(2 * kMiB, 4));
  ASSERT_FALSE(pushed);
  EXPECT_EQ(pushed.error().code(), ErrorCode::kDiskFull);
  for (std::uint64_t i = 0; i < 4; ++i) {
    auto batch = reader.next();
    ASSERT_TRUE(batch && *batch);
    EXPECT_EQ((*batch)->buffers[0], pattern(400 * kKiB, i));
  }
  EXPECT_EQ(reader.next().error().code(), ErrorCode::kDiskFull);
}

// Space that was there when the batch was taken, and is refused when it is written.
TEST(SpillFailure, AWriteThatFailsAfterThePush) {
  const TestDirectory directory;
  auto [writer, reader] = *spill_channel(directory.options());
  ASSERT_TRUE(push(writer, pattern(64 * kKiB, 0)));
  ASSERT_TRUE(*reader.next());  // it is on disk
  const FileSizeLimit limit(512 * kKiB);
  const auto pushed = push(writer, pattern(kMiB, 1));  // allocated before; the error may come later
  const auto finished = writer.finish();
  ASSERT_FALSE(finished);
  EXPECT_EQ(finished.error().code(), ErrorCode::kIo);
  EXPECT_TRUE(mentions(finished.error(), directory.path())) << finished.error().message();
  if (!pushed) {
    EXPECT_EQ(pushed.error().to_string(), finished.error().to_string());
  }
  EXPECT_EQ(reader.next().error().to_string(), finished.error().to_string());
  EXPECT_EQ(reader.next().error().to_string(), finished.error().to_string());
}

TEST(SpillFailure, Quota) {
  const TestDirectory directory;
  SpillOptions options = directory.options();
  options.quota = SpillQuota::create(kMiB);
  auto [writer, reader] = *spill_channel(options);
  const Filled filled = fill(writer);
  ASSERT_TRUE(filled.error);
  EXPECT_EQ(filled.pushed, kMiB / (68 * kKiB));
  EXPECT_EQ(filled.error->code(), ErrorCode::kDiskFull);
  EXPECT_TRUE(mentions(*filled.error, "quota of 1.0 MiB")) << filled.error->message();
  EXPECT_EQ(options.quota->used(), static_cast<Bytes>(filled.pushed) * 68 * kKiB);
  EXPECT_EQ(writer.finish().error().code(), ErrorCode::kDiskFull);
  expect_all_then_error(reader, filled);
  EXPECT_EQ(options.quota->used(), 0);
}

TEST(SpillFailure, QuotaIsSharedAndCanBeMoved) {
  const TestDirectory directory;
  SpillOptions options = directory.options();
  options.quota = SpillQuota::create(100 * kMiB);
  options.compression = SpillCompression::kLz4;  // charged by the bound, kept by what was written
  auto one = *spill_channel(options);
  auto other = *spill_channel(options);
  ASSERT_TRUE(push(one.writer, runs(64 * kKiB, 1)));
  ASSERT_TRUE(push(other.writer, runs(64 * kKiB, 2)));
  const Bytes used = options.quota->used();
  EXPECT_EQ(used, one.writer.stats().bytes_written + other.writer.stats().bytes_written);
  EXPECT_LT(used, 32 * kKiB);
  options.quota->set_limit(1);
  EXPECT_EQ(push(one.writer, number(1)).error().code(), ErrorCode::kDiskFull);
  EXPECT_EQ(options.quota->used(), used);
  options.quota->set_limit(kMiB);
  ASSERT_TRUE(push(other.writer, number(1)));
  EXPECT_FALSE(one.writer.finish());
  ASSERT_TRUE(other.writer.finish());
  one = {};
  other = {};
  EXPECT_EQ(options.quota->used(), 0);
}

// Where each part of the first batch of one 1000-byte buffer is.
struct Damage {
  const char* what;
  Bytes offset;
};

class SpillDamage : public ::testing::TestWithParam<Damage> {};

TEST_P(SpillDamage, IsFoundAndSaysWhere) {
  const TestDirectory directory;
  for (const auto kind :
       {SpillCompression::kNone, SpillCompression::kLz4, SpillCompression::kZstd}) {
    SpillOptions options = directory.options();
    options.compression = kind;
    auto [writer, reader] = *spill_channel(options);
    ASSERT_TRUE(push(writer, pattern(1000, 1)));  // does not compress: the same offsets for all
    ASSERT_TRUE(push(writer, number(2)));
    ASSERT_TRUE(writer.finish());
    const auto files = files_open_in(directory.path());
    ASSERT_EQ(files.size(), 1u);
    const std::string path = "/proc/self/fd/" + std::to_string(files[0]);
    const UniqueFd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    std::uint8_t byte = 0;
    ASSERT_EQ(::pread(file.get(), &byte, 1, GetParam().offset), 1);
    byte = static_cast<std::uint8_t>(byte ^ 0x40);
    ASSERT_EQ(::pwrite(file.get(), &byte, 1, GetParam().offset), 1);
    auto batch = reader.next();
    if (GetParam().offset >= 4096) {
      ASSERT_TRUE(batch) << batch.error().to_string();
      batch = reader.next();
    }
    ASSERT_FALSE(batch) << GetParam().what;
    EXPECT_EQ(batch.error().code(), ErrorCode::kCorrupt);
    EXPECT_TRUE(mentions(batch.error(), "spill file 0 in " + directory.path() + ", offset "))
        << batch.error().message();
    EXPECT_EQ(reader.next().error().to_string(), batch.error().to_string());
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, SpillDamage,
    ::testing::Values(Damage{"file magic", 0}, Damage{"file header", 60}, Damage{"batch magic", 64},
                      Damage{"batch number", 73}, Damage{"table", 130}, Damage{"payload", 200},
                      Damage{"end of payload", 192 + 999}, Damage{"padding of payload", 192 + 1010},
                      Damage{"trailer magic", 192 + 1024}, Damage{"trailer hash", 192 + 1024 + 25},
                      Damage{"second batch", 4096 + 17}));

TEST(SpillFailure, WithoutChecksumsPayloadsAreTakenAsTheyAre) {
  const TestDirectory directory;
  SpillOptions options = directory.options();
  options.checksum = SpillChecksum::kNone;
  auto [writer, reader] = *spill_channel(options);
  ASSERT_TRUE(push(writer, number(1)));
  ASSERT_TRUE(writer.finish());
  const std::string path = "/proc/self/fd/" + std::to_string(files_open_in(directory.path())[0]);
  const UniqueFd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  const std::uint8_t byte = 3;
  ASSERT_EQ(::pwrite(file.get(), &byte, 1, 192), 1);
  EXPECT_EQ(number_of(**reader.next()), 3u);
}

TEST(SpillFailure, ATruncatedFileIsCorruptAtItsEnd) {
  const TestDirectory directory;
  for (const Bytes length :
       {Bytes{0}, Bytes{100}, Bytes{4096}, 100 * kKiB, 4 * 504 * kKiB - 4096}) {
    auto [writer, reader] = *spill_channel(directory.options());
    for (std::uint64_t i = 0; i < 4; ++i) ASSERT_TRUE(push(writer, pattern(500 * kKiB, i)));
    ASSERT_TRUE(writer.finish());
    ASSERT_EQ(::ftruncate(files_open_in(directory.path()).at(0), length), 0);
    auto batch = reader.next();
    while (batch && *batch) batch = reader.next();
    ASSERT_FALSE(batch) << length;
    EXPECT_EQ(batch.error().code(), ErrorCode::kCorrupt) << batch.error().message();
    EXPECT_TRUE(mentions(batch.error(), directory.path())) << batch.error().message();
  }
}

TEST(SpillFailure, ReaderGoneIsAnErrorAndFreesTheFiles) {
  const TestDirectory directory;
  SpillOptions options = directory.options();
  options.max_file_size = 1;
  options.quota = SpillQuota::create(kGiB);
  auto [writer, reader] = *spill_channel(options);
  for (std::uint64_t i = 0; i < 3; ++i) ASSERT_TRUE(push(writer, number(i)));
  ASSERT_TRUE(*reader.next());
  reader = SpillReader();
  EXPECT_EQ(push(writer, number(9)).error().code(), ErrorCode::kClosed);
  EXPECT_EQ(writer.stats().files_open, 0);
  ASSERT_TRUE(writer.finish());  // waits for the writes, which hold files too
  EXPECT_TRUE(files_open_in(directory.path()).empty());
  EXPECT_EQ(options.quota->used(), 0);
  EXPECT_EQ(reader.next().error().code(), ErrorCode::kClosed);
}

TEST(SpillFailure, ARefusedReadLosesNothing) {
  const TestDirectory directory;
  SpillOptions options = directory.options();
  const auto allocator = std::make_shared<LimitedAllocator>(0);
  options.allocator = allocator;
  options.read_ahead = kSpillReadAheadBytesMin;
  auto [writer, reader] = *spill_channel(options);
  ASSERT_TRUE(writer.push_batch(Batch{{pattern(100 * kKiB, 1), pattern(100 * kKiB, 2)}}));
  ASSERT_TRUE(push(writer, number(3)));
  ASSERT_TRUE(writer.finish());
  // No read-ahead; then not the first buffer; then not the second.
  for (const Bytes limit : {Bytes{0}, 100 * kKiB, 200 * kKiB}) {
    allocator->set_limit(limit);
    auto batch = reader.next();
    ASSERT_FALSE(batch);
    EXPECT_EQ(batch.error().code(), ErrorCode::kResourcesExhausted);
    EXPECT_LE(allocator->bytes_allocated(), 64 * kKiB);
  }
  allocator->set_limit(300 * kKiB);
  auto batch = reader.next();
  ASSERT_TRUE(batch) << batch.error().to_string();
  EXPECT_EQ((*batch)->buffers[1], pattern(100 * kKiB, 2));
  EXPECT_EQ(number_of(**reader.next()), 3u);
  batch = std::nullopt;
  EXPECT_FALSE(*reader.next());
  EXPECT_EQ(allocator->bytes_allocated(), 0);
}

TEST(SpillFailure, BadOptionsNameTheOption) {
  const TestDirectory directory;
  EXPECT_TRUE(mentions(spill_channel({}).error(), "directories"));
  SpillOptions options = directory.options();
  options.max_file_size = 0;
  EXPECT_TRUE(mentions(spill_channel(options).error(), "max_file_size"));
  options = directory.options();
  options.read_ahead = -1;
  EXPECT_TRUE(mentions(spill_channel(options).error(), "read_ahead"));
  EXPECT_EQ(SpillWorkspace::create({.bytes = 1000}).error().code(), ErrorCode::kInvalid);
  const auto refusing = std::make_shared<LimitedAllocator>(0);
  EXPECT_EQ(SpillWorkspace::create({.allocator = refusing}).error().code(),
            ErrorCode::kResourcesExhausted);
}

TEST(SpillFailure, ABatchOfTooManyBuffersHarmsNothing) {
  const TestDirectory directory;
  auto [writer, reader] = *spill_channel(directory.options());
  std::vector<Buffer> many(kSpillBuffersPerBatchMax + 1);
  EXPECT_EQ(writer.push_batch(many).error().code(), ErrorCode::kInvalid);
  many.pop_back();
  ASSERT_TRUE(writer.push_batch(many));
  auto batch = reader.next();
  ASSERT_TRUE(batch && *batch);
  EXPECT_EQ((*batch)->buffers.size(), many.size());
}

TEST(SpillFailure, AForkIsCutOff) {
  const TestDirectory directory;
  auto [writer, reader] = *spill_channel(directory.options());
  ASSERT_TRUE(push(writer, number(1)));
  const int child = testing::in_child([&, &writer = writer, &reader = reader] {
    const bool push_refused = push(writer, number(2)).error().code() == ErrorCode::kForked;
    const bool read_refused = reader.next().error().code() == ErrorCode::kForked;
    writer = SpillWriter();
    reader = SpillReader();
    return push_refused && read_refused ? 0 : 1;
  });
  EXPECT_EQ(child, 0);
  ASSERT_TRUE(writer.finish());
  EXPECT_EQ(read_numbers(reader), std::vector<std::uint64_t>{1});
}

}  // namespace
}  // namespace membroker::spill::test
