#include <algorithm>

#include "server/arbiter/planner.h"
#include "shared/check.h"

/// \file
/// How the planner finds the lease to ask next: down from a node by the best key among children
/// below which someone can be asked.

namespace membroker::arbiter {

namespace {

Level victim_level(const Account& account, Stage stage) {
  return stage == Stage::kSlack ? account.taxed_level() : account.level();
}

}  // namespace

// (1) over the average, (2) lower priority, (3) higher level, then by name.
bool Planner::better_victim(const Account& a, const Account* b, const Tenant& node,
                            Stage stage) const {
  if (b == nullptr) return true;
  const Level level = victim_level(a, stage);
  const Level other = victim_level(*b, stage);
  const Average average = node.average();
  const bool is_above = above(level, average);
  if (is_above != above(other, average)) return is_above;
  if (a.priority != b->priority) return a.priority < b->priority;
  const int order = compare(level, other);
  return order != 0 ? order > 0 : name_before(a, *b);
}

const Account* Planner::best_claimable(const Tenant& node, Stage stage) const {
  const Account* best = nullptr;
  const auto consider = [&](const auto& claimable) {
    if (claimable.empty()) return;
    core_.tree.visited(1);
    const Account& first = *claimable.top().item;
    if (better_victim(first, best, node, stage)) best = &first;
  };
  for (const auto& siblings : node.classes) {
    if (stage == Stage::kSlack) {
      consider(siblings->slack);
    } else {
      consider(siblings->spill);
    }
  }
  return best;
}

// Every node on the way keeps its guarantee.
Planner::Victim Planner::descend(const Account& from, Stage stage, Bytes most) const {
  const Account* node = &from;
  most = std::min(most, node->keeps() - node->guarantee);
  while (!node->is_lease) {
    node = best_claimable(as_tenant(*node), stage);
    MB_CHECK(node != nullptr);
    most = std::min(most, node->keeps() - node->guarantee);
  }
  MB_CHECK(most > 0);
  return {const_cast<Lease*>(&as_lease(*node)), most};
}

// The best child of `node` beside the asker's side that may lose at least `seek.least` to it.
const Account* Planner::best_sibling(const Tenant& node, const Account& side, const Seek& seek,
                                     Bytes* most) const {
  const Account* best = nullptr;
  const Side asker = side.as_asker();
  const auto look_in = [&](const auto& claimable) {
    claimable.walk([&](const auto& entry) {
      core_.tree.visited(1);
      const Account& sibling = *entry.item;
      if (&sibling == &side) return true;
      const Side victim = sibling.as_victim();
      const Bytes tax = seek.stage == Stage::kSlack ? kIdleTax * sibling.idle : 0;
      const Bytes move = core_.policy.may_lose(victim, victim.surplus + tax, asker);
      if (move < seek.least) {
        // Behind one with nothing promised and no tax nobody may lose more than it.
        return sibling.planned > 0 || tax > 0;
      }
      if (better_victim(sibling, best, node, seek.stage)) {
        best = &sibling;
        *most = move;
      }
      return false;
    });
  };
  for (const auto& siblings : node.classes) {
    if (seek.stage == Stage::kSlack) {
      look_in(siblings->slack);
    } else {
      look_in(siblings->spill);
    }
  }
  return best;
}

Planner::Victim Planner::find_victim(const Tenant& node, const Seek& seek) const {
  const Account& side = side_of(node, *seek.request.lease);
  Bytes most = 0;
  const Account* sibling = best_sibling(node, side, seek, &most);
  // Below the asker's own side, too, someone may be over.
  const std::size_t stage = seek.stage == Stage::kSlack ? 0 : 1;
  if (!side.is_lease && as_tenant(side).claimable_children[stage] > 0 &&
      better_victim(side, sibling, node, seek.stage)) {
    const Victim within_side = find_victim(as_tenant(side), seek);
    if (within_side.lease != nullptr) return within_side;
  }
  if (sibling == nullptr) return {};
  return descend(*sibling, seek.stage, most);
}

}  // namespace membroker::arbiter
