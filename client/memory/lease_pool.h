#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "client/lease/lease_cache.h"
#include "client/lease/lease_source.h"
#include "membroker/memory_pool.h"
#include "shared/bytes.h"
#include "shared/time.h"

/// \file
/// A pool over a lease: what Client::pool() hands out.
///
///     auto pool = LeasePool::make("ram", {.floor = floor});
///     SessionLease lease{"ram", &pool->listener()};
///     pool->connect(source);       // before the first use; the source connects at its first
///                                  // acquire
///     ...
///     pool->reserve_workspace(30s);  // what a spill workspace is paid with
///     pool->close();               // nothing grows any more; what is idle was returned
///     pool->connect(nullptr);      // no call to the source begins after this
///
/// Who calls the listener keeps the pool alive by its shared_ptr (drop that when the session has
/// ended). The floor is lent from the start: a consumer that acquires it first and keeps it (a
/// spill workspace) is never asked for it. The pool keeps its source alive and may let go of it on
/// any thread, also the source's own: so its destructor must not join. Calls to the source are made
/// without the lease's mutex, but maybe under others of the pool's: a source may call the listener
/// back, but for figures(), and nothing else of the pool. The listener may be called with none of
/// the source's locks that such a call takes.

namespace membroker {

struct LeaseOptions {
  Bytes floor = 8 * kMiB;  // asked for; what the daemon lends of it comes with on_attached
  /// Of the spill workspace. It is in the floor; a lease that was lent none acquires it before it
  /// serves anyone, and keeps it. 0: none is wanted.
  Bytes workspace = 0;
  std::int32_t priority = 0;
  lease::WhenAway when_away = lease::WhenAway::kWait;
  Bytes standalone = 0;
  std::function<Instant()> now = {};  // empty: the steady clock; set by tests
};

struct LeaseStats {
  lease::LeaseFigures figures;
  Bytes debt = 0;
  Bytes peak_held = 0;
  Bytes peak_reserved = 0;  // unused credit included
  std::uint64_t requests_asked = 0;
  std::uint64_t requests_granted = 0;
  std::uint64_t requests_denied = 0;
  std::uint64_t revocations_asked = 0;
  std::uint64_t revocations_answered = 0;  // met, withdrawn, or answered with what there was
  std::uint64_t revocations_late = 0;      // answered after their deadline
};

/// Thread-safe. Starts one library thread at its first use that needs one (a wait, a revocation, a
/// spill): none before the first request, so that a process may fork before it.
class LeasePool : public MemoryPool {
 public:
  static std::shared_ptr<LeasePool> make(std::string resource, LeaseOptions options);

  /// Lives as long as the pool.
  virtual lease::LeaseListener& listener() = 0;
  virtual void connect(std::shared_ptr<lease::LeaseSource> source) = 0;
  /// From now on nothing grows (kClosed) and what is or becomes free is returned at once, the floor
  /// excepted. Waiting calls return. `why` is told to later callers.
  virtual void close(Error why = Error(ErrorCode::kClosed, "the client was closed")) = 0;

  /// What the spill workspace is paid with: reserved once, by a consumer that cannot spill. Waits
  /// for the session, which the caller has had connected, and for the bytes. Errors: kTimeout,
  /// kInvalid (none is wanted), and of acquire().
  virtual Result<MemoryReservation> reserve_workspace(std::chrono::milliseconds timeout) = 0;

  virtual LeaseStats stats() const = 0;
};

}  // namespace membroker
