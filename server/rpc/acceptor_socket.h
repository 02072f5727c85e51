#pragma once

#include <sys/types.h>

#include <string>

#include "membroker/error.h"
#include "shared/fd.h"

/// \file
/// A listening Unix socket that is never taken from a live daemon and never left behind.

namespace membroker::rpc {

/// Owns the listening descriptor and, if it was bound here, the path and the lock beside it.
/// The lock file `<path>.lock` stays for ever: removing it would let two daemons lock two files.
class ListeningSocket {
 public:
  /// Locks, replaces a socket nobody listens on, binds and listens. kUnavailable if another
  /// process holds the lock or answers on the path.
  static Result<ListeningSocket> bind(const std::string& path, unsigned mode);
  /// Takes a socket that is bound and listens already; kInvalid if it is another kind of thing.
  static Result<ListeningSocket> adopt(UniqueFd inherited);

  ListeningSocket(ListeningSocket&&) noexcept = default;
  ListeningSocket& operator=(ListeningSocket&&) noexcept = delete;
  ~ListeningSocket();  // removes the path, if it is still the socket bound here

  int get() const { return fd_.get(); }

 private:
  ListeningSocket() = default;

  UniqueFd lock_;
  UniqueFd fd_;
  std::string path_;  // empty if adopted
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace membroker::rpc
