#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <unordered_set>

#include "membroker/error.h"
#include "shared/check.h"
#include "shared/fd.h"
#include "shared/format.h"
#include "shared/ids.h"
#include "shared/time.h"

namespace membroker {
namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

TEST(Error, CarriesCodeMessageAndDenial) {
  const Error plain(ErrorCode::kTimeout, "took too long");
  EXPECT_EQ(plain.to_string(), "timeout: took too long");
  EXPECT_EQ(plain.denial(), nullptr);

  Denial denial;
  denial.requested_bytes = 10;
  denial.holders.push_back({"sort", 7, true});
  Error refused(ErrorCode::kResourcesExhausted, "no", denial);
  const Error copy = refused;  // shares the denial, which lives as long as either
  refused = plain;
  ASSERT_NE(copy.denial(), nullptr);
  EXPECT_EQ(copy.denial()->requested_bytes, 10);
  EXPECT_EQ(copy.denial()->holders.at(0).name, "sort");
}

TEST(Error, EveryCodeHasItsOwnName) {
  std::set<std::string_view> names;
  int codes = 0;
  for (int code = 0; code <= static_cast<int>(ErrorCode::kUnsupported); ++code) {
    names.insert(error_code_name(static_cast<ErrorCode>(code)));
    ++codes;
  }
  EXPECT_EQ(static_cast<int>(names.size()), codes);
  EXPECT_FALSE(names.contains("unknown"));
}

TEST(Error, FailMakesAnyResult) {
  const auto number = []() -> Result<int> { return fail(ErrorCode::kNotFound, "no number"); };
  const auto nothing = [&]() -> Status { return fail(number().error()); };
  EXPECT_EQ(nothing().error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(nothing().error().message(), "no number");
}

TEST(ErrnoError, MapsWhatCallersBranchOn) {
  EXPECT_EQ(errno_error("write x", ENOSPC).code(), ErrorCode::kDiskFull);
  EXPECT_EQ(errno_error("write x", EDQUOT).code(), ErrorCode::kDiskFull);
  EXPECT_EQ(errno_error("open x", EACCES).code(), ErrorCode::kPermissionDenied);
  EXPECT_EQ(errno_error("open x", EPERM).code(), ErrorCode::kPermissionDenied);
  EXPECT_EQ(errno_error("open x", ENOENT).code(), ErrorCode::kNotFound);
  EXPECT_EQ(errno_error("read x", EIO).code(), ErrorCode::kIo);
  EXPECT_EQ(errno_error("open /x", ENOENT).message(), "open /x: No such file or directory");
}

TEST(UniqueFd, ClosesOnce) {
  int number = -1;
  {
    UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    ASSERT_TRUE(fd);
    number = fd.get();
    UniqueFd moved(std::move(fd));
    EXPECT_FALSE(fd);  // NOLINT(bugprone-use-after-move): moved-from is empty by contract
    EXPECT_EQ(moved.get(), number);
    EXPECT_TRUE(is_open(number));
  }
  EXPECT_FALSE(is_open(number));
}

TEST(UniqueFd, AssignmentClosesTheOld) {
  UniqueFd first(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  UniqueFd second(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int old = first.get();
  const int kept = second.get();
  first = std::move(second);
  EXPECT_FALSE(is_open(old));
  EXPECT_EQ(first.get(), kept);
  UniqueFd& self = first;
  first = std::move(self);
  EXPECT_TRUE(is_open(kept));
  first.reset();
  EXPECT_FALSE(is_open(kept));
  EXPECT_FALSE(first);
}

TEST(UniqueFd, ReleaseGivesUpOwnership) {
  UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int number = fd.release();
  EXPECT_FALSE(fd);
  EXPECT_TRUE(is_open(number));
  ::close(number);
}

TEST(Strf, FormatsAnyLength) {
  EXPECT_EQ(strf("%s", ""), "");
  EXPECT_EQ(strf("%d-%s", 7, "x"), "7-x");
  const std::string large(100'000, 'y');
  EXPECT_EQ(strf("%s!", large.c_str()), large + "!");
}

TEST(Ids, AreOrderedHashedAndNoneIsZero) {
  EXPECT_FALSE(SessionId());
  EXPECT_TRUE(SessionId{1});
  EXPECT_LT(SessionId{1}, SessionId{2});
  std::unordered_set<SessionId> seen{SessionId{1}, SessionId{1}, SessionId{2}};
  EXPECT_EQ(seen.size(), 2U);
  static_assert(!std::is_convertible_v<SessionId, RequestId>);
}

TEST(Time, NeverGoesBack) {
  Instant before = monotonic_now();
  for (int i = 0; i < 1000; ++i) {
    const Instant now = monotonic_now();
    ASSERT_GE(now, before);
    before = now;
  }
  EXPECT_GT(before.ms, 0);
}

TEST(Time, Arithmetic) {
  const Instant at{1000};
  EXPECT_EQ((at + 500).ms, 1500);
  EXPECT_EQ((at - 500).ms, 500);
  EXPECT_EQ((at + 500) - at, 500);
  EXPECT_GT(Instant::never(), at + 1'000'000'000'000);
  EXPECT_GT(Instant::never() + 1'000'000'000'000, Instant::never());  // no overflow near it
}

TEST(CheckDeathTest, ABrokenInvariantAbortsAndSaysWhere) {
  MB_CHECK(true);
  EXPECT_DEATH(MB_CHECK(1 + 1 == 3), "invariant broken at .*shared_test.cc:[0-9]+: 1 \\+ 1 == 3");
}

}  // namespace
}  // namespace membroker
