#pragma once

#include <cstdint>

#include "server/arbiter/arbiter.h"
#include "server/arbiter/policy.h"
#include "server/arbiter/tree.h"

/// \file
/// What the parts of the arbiter share while one event is applied.

namespace membroker::arbiter {

struct EarliestRequest {
  template <class Entry>
  static bool before(const Entry& a, const Entry& b) {
    return a.key != b.key ? a.key < b.key : a.item->arrival < b.item->arrival;
  }
  static std::uint32_t& place(Request& request) { return request.timer_place; }
};
struct EarliestLease {
  template <class Entry>
  static bool before(const Entry& a, const Entry& b) {
    return a.key != b.key ? a.key < b.key : name_before(*a.item, *b.item);
  }
  static std::uint32_t& place(Lease& lease) { return lease.timer_place; }
};

struct Core {
  Core(Bytes capacity, const ArbiterOptions& chosen)
      : options(chosen), policy(policy_of(chosen.policy)), tree(capacity) {}

  ArbiterOptions options;
  const Policy& policy;
  Tree tree;
  Instant now;
  Effects* effects = nullptr;
  Instant progress_at;  // the last grant or credit
  bool draining = false;
  IndexedHeap<Lease, EarliestLease> lease_timers;
  IndexedHeap<Request, EarliestRequest> request_timers;

  template <class Kind>
  void emit(Kind effect) {
    effects->emplace_back(std::move(effect));
  }
};

/// A child of the node on the path down to `tenant`, or the lease itself if the node is its tenant.
inline const Account& side_of(const Tenant& node, const Lease& lease) {
  const Account* side = &lease;
  while (side->parent != &node) side = side->parent;
  return *side;
}

}  // namespace membroker::arbiter
