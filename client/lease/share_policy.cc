#include "client/lease/share_policy.h"

#include <algorithm>

namespace membroker::lease {

Bytes GreedyPolicy::share(const ShardAccount&, const BookSums&, Bytes) const { return kBytesMax; }
bool GreedyPolicy::moves_shares(const ShardAccount&) const { return false; }

Bytes FairSpillPolicy::share(const ShardAccount& account, const BookSums& sums, Bytes size) const {
  if (!account.can_spill) return kBytesMax;
  const std::size_t active = sums.spillable_active + (account.active() ? 0 : 1);
  return std::max<Bytes>(0, size - sums.unspillable) / static_cast<Bytes>(active);
}

bool FairSpillPolicy::moves_shares(const ShardAccount& account) const {
  return !account.can_spill || account.charged == 0;  // fewer bytes, or more to share them
}

namespace {

Bytes active_tasks(const TaskAccount& task, const BookSums& sums) {
  return static_cast<Bytes>(sums.tasks_active + (task.active() ? 0 : 1));
}

}  // namespace

Bytes TaskFairPolicy::share(const ShardAccount& account, const BookSums& sums, Bytes size) const {
  if (account.task == nullptr) return kBytesMax;
  const Bytes others_of_task = account.task->charged - account.charged;
  return std::max<Bytes>(0, size / active_tasks(*account.task, sums) - others_of_task);
}

Bytes TaskFairPolicy::guaranteed(const ShardAccount& account, const BookSums& sums,
                                 Bytes size) const {
  if (account.task == nullptr) return 0;
  const Bytes least = size / (2 * active_tasks(*account.task, sums));
  return std::max<Bytes>(0, least - account.task->charged);
}

bool TaskFairPolicy::moves_shares(const ShardAccount& account) const {
  return account.task != nullptr && account.task->charged == 0;
}

}  // namespace membroker::lease
