#include "client/memory/holders.h"

#include <algorithm>
#include <utility>

namespace membroker::detail {

Bytes add_holders(const std::shared_ptr<ConsumerState>& consumer, const std::string& within,
                  std::vector<PoolHolder>& holders) {
  const Bytes used = consumer->used();
  Bytes inside = 0;
  if (const auto pool = consumer->inner.lock()) {
    inside =
        pool->add_holders(within.empty() ? consumer->name : within + "/" + consumer->name, holders);
  }
  if (used > inside) {
    // A nested pool's own bytes are retained or lent: nobody's to spill.
    const bool can_spill = consumer->can_spill.load() && !consumer->stands_for_pool;
    holders.push_back({consumer->name, consumer->id, used - inside, can_spill, within});
  }
  return used;
}

Bytes add_holders(const std::vector<std::shared_ptr<ConsumerState>>& consumers,
                  const std::string& within, std::vector<PoolHolder>& holders) {
  Bytes sum = 0;
  for (const auto& consumer : consumers) sum += add_holders(consumer, within, holders);
  return sum;
}

void add_unnamed(const std::string& name, Bytes bytes, std::vector<PoolHolder>& holders) {
  if (bytes > 0) holders.push_back({name, 0, bytes, false, {}});
}

std::vector<PoolHolder> in_order(std::vector<PoolHolder> holders) {
  std::stable_sort(holders.begin(), holders.end(),
                   [](const auto& a, const auto& b) { return a.held_bytes > b.held_bytes; });
  return holders;
}

}  // namespace membroker::detail
