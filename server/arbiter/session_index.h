#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "server/arbiter/account.h"

/// \file
/// Owns the leases and finds them by session: open addressing, since a tree's depth would be the
/// largest part of a decision. Iteration is by session id, so that nothing depends on the hashing.

namespace membroker::arbiter {

class SessionIndex {
 public:
  SessionIndex() : slots_(kInitialSlots) {}

  std::size_t size() const { return size_; }
  Lease* find(SessionId session) const;
  /// The session must not be in the index.
  Lease& insert(std::unique_ptr<Lease> lease);
  void erase(SessionId session);
  std::vector<Lease*> by_session() const;

 private:
  static constexpr std::size_t kInitialSlots = 64;  // a power of two, like every later size

  std::size_t home(SessionId session) const;
  std::size_t slot_of(SessionId session) const;
  void place(std::unique_ptr<Lease> lease);

  std::vector<std::unique_ptr<Lease>> slots_;
  std::size_t size_ = 0;
};

}  // namespace membroker::arbiter
