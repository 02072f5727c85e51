#include <algorithm>
#include <utility>

#include "client/memory/pool_core.h"

/// \file
/// One round of local spilling, on the pool's thread: consumers are asked one after the other until
/// the need is met, is another one, or nobody is left.

namespace membroker::detail {
namespace {

// A consumer that is busy is looked at again this often.
constexpr Millis kBusyLook = 50;

// While one lives every byte freed comes to the cache.
struct SpillMode {
  explicit SpillMode(lease::LeaseCache& its_cache) : cache(its_cache) { cache.begin_spill(); }
  SpillMode(const SpillMode&) = delete;
  SpillMode& operator=(const SpillMode&) = delete;
  ~SpillMode() { cache.end_spill(); }
  lease::LeaseCache& cache;
};

}  // namespace

// The need as it is now; nothing if it was met or gave way to another.
std::optional<lease::SpillNeed> PoolCore::same_need(const lease::SpillNeed& need) {
  auto now_needed = cache_->spill_need();
  if (!now_needed || now_needed->revocation != need.revocation || now_needed->id != need.id) {
    return std::nullopt;
  }
  return now_needed;
}

void PoolCore::spill_for(const lease::SpillNeed& first) {
  std::vector<std::uint64_t> skipped;  // freed nothing in this round
  for (;;) {
    const std::uint64_t seen = version();
    const auto need = same_need(first);
    if (!need || stopping()) return;
    bool busy = false;
    bool asked = false;
    if (const auto chosen = choose(*need, skipped, busy)) {
      asked = true;
      if (spill_one(*chosen, *need) <= 0) skipped.push_back(chosen->claim.consumer().id);
    }
    poll_async();  // without the claim: its call-backs may end the consumer
    if (asked) continue;
    if (!busy || now_() >= need->deadline) {
      cache_->spill_failed(*need, why_nobody(*need));
      return;
    }
    wait_change(seen, std::min(need->deadline, now_() + kBusyLook));
  }
}

// Whose bytes would meet the need, nested pools' consumers among them.
std::vector<SpillLeaf> PoolCore::spill_leaves(const lease::SpillNeed& need) const {
  std::vector<SpillLeaf> leaves;
  for (const auto& consumer : consumers()) {
    const bool is_asker = need.asker == &consumer->account;
    const bool barred = (need.only_asker && !is_asker) ||
                        (need.task != nullptr && need.task != consumer->account.task) ||
                        (consumer->stands_for_pool && consumer->no_spill_sections.load() > 0);
    if (!barred) add_spill_leaf(consumer, is_asker, INT64_MAX, leaves);
  }
  return leaves;
}

// `busy`: one that cannot be asked now may be later.
std::optional<ChosenSpill> PoolCore::choose(const lease::SpillNeed& need,
                                            const std::vector<std::uint64_t>& skipped, bool& busy) {
  const auto leaves = spill_leaves(need);
  std::vector<SpillCandidate> candidates;
  for (std::size_t order = 0; order < leaves.size(); ++order) {
    ConsumerState& consumer = *leaves[order].consumer;
    if (std::find(skipped.begin(), skipped.end(), consumer.id) != skipped.end()) continue;
    const Bytes used = leaves[order].used;
    if (used <= 0) continue;
    const bool is_asker = leaves[order].is_asker;
    const int inside = consumer.threads_inside.load();
    if (consumer.no_spill_sections.load() > 0 || consumer.spilling.load() || inside > 0) {
      // One that waits in acquire() may wait for this very need: only a revocation waits for it.
      const bool waits_too = inside > 0 && inside == consumer.threads_acquiring.load();
      busy = busy || (!is_asker && (need.revocation || !waits_too));
      continue;
    }
    candidates.push_back({order, used, consumer.spill_priority, is_asker});
  }
  const SpillCandidate* chosen = choose_spill(candidates, need.bytes);
  if (chosen == nullptr) return std::nullopt;
  SpillClaim claim(leaves[chosen->id].consumer);
  if (claim) return ChosenSpill{std::move(claim), chosen->is_asker};
  busy = true;
  return std::nullopt;
}

Bytes PoolCore::spill_one(const ChosenSpill& chosen, const lease::SpillNeed& need) {
  ConsumerState& consumer = chosen.claim.consumer();
  const SpillMode mode(*cache_);
  spills_.fetch_add(1, std::memory_order_relaxed);
  Bytes freed = 0;
  if (consumer.spill) {
    SpillRequest request;
    request.bytes = need.bytes;
    request.trigger = need.revocation   ? SpillTrigger::kRevocation
                      : chosen.is_asker ? SpillTrigger::kSelf
                                        : SpillTrigger::kOther;
    if (need.deadline < Instant::never()) {
      request.deadline = std::chrono::milliseconds(std::max<Millis>(0, need.deadline - now_()));
    }
    freed = run_spill(consumer, request);
  } else {
    freed = ask_cooperative(consumer, need);
  }
  spilled_.fetch_add(freed, std::memory_order_relaxed);
  return freed;
}

// Raises the consumer's flag and waits until it has spilled, the need is met, or for half the time.
Bytes PoolCore::ask_cooperative(ConsumerState& consumer, const lease::SpillNeed& first) {
  const Bytes before = consumer.used();
  const Bytes target = std::max<Bytes>(0, before - first.bytes);
  const Instant start = now_();
  const Instant until =
      first.deadline < Instant::never() ? start + (first.deadline - start) / 2 : Instant::never();
  consumer.spill_down_to.store(target);
  for (;;) {
    const std::uint64_t seen = version();
    const auto need = same_need(first);
    if (!need || stopping() || consumer.used() <= target || now_() >= until) break;
    // More may be wanted by now.
    consumer.spill_down_to.store(
        std::min(target, std::max<Bytes>(0, consumer.used() - need->bytes)));
    poll_async();
    wait_change(seen, std::min(until, now_() + kBusyLook));
  }
  consumer.spill_down_to.store(ConsumerState::kNoSpillAsked);
  return std::max<Bytes>(0, before - consumer.used());
}

std::string PoolCore::why_nobody(const lease::SpillNeed& need) {
  const std::string failed = first_spill_error(consumers());
  if (!failed.empty()) return "spilling failed: " + failed;
  return need.revocation ? "nobody can spill more now" : "nobody can spill for it";
}

}  // namespace membroker::detail
