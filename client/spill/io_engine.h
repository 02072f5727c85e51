#pragma once

#include <memory>

#include "shared/bytes.h"

/// \file
/// Reads and writes of files, in the background and many at a time.

namespace membroker::spill {

/// One read or write. Owned by the engine from submit() until complete() has returned.
class IoRequest {
 public:
  enum class Kind { kRead, kWrite };

  IoRequest(Kind kind_of, int file, std::uint8_t* bytes, Bytes how_many, Bytes at)
      : kind(kind_of), fd(file), data(bytes), length(how_many), offset(at) {}
  virtual ~IoRequest() = default;
  IoRequest(const IoRequest&) = delete;
  IoRequest& operator=(const IoRequest&) = delete;

  /// Called once, on the engine's thread with no lock held (on the caller's, inside submit(), where
  /// no thread could be made). `moved` is how many bytes, fewer than asked for only at the end of
  /// the file; or -errno.
  virtual void complete(Bytes moved) noexcept = 0;

  const Kind kind;
  const int fd;
  std::uint8_t* const data;
  const Bytes length;
  const Bytes offset;
};

/// Thread-safe. Its one thread and its ring exist from the first submit() on: so a process that
/// never spills has neither, and may fork. The thread, not the submitter, owns the ring: a thread
/// of the host that ends must not take its requests along, nor be interrupted by their completion.
class IoEngine {
 public:
  explicit IoEngine(bool io_uring);
  ~IoEngine();  // waits for what was submitted, unless it runs on the engine's own thread
  IoEngine(const IoEngine&) = delete;
  IoEngine& operator=(const IoEngine&) = delete;

  void submit(std::unique_ptr<IoRequest> request);
  /// Starts the engine if need be, to know.
  bool uses_io_uring();

 private:
  struct State;
  void start();

  std::shared_ptr<State> state_;  // shared with the thread, which may be the one that destroys this
};

}  // namespace membroker::spill
