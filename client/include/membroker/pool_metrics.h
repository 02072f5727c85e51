#pragma once

#include <cstdint>
#include <string>
#include <vector>

/// \file
/// What a pool says of itself: its limit, its figures, and who holds its bytes.

namespace membroker {

/// How much a pool can ever hold.
struct MemoryLimit {
  enum class Kind { kInfinite, kFinite, kUnknown };

  Kind kind = Kind::kUnknown;
  std::int64_t bytes = 0;  ///< If finite.

  static MemoryLimit infinite() { return {Kind::kInfinite, 0}; }
  static MemoryLimit finite(std::int64_t bytes) { return {Kind::kFinite, bytes}; }
  static MemoryLimit unknown() { return {}; }
  friend bool operator==(const MemoryLimit&, const MemoryLimit&) = default;
};

struct ConsumerMetrics {
  std::uint64_t id = 0;
  std::string name;
  bool can_spill = false;
  std::int64_t reserved_bytes = 0;
  std::int64_t peak_bytes = 0;  ///< As of MemoryConsumer::peak().
};

struct PoolMetrics {
  std::string name;
  MemoryLimit limit;
  std::int64_t reserved_bytes = 0;
  std::int64_t overdraft_bytes = 0;        ///< The part of reserved beyond the pool's size now.
  std::int64_t overdrawn_total = 0;        ///< Counter: ever taken beyond the size by grow().
  std::uint64_t refusals = 0;              ///< Counter.
  std::uint64_t spills = 0;                ///< Counter: spill call-backs run.
  std::int64_t spilled_bytes = 0;          ///< Counter: bytes they gave back.
  std::vector<ConsumerMetrics> consumers;  ///< Registered now; largest first.
};

/// Who holds bytes of a pool: the report of what leaked, if all should have been given back.
struct PoolHolder {
  std::string consumer;
  std::uint64_t consumer_id = 0;  ///< 0: nobody that is registered; `consumer` is a pool then.
  std::int64_t held_bytes = 0;
  bool can_spill = false;
  /// Through which pools of the pool's, the outermost first: "join/probe" of a consumer of a nested
  /// pool in a nested pool, "task 7" of a task's. Empty: registered with the pool itself.
  std::string within;
};

}  // namespace membroker
