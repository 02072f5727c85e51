#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "client/memory/consumer_state.h"
#include "membroker/memory_pool.h"
#include "shared/bytes.h"

namespace membroker::detail {

/// See NestedPool. held (the reservation in the parent) >= used + lent, but for overdrafts of the
/// parent's. Thread-safe; the mutex is held over the parent's calls, which wait for nobody here.
class Nested final : public NestedPool {
 public:
  Nested(std::shared_ptr<MemoryPool> parent, std::string name, Bytes retained);

  std::string describe() const override;
  MemoryPool& parent() const { return *parent_; }

  std::string name() const override { return name_; }
  MemoryLimit limit() const override { return parent_->limit(); }
  std::int64_t reserved() const override;
  PoolMetrics metrics() const override;
  Status try_grow(MemoryReservation& reservation, std::int64_t n) override;
  void grow(MemoryReservation& reservation, std::int64_t n) override;
  void shrink(MemoryReservation& reservation, std::int64_t n) override;
  void register_consumer(const MemoryConsumer& consumer) override;
  void unregister_consumer(const MemoryConsumer& consumer) override;

  void retain(std::int64_t bytes) override;
  Loan borrow(std::int64_t n) override;
  void release_unused() override;

 private:
  void end_loan(std::int64_t bytes) override;
  void give_back();

  const std::shared_ptr<MemoryPool> parent_;  // shared: it outlives its children
  const std::string name_;
  mutable std::mutex mutex_;  // guards the rest
  MemoryReservation held_;
  Bytes used_ = 0;
  Bytes lent_ = 0;
  Bytes retained_ = 0;
  std::vector<std::shared_ptr<ConsumerState>> consumers_;
};

}  // namespace membroker::detail
