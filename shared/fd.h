#pragma once

#include <unistd.h>

#include <string_view>
#include <utility>

#include "membroker/error.h"

/// \file
/// An owned file descriptor, and errors from errno.

namespace membroker {

/// Owns a descriptor; closes it when destroyed. Move-only.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  void reset() noexcept {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
};

/// An error from errno after a failed call: "open /x/y: Permission denied". ENOSPC and EDQUOT give
/// kDiskFull, EACCES and EPERM kPermissionDenied, ENOENT kNotFound, all else kIo.
Error errno_error(std::string_view what, int error_number);

}  // namespace membroker
