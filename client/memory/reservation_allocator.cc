#include <algorithm>
#include <atomic>
#include <utility>

#include "client/memory/consumer_state.h"
#include "client/memory/pool_core.h"
#include "membroker/allocator.h"
#include "membroker/memory_pool.h"
#include "shared/bytes.h"

namespace membroker {
namespace {

// Thread-safe. Blocks are the backend's; this only pays for them.
class ChargingAllocator final : public ReservationAllocator {
 public:
  ChargingAllocator(MemoryReservation reservation, std::shared_ptr<BufferAllocator> backend)
      : reservation_(std::move(reservation)),
        backend_(std::move(backend)),
        core_(core_of(reservation_)),
        prepaid_(reservation_.size()) {}

  ~ChargingAllocator() override { return_prepaid(); }

  MemoryReservation& reservation() noexcept override { return reservation_; }

  void add_prepaid(std::int64_t bytes) noexcept override {
    prepaid_.fetch_add(bytes, std::memory_order_relaxed);
  }
  std::int64_t prepaid() const noexcept override {
    return prepaid_.load(std::memory_order_relaxed);
  }
  std::int64_t return_prepaid() noexcept override {
    const std::int64_t bytes = prepaid_.exchange(0, std::memory_order_relaxed);
    give_to_pool(bytes);
    return bytes;
  }
  void keep_freed(bool keep) noexcept override { keep_.store(keep, std::memory_order_relaxed); }

  void release_unused() noexcept override { backend_->release_unused(); }
  std::string_view backend_name() const noexcept override { return backend_->backend_name(); }
  bool count_spilled(std::int64_t bytes_written) noexcept override {
    if (core_ != nullptr) core_->count_spill_files(bytes_written);
    return true;
  }

 private:
  Result<std::uint8_t*> do_allocate(std::int64_t size, std::int64_t alignment) override {
    if (auto paid = charge(size); !paid) return fail(paid.error());
    auto block = backend_->allocate(size, alignment);
    if (block) count(size);
    if (!block) credit(size);
    return block;
  }

  Result<std::uint8_t*> do_reallocate(std::uint8_t* block, std::int64_t old_size,
                                      std::int64_t new_size, std::int64_t alignment) override {
    const std::int64_t growth = new_size - old_size;
    if (growth > 0) {
      if (auto paid = charge(growth); !paid) return fail(paid.error());
    }
    auto moved = backend_->reallocate(block, old_size, new_size, alignment);
    if (moved) count(growth);
    if (moved && growth < 0) credit(-growth);
    if (!moved && growth > 0) credit(growth);
    return moved;
  }

  void do_free(std::uint8_t* block, std::int64_t size, std::int64_t alignment) noexcept override {
    backend_->free(block, size, alignment);
    count(-size);
    credit(size);
  }

  void count(std::int64_t change) noexcept {
    if (core_ != nullptr) core_->count_allocated(change);
  }

  // Spends what is prepaid first.
  Status charge(std::int64_t bytes) {
    std::int64_t have = prepaid_.load(std::memory_order_relaxed);
    std::int64_t spent = 0;
    do {
      spent = std::min(have, bytes);
    } while (spent > 0 &&
             !prepaid_.compare_exchange_weak(have, have - spent, std::memory_order_relaxed));
    if (spent == bytes) return {};
    auto grown = reservation_.try_grow(bytes - spent);
    if (!grown) prepaid_.fetch_add(spent, std::memory_order_relaxed);
    return grown;
  }

  void credit(std::int64_t bytes) noexcept {
    if (keep_.load(std::memory_order_relaxed)) {
      prepaid_.fetch_add(bytes, std::memory_order_relaxed);
    } else {
      give_to_pool(bytes);
    }
  }

  void give_to_pool(std::int64_t bytes) noexcept {
    // Fails only where the reservation is not this process's any more: in a fork.
    if (bytes > 0) static_cast<void>(reservation_.shrink(bytes));
  }

  static detail::PoolCore* core_of(const MemoryReservation& reservation) {
    const auto pool = reservation.pool();
    return pool == nullptr ? nullptr : detail::paying_core(*pool);
  }

  MemoryReservation reservation_;  // keeps its pool alive, and that the core
  const std::shared_ptr<BufferAllocator> backend_;
  detail::PoolCore* const core_;
  std::atomic<std::int64_t> prepaid_;
  std::atomic<bool> keep_{false};
};

}  // namespace

std::shared_ptr<ReservationAllocator> make_allocator(MemoryReservation reservation,
                                                     std::shared_ptr<BufferAllocator> backend) {
  if (!backend) backend = default_allocator();
  return std::make_shared<ChargingAllocator>(std::move(reservation), std::move(backend));
}

std::shared_ptr<ReservationAllocator> make_allocator(std::shared_ptr<MemoryPool> pool,
                                                     std::string consumer_name,
                                                     std::shared_ptr<BufferAllocator> backend) {
  return make_allocator(MemoryConsumer(std::move(consumer_name)).register_with(pool),
                        std::move(backend));
}

}  // namespace membroker
