#include <algorithm>
#include <map>
#include <mutex>

#include "client/c/handles.h"
#include "membroker/c/pool.h"
#include "shared/format.h"

using namespace membroker;
using namespace membroker::c;

namespace {

// Thread-safe as far as the caller's functions are.
class DerivedPool final : public MemoryPool {
 public:
  DerivedPool(const mb_pool_functions& functions, std::shared_ptr<Context> context)
      : functions_(functions), name_(functions.name), context_(std::move(context)) {}

  std::string name() const override { return name_; }
  MemoryLimit limit() const override {
    return functions_.limit_bytes < 0 ? MemoryLimit::infinite()
                                      : MemoryLimit::finite(functions_.limit_bytes);
  }
  std::int64_t reserved() const override { return functions_.reserved(context_->get()); }

  Status try_grow(MemoryReservation& reservation, std::int64_t n) override {
    const MemoryConsumer consumer = reservation.consumer();
    const mb_pool_change change = change_of(consumer, reservation, n);
    const mb_status status = functions_.try_grow(context_->get(), &change);
    if (status == MB_OK) return {};
    return fail(refusal(status, consumer, n));
  }
  Result<std::int64_t> acquire(MemoryReservation& reservation, std::int64_t min, std::int64_t want,
                               Deadline deadline, const AcquireOptions& options) override {
    if (functions_.acquire == nullptr) {
      return MemoryPool::acquire(reservation, min, want, deadline, options);
    }
    const MemoryConsumer consumer = reservation.consumer();
    const mb_pool_change change = change_of(consumer, reservation, want);
    std::int64_t granted = 0;
    const mb_status status =
        functions_.acquire(context_->get(), &change, min, remaining_ms(deadline), &granted);
    if (status != MB_OK) return fail(refusal(status, consumer, min));
    if (granted >= min && granted <= want) return granted;
    return fail(ErrorCode::kInvalid,
                strf("pool \"%s\" granted %lld bytes where %lld to %lld were asked for",
                     name_.c_str(), static_cast<long long>(granted), static_cast<long long>(min),
                     static_cast<long long>(want)));
  }
  void grow(MemoryReservation& reservation, std::int64_t n) override {
    const MemoryConsumer consumer = reservation.consumer();
    const mb_pool_change change = change_of(consumer, reservation, n);
    functions_.grow(context_->get(), &change);
  }
  void shrink(MemoryReservation& reservation, std::int64_t n) override {
    const MemoryConsumer consumer = reservation.consumer();
    const mb_pool_change change = change_of(consumer, reservation, n);
    functions_.shrink(context_->get(), &change);
  }

  PoolMetrics metrics() const override {
    PoolMetrics metrics = MemoryPool::metrics();
    const std::lock_guard lock(mutex_);
    for (const auto& [id, consumer] : consumers_) {
      metrics.consumers.push_back(
          {id, consumer.name(), consumer.can_spill(), consumer.used(), consumer.peak()});
    }
    std::stable_sort(
        metrics.consumers.begin(), metrics.consumers.end(),
        [](const auto& a, const auto& b) { return a.reserved_bytes > b.reserved_bytes; });
    return metrics;
  }
  void register_consumer(const MemoryConsumer& consumer) override {
    {
      const std::lock_guard lock(mutex_);
      consumers_.emplace(consumer.id(), consumer);
    }
    if (functions_.register_consumer == nullptr) return;
    const mb_pool_consumer told = {sizeof(mb_pool_consumer), consumer.id(), consumer.name().c_str(),
                                   consumer.can_spill() ? 1 : 0, consumer.spill_priority()};
    functions_.register_consumer(context_->get(), &told);
  }
  void unregister_consumer(const MemoryConsumer& consumer) override {
    if (functions_.unregister_consumer != nullptr) {
      functions_.unregister_consumer(context_->get(), consumer.id());
    }
    const std::lock_guard lock(mutex_);
    consumers_.erase(consumer.id());
  }
  MemoryLimit limit_for(const MemoryConsumer& consumer) const override {
    if (functions_.limit_for == nullptr) return limit();
    const std::int64_t bytes = functions_.limit_for(context_->get(), consumer.id());
    return bytes < 0 ? MemoryLimit::infinite() : MemoryLimit::finite(bytes);
  }

 private:
  Error refusal(mb_status status, const MemoryConsumer& consumer, std::int64_t n) const {
    std::string message = strf("pool \"%s\" refused %lld bytes to consumer \"%s\", which has %lld",
                               name_.c_str(), static_cast<long long>(n), consumer.name().c_str(),
                               static_cast<long long>(consumer.used()));
    const ErrorCode code = code_of(status);
    if (code != ErrorCode::kResourcesExhausted) return Error(code, std::move(message));
    Denial denial;
    denial.requested_bytes = n;
    denial.reason = "refused";
    denial.pool = name_;
    return Error(code, std::move(message), std::move(denial));
  }
  // The texts are the consumer's, which the caller keeps.
  static mb_pool_change change_of(const MemoryConsumer& consumer,
                                  const MemoryReservation& reservation, std::int64_t n) {
    return {sizeof(mb_pool_change), consumer.id(), consumer.name().c_str(), reservation.size(), n};
  }

  const mb_pool_functions functions_;
  const std::string name_;
  const std::shared_ptr<Context> context_;  // shared with the maker, until that has succeeded
  mutable std::mutex mutex_;
  std::map<std::uint64_t, MemoryConsumer> consumers_;  // registered, by id; guarded by mutex_
};

}  // namespace

mb_status mb_pool_derived(const mb_pool_functions* functions, mb_pool** out, mb_error** error) {
  return guarded(__func__, {{functions, "functions"}, {out, "out"}}, error, [&]() -> Status {
    const mb_pool_functions defaults = MB_POOL_FUNCTIONS_INIT;
    const auto given = read_options("mb_pool_functions", functions, defaults);
    if (!given) return fail(given.error());
    const bool complete = given->name != nullptr && given->try_grow != nullptr &&
                          given->grow != nullptr && given->shrink != nullptr &&
                          given->reserved != nullptr;
    if (!complete) {
      return fail(ErrorCode::kInvalid,
                  "mb_pool_functions: name, try_grow, grow, shrink and reserved must be set");
    }
    auto context = std::make_shared<Context>(given->context, given->context_drop);
    auto pool = std::make_shared<DerivedPool>(*given, context);
    *out = new mb_pool{std::move(pool)};
    context->arm();
    return {};
  });
}
