#include "tests/sim/fair_share.h"

#include <algorithm>

namespace membroker::sim {

FairShares::FairShares(const Accounts& accounts)
    : accounts_(accounts),
      demands_(static_cast<std::size_t>(accounts.size()), 0),
      shares_(demands_) {
  demand_of(0);
  share(0) = std::min(accounts_.node(0).limit, demand(0));
  pour(0);
}

// held + waiting, at most the limit, but at least held - revoking.
void FairShares::demand_of(int index) {
  const Accounts::Node& node = accounts_.node(index);
  Bytes demand = node.held + node.waiting;
  if (!node.is_lease) {
    demand = 0;
    for (const int child : node.children) {
      demand_of(child);
      demand += this->demand(child);
    }
    demand = std::max(std::min(demand, node.limit), node.held - node.revoking);
  }
  demands_[static_cast<std::size_t>(index)] = demand;
}

// First min(demand, guarantee) to each active child, the rest by weight until demands are met.
void FairShares::pour(int index) {
  Bytes left = of(index);
  std::vector<int> open;
  for (const int child : accounts_.node(index).children) {
    if (!accounts_.active(child)) {
      share(child) = accounts_.node(child).held;
      left -= share(child);
    } else {
      share(child) = std::min(demand(child), accounts_.node(child).guarantee);
      left -= share(child);
      if (demand(child) > share(child)) open.push_back(child);
    }
  }
  while (left > 0 && !open.empty()) {
    __int128 weights = 0;
    for (const int child : open) weights += accounts_.node(child).weight;
    // The first to be met takes what it lacks; if none is, all take their part and it is done.
    const auto part = [&](int child) {
      const auto weight = static_cast<__int128>(accounts_.node(child).weight);
      return static_cast<Bytes>(left * weight / weights);
    };
    Bytes taken = 0;
    std::vector<int> still;
    for (const int child : open) {
      if (demand(child) - share(child) > part(child)) {
        still.push_back(child);
        continue;
      }
      taken += demand(child) - share(child);
      share(child) = demand(child);
    }
    if (still.size() == open.size()) {
      for (const int child : open) share(child) += part(child);
      break;
    }
    left -= taken;
    open = still;
  }
  for (const int child : accounts_.node(index).children) {
    if (!accounts_.node(child).is_lease) pour(child);
  }
}

}  // namespace membroker::sim
