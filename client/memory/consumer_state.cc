#include "client/memory/consumer_state.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "client/memory/pool_core.h"
#include "client/memory/watch_state.h"
#include "shared/format.h"

namespace membroker::detail {
namespace {

thread_local int spill_depth = 0;

struct InsideSpill {
  InsideSpill() { ++spill_depth; }
  ~InsideSpill() { --spill_depth; }
};

struct Calling {
  explicit Calling(ConsumerState& its_consumer) : consumer(its_consumer) {
    consumer.calling.store(true);
  }
  Calling(const Calling&) = delete;
  Calling& operator=(const Calling&) = delete;
  ~Calling() {
    consumer.calling.store(false);
    consumer.calling.notify_all();
  }
  ConsumerState& consumer;
};

}  // namespace

bool inside_spill() noexcept { return spill_depth > 0; }

ReservationState::ReservationState(std::shared_ptr<ConsumerState> its_consumer,
                                   std::shared_ptr<MemoryPool> its_pool,
                                   PoolCore* its_core) noexcept
    : LeaseShard(&its_consumer->shared, its_consumer->account,
                 its_core == nullptr ? nullptr : its_core->forks()),
      consumer(std::move(its_consumer)),
      pool(std::move(its_pool)),
      payer(pool == nullptr ? its_core : paying_core(*pool)),
      core(its_core) {
  if (pool != nullptr) watches = watches_of(*pool);
  watched = !watches.empty();
}

void ReservationState::note_watched(std::int64_t change) {
  for (const auto& watch : watches) watch->note(change, consumer->name, tracked_in(*pool));
}

std::int64_t ConsumerState::used() {
  const std::lock_guard lock(mutex);
  if (use_shared) return shared.used.load(std::memory_order_relaxed);
  // split() and take() move to the last made: from there on, no byte is seen twice.
  std::int64_t sum = 0;
  for (std::size_t i = reservations.size(); i-- > 0;) sum += reservations[i]->size();
  return sum;
}

std::int64_t ConsumerState::peak() {
  const std::lock_guard lock(mutex);
  if (!reservations.empty()) note_peak(*reservations.front());
  return shared.peak.load(std::memory_order_relaxed);
}

void ConsumerState::note_peak(const ReservationState& reservation) {
  const bool by_account = several && !reservation.core->cut_off();
  SharedUse::raise(shared.peak,
                   by_account ? reservation.core->cache().peak(account) : reservation.peak());
}

void ConsumerState::reset_peak() {
  const std::lock_guard lock(mutex);
  shared.peak.store(use_shared ? shared.used.load(std::memory_order_relaxed) : 0,
                    std::memory_order_relaxed);
  std::vector<lease::LeaseShard*> shards;
  for (ReservationState* reservation : reservations) {
    reservation->reset_peak();
    shards.push_back(reservation);
  }
  if (!several || reservations.empty()) return;
  PoolCore& core = *reservations.front()->core;
  if (!core.cut_off()) core.cache().reset_peak(account, shards);
}

bool ConsumerState::begin_registration() {
  const std::lock_guard lock(mutex);
  if (!reservations.empty() || registered.exchange(true)) return false;
  account.can_spill = can_spill.load();
  account.task = nullptr;
  return true;
}

bool ConsumerState::is_of(const PoolCore& owner) {
  const std::lock_guard lock(mutex);
  return reservations.empty() || reservations.front()->core == &owner;
}

std::int64_t ConsumerState::reclaimable() {
  if (!can_spill.load() || no_spill_sections.load() > 0) return 0;
  if (!stands_for_pool) return used();
  const auto pool = inner.lock();
  return pool == nullptr ? 0 : pool->reclaimable();
}

void ConsumerState::attach(ReservationState& reservation) {
  const std::lock_guard lock(mutex);
  if (reservations.empty()) use_shared = several = false;  // it may have been another pool's
  reservations.push_back(&reservation);
  ++unended;
  // In a forked child the lease's mutex may be held for ever: what is made there stays empty.
  if (reservation.core == nullptr || reservation.core->cut_off()) {
    use_shared = true;
    return;
  }
  reservation.core->cache().add(reservation);
  if (reservations.size() < 2) return;
  ReservationState& first = *reservations.front();
  lease::LeaseCache& cache = reservation.core->cache();
  // Peaks of sums cost every call a line that others write: only where somebody keeps track.
  if (&tracked_in(*reservation.pool) == reservation.pool.get()) {
    if (several) return;
    lease::LeaseShard* const shards[] = {&first};
    cache.reset_peak(account, shards);
    note_peak(first);
    several = true;
    return;
  }
  if (!use_shared) {
    note_peak(first);
    cache.set_shared(first);
    use_shared = true;
  }
  cache.set_shared(reservation);
}

bool ConsumerState::detach(ReservationState& reservation) {
  const std::lock_guard lock(mutex);
  note_peak(reservation);
  std::erase(reservations, &reservation);
  return reservations.empty();
}

void ConsumerState::quiesce() {
  {
    const std::lock_guard lock(mutex);
    if (--unended == 0) registered.store(false);
  }
  if (!inside_spill()) calling.wait(true);
}

SpillClaim::SpillClaim(std::shared_ptr<ConsumerState> consumer) {
  if (!consumer->spilling.exchange(true)) consumer_ = std::move(consumer);
}

SpillClaim::~SpillClaim() {
  if (consumer_ != nullptr) consumer_->spilling.store(false);
}

void add_spill_leaf(const std::shared_ptr<ConsumerState>& consumer, bool is_asker,
                    std::int64_t most, std::vector<SpillLeaf>& leaves) {
  if (!consumer->can_spill.load()) return;
  if (!consumer->stands_for_pool) {
    leaves.push_back({consumer, std::min(most, consumer->used()), is_asker});
    return;
  }
  if (const auto pool = consumer->inner.lock()) pool->add_spill_leaves(is_asker, most, leaves);
}

std::int64_t run_spill(ConsumerState& consumer, const SpillRequest& request) {
  const std::int64_t before = consumer.used();
  std::int64_t claimed = 0;
  std::string error;
  {
    const Calling calling(consumer);
    if (!consumer.registered.load()) return 0;  // ending: see quiesce()
    const InsideSpill inside;
    try {
      claimed = consumer.spill(request);
    } catch (const std::exception& thrown) {
      error = thrown.what();
    } catch (...) {
      error = "an exception of an unknown type";
    }
  }
  if (!error.empty()) claimed = 0;
  const std::int64_t measured = std::max<std::int64_t>(0, before - consumer.used());
  const std::lock_guard lock(consumer.mutex);
  consumer.spill_error = std::move(error);
  return std::min(std::max<std::int64_t>(0, claimed), measured);
}

MemoryReservation PoolAccess::make(const std::shared_ptr<ConsumerState>& consumer,
                                   const std::shared_ptr<MemoryPool>& pool) {
  auto state = std::make_unique<ReservationState>(consumer, pool, core_of(*pool));
  consumer->attach(*state);
  return reservation(state.release());
}

std::vector<ConsumerMetrics> consumer_metrics(
    const std::vector<std::shared_ptr<ConsumerState>>& consumers, const ConsumerState* hidden,
    std::size_t most) {
  std::vector<std::pair<std::int64_t, std::size_t>> order;  // -used, place
  order.reserve(consumers.size());
  for (std::size_t place = 0; place < consumers.size(); ++place) {
    const std::int64_t used = consumers[place]->used();
    if (consumers[place].get() != hidden || used != 0) order.emplace_back(-used, place);
  }
  const std::size_t kept = std::min(most, order.size());
  const auto end = order.begin() + static_cast<std::ptrdiff_t>(kept);
  std::partial_sort(order.begin(), end, order.end());
  std::vector<ConsumerMetrics> metrics;
  metrics.reserve(kept);
  for (auto at = order.begin(); at != end; ++at) {
    ConsumerState& consumer = *consumers[at->second];
    metrics.push_back(
        {consumer.id, consumer.name, consumer.can_spill.load(), -at->first, consumer.peak()});
  }
  return metrics;
}

std::string first_spill_error(const std::vector<std::shared_ptr<ConsumerState>>& consumers) {
  for (const auto& consumer : consumers) {
    if (const auto pool = consumer->inner.lock()) {
      if (auto error = pool->spill_error(); !error.empty()) return error;
    }
    const std::lock_guard lock(consumer->mutex);
    if (!consumer->spill_error.empty()) return consumer->name + ": " + consumer->spill_error;
  }
  return {};
}

Error invalid_size(const char* call, std::int64_t n) {
  return Error(ErrorCode::kInvalid,
               strf("%s(%lld): a size may not be negative", call, static_cast<long long>(n)));
}

Error grow_in_spill() {
  return Error(ErrorCode::kGrowInSpill,
               "memory was asked for inside a spill call-back; reserve it before, or use grow()");
}

}  // namespace membroker::detail
