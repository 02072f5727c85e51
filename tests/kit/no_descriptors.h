#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

namespace membroker::testing {

/// While it lives, this process can open `left` files more, and no others.
class NoDescriptors {
 public:
  explicit NoDescriptors(int left = 0) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit few = before_;
    few.rlim_cur = 0;
    // Numbers are given from the lowest: the limit is above as many free ones.
    for (int fd = 0; left > 0; ++fd) {
      if (::fcntl(fd, F_GETFD) < 0) --left;
      few.rlim_cur = static_cast<rlim_t>(fd) + 1;
    }
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  }
  ~NoDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  NoDescriptors(const NoDescriptors&) = delete;
  NoDescriptors& operator=(const NoDescriptors&) = delete;

 private:
  rlimit before_{};
};

}  // namespace membroker::testing
