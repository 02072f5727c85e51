#include "server/arbiter/policy.h"

#include <algorithm>

namespace membroker::arbiter {

namespace {

// Calls visit(account, aged) for the lowest waiting child of each class. While the node has debt
// its own leases wait.
template <class Visit>
void for_each_class(const Tenant& node, Visit visit) {
  for (const auto& siblings : node.classes) {
    if (siblings->leases && node.debt > 0) continue;
    for (const auto& waiting : siblings->waiting) {
      if (!waiting.empty()) visit(*waiting.top().item);
    }
  }
}

}  // namespace

// ---- fair ----

// The keys of section 2, in their order, between the best of two classes.
const Account* FairPolicy::first_waiting(const Tenant& node, Bytes chunk) const {
  const Average average = node.average();
  const Account* best = nullptr;
  bool best_within = false;
  const auto better = [&](const Account& a, bool a_within) {
    if (best == nullptr) return true;
    const Level level = a.level();
    const Level other = best->level();
    if (level.below_guarantee() != other.below_guarantee()) return level.below_guarantee();
    if (a_within != best_within) return a_within;
    if (a.counted.aged != best->counted.aged) return a.counted.aged;
    if (a.priority != best->priority) return a.priority > best->priority;
    const int order = compare(level, other);
    return order != 0 ? order < 0 : a.counted.arrival < best->counted.arrival;
  };
  for_each_class(node, [&](const Account& first) {
    const bool first_within = within(first.level(), average, chunk);
    if (!better(first, first_within)) return;
    best = &first;
    best_within = first_within;
  });
  return best;
}

// Keys (1) and (2).
int FairPolicy::urgency(const Level& level, const Average& average, Bytes chunk) const {
  if (level.below_guarantee()) return 0;
  return within(level, average, chunk) ? 1 : 2;
}

Bytes FairPolicy::may_lose(const Side& victim, Bytes taxed, const Side& asker) const {
  return fair_move(victim, taxed, asker);
}

// ---- greedy ----

const Account* GreedyPolicy::first_waiting(const Tenant& node, Bytes) const {
  const Account* lacking = nullptr;
  for_each_class(node, [&](const Account& first) {
    if (!first.level().below_guarantee()) return;
    const int order = lacking == nullptr ? -1 : compare(first.level(), lacking->level());
    const bool equal_and_earlier = order == 0 && first.counted.arrival < lacking->counted.arrival;
    if (order < 0 || equal_and_earlier) lacking = &first;
  });
  if (lacking != nullptr) return lacking;
  const Account* earliest = nullptr;
  const std::size_t kinds = node.debt > 0 ? 1 : 2;  // [1]: its own leases
  for (std::size_t kind = 0; kind < kinds; ++kind) {
    if (node.arrivals[kind].empty()) continue;
    const Account& first = *node.arrivals[kind].top().item;
    if (earliest == nullptr || first.counted.arrival < earliest->counted.arrival) {
      earliest = &first;
    }
  }
  return earliest;
}

int GreedyPolicy::urgency(const Level& level, const Average&, Bytes) const {
  return level.below_guarantee() ? 0 : 1;
}

Bytes GreedyPolicy::may_lose(const Side& victim, Bytes, const Side& asker) const {
  return std::min(victim.surplus, -asker.surplus);
}

// ---- which ----

const Policy& policy_of(PolicyKind kind) {
  static const FairPolicy fair;
  static const GreedyPolicy greedy;
  if (kind == PolicyKind::kGreedy) return greedy;
  return fair;
}

}  // namespace membroker::arbiter
