#pragma once

#include <atomic>

#include "membroker/spill.h"
#include "shared/bytes.h"

namespace membroker::spill {

/// Thread-safe.
class Quota final : public SpillQuota {
 public:
  explicit Quota(Bytes limit) : limit_(limit) {}

  std::int64_t limit() const noexcept override { return limit_.load(std::memory_order_relaxed); }
  std::int64_t used() const noexcept override { return used_.load(std::memory_order_relaxed); }
  void set_limit(std::int64_t limit) noexcept override {
    limit_.store(limit, std::memory_order_relaxed);
  }

  /// All or nothing. Errors: kDiskFull, with the figures.
  Status charge(Bytes bytes);
  void credit(Bytes bytes) noexcept { used_.fetch_sub(bytes, std::memory_order_relaxed); }

 private:
  std::atomic<Bytes> limit_;
  std::atomic<Bytes> used_{0};
};

}  // namespace membroker::spill
