#include "server/arbiter/breaker.h"

#include <algorithm>
#include <tuple>

#include "shared/check.h"

namespace membroker::arbiter {

namespace {

std::uint64_t began_waiting(const Lease& lease) {
  std::uint64_t first = UINT64_MAX;
  for (const auto& wait : lease.waits) first = std::min(first, wait->arrival);
  return first;
}

// The least to lose: session priority, tenant priority, then who has waited least.
bool rolls_back_before(const Lease& a, const Lease& b) {
  const auto key = [](const Lease& lease) {
    return std::tuple(lease.priority, lease.parent->priority);
  };
  if (key(a) != key(b)) return key(a) < key(b);
  return began_waiting(a) > began_waiting(b);
}

Lease* least_holder(const Tenant& node) {
  Lease* least = nullptr;
  const auto consider = [&](Lease* lease) {
    if (lease != nullptr && (least == nullptr || rolls_back_before(*lease, *least))) least = lease;
  };
  for (Lease* lease : node.leases) {
    if (lease->holders_waiting > 0) consider(lease);
  }
  for (const auto& [name, child] : node.tenants) {
    if (child->holders_waiting > 0) consider(least_holder(*child));
  }
  return least;
}

}  // namespace

bool Breaker::stuck(const Request& first, const Room& room) const {
  return core_.now - first.arrived >= kDeadlockAfter && room.bytes < first.min &&
         room.tight->revoking == 0 && room.tight->holders_waiting > 0 &&
         room.tight->holders == room.tight->holders_waiting;
}

void Breaker::run() {
  if (core_.tree.root().waiting_requests == 0) return;
  if (core_.now - core_.progress_at < kDeadlockAfter) return;
  if (core_.now - broke_at_ < kDeadlockAfter) return;
  const Request* first = queue_.first();
  if (first == nullptr) return;
  const Room room = core_.tree.room(*first->lease->parent);
  if (!stuck(*first, room)) return;
  Lease* lease = least_holder(*room.tight);
  MB_CHECK(lease != nullptr);
  const auto earliest =
      std::min_element(lease->waits.begin(), lease->waits.end(),
                       [](const auto& a, const auto& b) { return a->arrival < b->arrival; });
  queue_.deny(**earliest, DenyReason::kDeadlock, Hint::kRollback);
  broke_at_ = core_.now;
}

}  // namespace membroker::arbiter
