#include "client/lease/share_policy.h"

#include <algorithm>

namespace membroker::lease {

Bytes GreedyPolicy::share(const ShardAccount&, const BookSums&, Bytes) const { return kBytesMax; }
bool GreedyPolicy::moves_shares(const ShardAccount&) const { return false; }

Bytes FairSpillPolicy::share(const ShardAccount& account, const BookSums& sums, Bytes size) const {
  if (!account.can_spill) return kBytesMax;
  const std::size_t active = sums.spillable_active + (account.charged > 0 ? 0 : 1);
  return std::max<Bytes>(0, size - sums.unspillable) / static_cast<Bytes>(active);
}

bool FairSpillPolicy::moves_shares(const ShardAccount& account) const {
  return !account.can_spill || account.charged == 0;
}

}  // namespace membroker::lease
