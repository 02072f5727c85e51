#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

/// \file
/// What was really allocated against what is reserved, and exact peaks; over one pool or several.
///
///     auto watch = PoolWatch::make([] { return bytes_my_allocator_has(); });
///     auto pool = client.pool()->tracked(5, watch);   // and others with the same watch
///     ...
///     log(watch->report().to_string());   // "... drift 4000.0 B at its peak, by sort of ram"

namespace membroker {

namespace detail {
class WatchState;
struct PoolAccess;
}  // namespace detail

/// Drift: allocated less reserved. Above 0 memory is used that nobody reserved, below 0 reserved
/// that nobody uses.
struct WatchReport {
  std::int64_t reserved_bytes = 0;
  std::int64_t peak_bytes = 0;  ///< Largest sum reserved since reset_peaks().
  std::int64_t max_bytes = 0;   ///< The same since the watch was made.
  std::int64_t allocated_bytes = 0;
  std::int64_t drift_bytes = 0;
  /// Largest drift since reset_peaks(), as seen after each change of a reservation, and what was
  /// reserved then. 0 before the first change.
  std::int64_t peak_drift_bytes = 0;
  std::int64_t peak_drift_reserved_bytes = 0;
  std::string peak_drift_consumer;  ///< Whose change it was.
  std::string peak_drift_pool;      ///< In which pool, that is tracked.

  /// For people, in one line.
  std::string to_string() const;
};

/// Sees every change of the reservations made through the pools that are tracked with it, which
/// therefore have no fast path: each call costs a mutex and a call of `allocated`. Thread-safe.
class PoolWatch {
 public:
  /// `allocated` says how much memory is really in use: called on any thread, with no lock of the
  /// library held. Empty: the pages and the allocators that charge the watched pools.
  static std::shared_ptr<PoolWatch> make(std::function<std::int64_t()> allocated = {});

  PoolWatch(const PoolWatch&) = delete;
  PoolWatch& operator=(const PoolWatch&) = delete;
  ~PoolWatch();

  WatchReport report() const;
  /// The peaks begin again at what is reserved now.
  void reset_peaks();

 private:
  friend struct detail::PoolAccess;
  explicit PoolWatch(std::shared_ptr<detail::WatchState> state);

  std::shared_ptr<detail::WatchState> state_;  // shared with the reservations
};

}  // namespace membroker
