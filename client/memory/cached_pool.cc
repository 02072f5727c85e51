#include "client/memory/cached_pool.h"

#include <utility>

#include "client/memory/holders.h"
#include "client/memory/refusal.h"
#include "shared/check.h"

namespace membroker {
namespace detail {

CachedPool::CachedPool(CachedPoolOptions options)
    : name_(std::move(options.name)),
      described_(std::move(options.described)),
      borrows_(options.core.cache.borrows),
      core_(PoolCore::make(std::move(options.core))),
      strangers_(std::make_shared<ConsumerState>()) {
  core_->describe = [this](const Refused& refused) { return describe_refusal(refused); };
  strangers_->name = "wrapping pools";
  stranger_ = std::make_unique<ReservationState>(strangers_, nullptr, core_.get());
  strangers_->attach(*stranger_);
  core_->add_consumer(strangers_);
}

CachedPool::~CachedPool() {
  if (core_->cut_off()) {  // its thread is the parent's, its mutexes may be locked for ever
    static_cast<void>(stranger_.release());
    new std::shared_ptr<PoolCore>(std::move(core_));
    return;
  }
  core_->stop();
  core_->describe = nullptr;
  core_->cache().remove(*stranger_);
  strangers_->detach(*stranger_);
  core_->cache().connect(nullptr);
}

std::string described_size(const std::string& name, Bytes used, const std::string& what,
                           Bytes size) {
  return name + "(used: " + readable_size(used) + ", " + what + ": " + readable_size(size) + ")";
}

std::string CachedPool::describe() const {
  if (core_->cut_off()) return name_ + "(of the parent process)";
  return described_size(name_, core_->cache().used(), described_, core_->cache().size());
}

MemoryLimit CachedPool::limit() const {
  if (core_->cut_off()) return MemoryLimit::finite(0);
  if (borrows_) return MemoryLimit::unknown();
  return MemoryLimit::finite(core_->cache().capacity());
}

MemoryLimit CachedPool::limit_for(const MemoryConsumer& consumer) const {
  if (borrows_ || core_->cut_off()) return limit();
  return MemoryLimit::finite(core_->cache().share(PoolAccess::state(consumer)->account));
}

std::int64_t CachedPool::reserved() const { return core_->cut_off() ? 0 : core_->cache().used(); }

PoolMetrics CachedPool::metrics() const {
  PoolMetrics metrics;
  metrics.name = name_;
  metrics.limit = limit();
  if (core_->cut_off()) return metrics;
  metrics.reserved_bytes = core_->cache().used();
  metrics.overdraft_bytes = core_->cache().debt();
  metrics.overdrawn_total = core_->cache().counters().overdrawn_total;
  metrics.refusals = core_->refusals();
  metrics.spills = core_->spills();
  metrics.spilled_bytes = core_->spilled();
  metrics.consumers = consumer_metrics(core_->consumers(), strangers_.get());
  return metrics;
}

// The bytes of consumers of a wrapping pool are the strangers' here.
std::vector<PoolHolder> CachedPool::holders() const {
  if (core_->cut_off()) return {};
  std::vector<PoolHolder> holders;
  Bytes wrapped = 0;
  for (const auto& consumer : core_->consumers()) {
    if (consumer == strangers_) continue;
    const Bytes held = add_holders(consumer, "", holders);
    if (!consumer->is_of(*core_)) wrapped += held;
  }
  add_unnamed(strangers_->name, strangers_->used() - wrapped, holders);
  return in_order(std::move(holders));
}

// ---- growing and shrinking ----

ReservationState& CachedPool::shard_of(MemoryReservation& reservation) {
  ReservationState* state = PoolAccess::state(reservation);
  MB_CHECK(state != nullptr);
  return state->core == core_.get() ? *state : *stranger_;
}

Status CachedPool::may_grow() const {
  if (core_->cut_off()) {
    return fail(ErrorCode::kForked, "this process was forked from the one that holds the lease '" +
                                        name_ + "'; open a client of its own after exec()");
  }
  if (inside_spill()) return fail(grow_in_spill());
  return {};
}

Status CachedPool::try_grow(MemoryReservation& reservation, std::int64_t n) {
  if (auto may = may_grow(); !may) return may;
  Refused refused;
  if (core_->try_grow(shard_of(reservation), n, refused)) return {};
  return fail(describe_refusal(refused));
}

void CachedPool::grow(MemoryReservation& reservation, std::int64_t n) {
  if (!core_->cut_off()) core_->cache().grow(shard_of(reservation), n);
}

void CachedPool::shrink(MemoryReservation& reservation, std::int64_t n) {
  // A reservation of this pool is shrunk through its shard; this is for wrapping pools.
  if (!core_->cut_off()) MB_CHECK(core_->cache().give(shard_of(reservation), n));
}

Result<std::int64_t> CachedPool::acquire(MemoryReservation& reservation, std::int64_t min,
                                         std::int64_t want, Deadline deadline,
                                         const AcquireOptions& options) {
  if (auto may = may_grow(); !may) return fail(may.error());
  Refused refused;
  if (const auto got =
          core_->acquire(shard_of(reservation), min, want, deadline, options, refused)) {
    return *got;
  }
  return fail(describe_refusal(refused));
}

Error CachedPool::describe_refusal(const Refused& refused) const {
  core_->count_refusal();
  const lease::LeaseRefusal& why = refused.why;
  const Error* cause = why.cause ? &*why.cause : nullptr;
  if (why.code != ErrorCode::kResourcesExhausted) {
    return cause != nullptr ? *cause : Error(why.code, why.reason);
  }
  ConsumerState& consumer = *refused.reservation->consumer;
  RefusalWords words;
  words.consumer = consumer.name;
  words.consumer_can_spill = consumer.can_spill;
  words.asked = refused.asked;
  words.holds = consumer.used();
  words.available = why.available;
  words.acquiring = refused.acquiring;
  words.pool = describe();
  words.pool_name = name_;
  words.reason = why.reason;
  const auto consumers = core_->consumers();
  words.consumers = consumer_metrics(consumers, strangers_.get(), RefusalWords::kHoldersMax);
  words.spill_error = first_spill_error(consumers);
  return refusal(words, cause);
}

// ---- consumers ----

void CachedPool::register_consumer(const MemoryConsumer& consumer) {
  if (core_->cut_off()) return;
  core_->add_consumer(PoolAccess::state(consumer));
}

void CachedPool::unregister_consumer(const MemoryConsumer& consumer) {
  if (core_->cut_off()) return;
  core_->remove_consumer(*PoolAccess::state(consumer));
}

// ---- the lease ----

void CachedPool::connect(std::shared_ptr<lease::LeaseSource> source) {
  if (!core_->cut_off()) core_->cache().connect(std::move(source));
}

void CachedPool::close(Error why) {
  if (!core_->cut_off()) core_->cache().close(std::move(why));
}

Result<MemoryReservation> CachedPool::reserve_workspace(std::chrono::milliseconds timeout) {
  if (auto may = may_grow(); !may) return fail(may.error());
  const Deadline deadline = timeout;
  MemoryReservation reservation =
      MemoryConsumer("spill workspace").register_with(shared_from_this());
  const auto to_acquire = core_->take_workspace(*PoolAccess::state(reservation), deadline);
  if (!to_acquire) return fail(to_acquire.error());
  if (*to_acquire == 0) return reservation;
  const Bytes least = std::min(*to_acquire, lease::LeaseCache::kWorkspaceMin);
  if (auto got = reservation.acquire(least, *to_acquire, deadline); !got) return fail(got.error());
  return reservation;
}

LeaseStats CachedPool::stats() const {
  LeaseStats stats;
  if (core_->cut_off()) return stats;
  const lease::LeaseCounters counters = core_->cache().counters();
  stats.figures = core_->cache().figures();
  stats.debt = core_->cache().debt();
  stats.peak_held = counters.peak_held;
  stats.peak_reserved = counters.peak_reserved;
  stats.requests_asked = counters.requests_asked;
  stats.requests_granted = counters.requests_granted;
  stats.requests_denied = counters.requests_denied;
  stats.revocations_asked = counters.revocations_asked;
  stats.revocations_answered = counters.revocations_answered;
  stats.revocations_late = counters.revocations_late;
  return stats;
}

}  // namespace detail

std::shared_ptr<LeasePool> LeasePool::make(std::string resource, LeaseOptions options) {
  detail::CachedPoolOptions made;
  made.name = std::move(resource);
  made.described = "lease";
  made.core.can_fork = false;
  made.core.virtual_time = static_cast<bool>(options.now);
  made.core.cache.floor = options.floor;
  made.core.cache.workspace = options.workspace;
  made.core.cache.priority = options.priority;
  made.core.cache.when_away = options.when_away;
  made.core.cache.standalone = options.standalone;
  made.core.cache.now = options.now ? std::move(options.now) : monotonic_now;
  return std::make_shared<detail::CachedPool>(std::move(made));
}

}  // namespace membroker
