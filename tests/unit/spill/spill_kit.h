#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "membroker/spill.h"
#include "shared/bytes.h"
#include "shared/fd.h"
#include "tests/kit/comes_true.h"
#include "tests/kit/temporary_folder.h"

/// \file
/// What the tests of spilling share.

namespace membroker::spill::test {

/// Descriptors of this process that are unnamed files in `directory`.
inline std::vector<int> files_open_in(const std::string& directory) {
  std::vector<int> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    const std::string target = std::filesystem::read_symlink(entry.path(), error).string();
    const bool unnamed = target.ends_with(" (deleted)");
    if (!error && unnamed && target.starts_with(directory + "/")) {
      found.push_back(std::atoi(entry.path().filename().c_str()));
    }
  }
  return found;
}

/// A directory of its own, removed at the end, when no write is under way any more: a process that
/// ends before leaks it. Under TMPDIR, else /var/tmp: a real disk, where direct I/O is the rule.
class TestDirectory {
 public:
  TestDirectory() = default;
  TestDirectory(const TestDirectory&) = delete;
  TestDirectory& operator=(const TestDirectory&) = delete;
  ~TestDirectory() {
    EXPECT_TRUE(membroker::testing::comes_true([this] { return files_open_in(path()).empty(); }));
  }

  const std::string& path() const { return folder_.root(); }
  SpillOptions options() const {
    SpillOptions options;
    auto directories = SpillDirectories::open({path()});
    EXPECT_TRUE(directories) << directories.error().to_string();
    if (directories) options.directories = *directories;
    return options;
  }

 private:
  static std::string disk() {
    const char* chosen = std::getenv("TMPDIR");
    return chosen != nullptr ? chosen : "/var/tmp";
  }
  const membroker::testing::TemporaryFolder folder_{disk()};
};

/// Counts on its own what it takes from the system's heap, and refuses what would pass `limit`.
class LimitedAllocator final : public BufferAllocator {
 public:
  explicit LimitedAllocator(Bytes limit = kBytesMax) : limit_(limit) {}
  void set_limit(Bytes limit) { limit_ = limit; }
  std::string_view backend_name() const noexcept override { return "limited"; }

 private:
  Result<std::uint8_t*> do_allocate(std::int64_t size, std::int64_t alignment) override {
    if (size > limit_ - bytes_allocated()) {
      return fail(ErrorCode::kResourcesExhausted, "refused by the test");
    }
    return system_allocator()->allocate(size, alignment);
  }
  Result<std::uint8_t*> do_reallocate(std::uint8_t*, std::int64_t, std::int64_t,
                                      std::int64_t) override {
    return fail(ErrorCode::kUnsupported, "not used");
  }
  void do_free(std::uint8_t* block, std::int64_t size, std::int64_t alignment) noexcept override {
    system_allocator()->free(block, size, alignment);
  }

  std::atomic<Bytes> limit_;
};

/// Bytes of disk those files take.
inline Bytes disk_bytes_in(const std::string& directory) {
  Bytes sum = 0;
  for (const int fd : files_open_in(directory)) {
    struct stat status {};
    if (::fstat(fd, &status) == 0) sum += static_cast<Bytes>(status.st_blocks) * 512;
  }
  return sum;
}

inline std::size_t descriptors_open() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

/// Bytes that differ by `seed` and position.
inline Buffer pattern(Bytes size, std::uint64_t seed) {
  auto buffer = allocate_buffer(size);
  EXPECT_TRUE(buffer);
  std::uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
  for (Bytes at = 0; at < size; ++at) {
    if (at % 8 == 0) state = state * 6364136223846793005u + 1442695040888963407u;
    buffer->data()[at] = static_cast<std::uint8_t>(state >> (8 * (at % 8)));
  }
  return std::move(*buffer).freeze();
}

/// Bytes that compress well and differ by seed.
inline Buffer runs(Bytes size, std::uint64_t seed) {
  auto buffer = allocate_buffer(size);
  EXPECT_TRUE(buffer);
  for (Bytes at = 0; at < size; ++at) {
    buffer->data()[at] = static_cast<std::uint8_t>(seed + static_cast<std::uint64_t>(at / 97));
  }
  return std::move(*buffer).freeze();
}

inline Status push(SpillWriter& writer, const Buffer& buffer) {
  return writer.push_batch({&buffer, 1});
}

/// A batch of one buffer that holds this number.
inline Buffer number(std::uint64_t value) {
  return Buffer::from_vector(std::vector<std::uint64_t>{value});
}

inline std::uint64_t number_of(const Batch& batch) {
  std::uint64_t value = 0;
  EXPECT_EQ(batch.buffers.size(), 1u);
  if (batch.buffers.size() == 1) std::memcpy(&value, batch.buffers[0].data(), sizeof value);
  return value;
}

/// Numbers until the end or an error, which is put into `error`.
inline std::vector<std::uint64_t> read_numbers(SpillReader& reader,
                                               std::optional<Error>* error = nullptr) {
  std::vector<std::uint64_t> numbers;
  while (true) {
    auto batch = reader.next();
    if (!batch) {
      if (error != nullptr) *error = batch.error();
      EXPECT_NE(error, nullptr) << batch.error().to_string();
      return numbers;
    }
    if (!*batch) return numbers;
    numbers.push_back(number_of(**batch));
  }
}

inline SpillReady try_state(SpillReader& reader) {
  auto answer = reader.try_next();
  EXPECT_TRUE(answer) << answer.error().to_string();
  return answer ? answer->ready : SpillReady::kEnd;
}

}  // namespace membroker::spill::test
