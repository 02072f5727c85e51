#include "server/arbiter/planner.h"

#include <algorithm>

#include "server/arbiter/scan.h"

namespace membroker::arbiter {

bool below_guarantee(const Tenant& tenant) {
  for (const Tenant* node = &tenant; node->parent != nullptr; node = node->parent) {
    if (node->held < node->guarantee) return true;
  }
  return false;
}

bool Planner::run() {
  if (seen_ == core_.tree.version()) return false;
  ask_debts();
  ask_excess();
  revocations_.send();
  bool answered = false;
  std::vector<Request*> served;
  Scan scan(core_, queue_);
  while (Request* request = scan.next()) {
    if (serve(*request, queue_.at_last())) {
      answered = true;
      continue;
    }
    served.push_back(request);
    scan.put_by(*request, stuck_at(*request));
  }
  stuck_ = scan.settled();
  for (Request* request : served) {
    if (request->got > 0) core_.tree.promise(*request->lease, -request->got);
    request->got = 0;
  }
  planned_ = core_.tree.version();
  return answered;
}

// Where what it lacks would have to come from; the root if it was promised something.
const Tenant& Planner::stuck_at(const Request& request) const {
  const Tenant* lowest = &core_.tree.root();
  if (request.got > 0) return *lowest;
  Bytes least = request.min;
  for (Climb at(*request.lease->parent); at.node != nullptr; at.up()) {
    const Bytes here = left(at);
    if (here < least) {
      least = here;
      lowest = at.node;
    }
  }
  return *lowest;
}

void Planner::settled() {
  if (planned_ == core_.tree.version()) {
    for (Tenant* node : stuck_) core_.tree.set_aside(*node);
  }
  stuck_.clear();
  seen_ = core_.tree.version();
}

// ---- debts and excess ----

void Planner::ask_debts() {
  const std::vector<Lease*> debtors(core_.tree.debtors().begin(), core_.tree.debtors().end());
  for (Lease* lease : debtors) {
    const Bytes chunk = core_.tree.chunk();
    for (const Stage stage : {Stage::kSlack, Stage::kSpill}) {
      const Bytes least = stage == Stage::kSlack ? chunk / kSlackClaimDivisor : 1;
      const Bytes claim = lease->backing_off ? 0 : lease->claim(stage);
      const Bytes bytes = std::min(lease->debt - lease->revoking, claim);
      if (claim >= least && bytes > 0) revocations_.ask(*lease, bytes, RevokeReason::kDebt);
    }
    const Tenant& tenant = *lease->parent;
    ask_below(tenant, tenant.debt - tenant.revoking, RevokeReason::kDebt);
  }
}

void Planner::ask_excess() {
  const auto& over = core_.tree.over();
  const std::vector<Tenant*> nodes(over.begin(), over.end());
  for (const Tenant* node : nodes) {
    const bool root = node->parent == nullptr;
    ask_below(*node, node->held - node->revoking - node->limit,
              root ? RevokeReason::kCapacity : RevokeReason::kLimit);
  }
}

void Planner::ask_below(const Tenant& node, Bytes need, RevokeReason reason) {
  const Bytes chunk = core_.tree.chunk();
  for (const Stage stage : {Stage::kSlack, Stage::kSpill}) {
    while (need > 0) {
      const Account* side = best_claimable(node, stage);
      if (side == nullptr) break;
      const Victim victim = descend(*side, stage, kFigureMax);
      const Bytes slice = std::min(
          {std::max(chunk, need / kNeedDivisor), need, victim.most, victim.lease->claim(stage)});
      revocations_.ask(*victim.lease, slice, reason);
      need -= slice;
    }
  }
}

// ---- waiters ----

bool Planner::serve(Request& request, bool last) {
  Lease& lease = *request.lease;
  // What is promised to the last one concerns nobody after it.
  if (last && least_left(request) >= request.want) return grant_if_stuck(request);
  const bool below = below_guarantee(*lease.parent);
  promise(request);
  ask_for(request, below);
  if (!below) take_back(request);
  if (request.got < request.min) {
    revocations_.undo();
    core_.tree.promise(lease, -request.got);
    request.got = 0;
    const Room room = core_.tree.room(*lease.parent);
    if (below || !must_spill_itself(request, room)) return false;
    // What is promised to those before it is not there for it.
    const Bytes there = std::min(room.bytes, std::max(Bytes{0}, least_left(request)));
    const Bytes has = lease.slack + lease.reclaimable;
    queue_.deny(request, DenyReason::kSelfSpill, Hint::kSpill, std::min(request.min - there, has));
    return true;
  }
  return !revocations_.send() && grant_if_stuck(request);
}

// A head that has its min, for which nobody can be asked and nothing is coming, takes what there
// is.
bool Planner::grant_if_stuck(Request& request) {
  if (!queue_.is_head(request)) return false;
  const Room room = core_.tree.room(*request.lease->parent);
  if (room.tight->revoking > 0 || room.bytes < request.min) return false;
  queue_.grant(request, std::min(room.bytes, request.want));
  return true;
}

void Planner::ask_for(Request& request, bool below) {
  const Bytes chunk = core_.tree.chunk();
  const RevokeReason reason = below ? RevokeReason::kGuarantee : RevokeReason::kFairShare;
  for (const Stage stage : {Stage::kSlack, Stage::kSpill}) {
    for (const Tenant* node = request.lease->parent; node != nullptr; node = node->parent) {
      for (;;) {
        const Bytes missing = short_at(*node, request);
        if (missing <= 0) break;
        const Bytes least = below ? std::min(chunk, missing) : chunk;
        const Victim victim = find_victim(*node, {request, stage, least});
        if (victim.lease == nullptr) break;
        const Bytes step = std::max(chunk, request.want / kSliceDivisor);
        const Bytes slice = std::min(
            {std::max(chunk, std::min(step, missing)), victim.most, victim.lease->claim(stage)});
        revocations_.ask(*victim.lease, slice, reason);
        promise(request);
      }
    }
  }
}

// What the node has or will have free for further waiters. Bytes promised out of a reserved
// guarantee are kept free for it already.
Bytes Planner::left(const Climb& at) {
  return at.free() + at.node->revoking - at.node->planned + at.promised;
}

Bytes Planner::least_left(const Request& request) const {
  Bytes least = kUnlimited;
  for (Climb at(*request.lease->parent); at.node != nullptr; at.up()) {
    least = std::min(least, left(at));
  }
  return least;
}

void Planner::promise(Request& request) {
  const Bytes least = std::min(request.want - request.got, least_left(request));
  if (least <= 0) return;
  request.got += least;
  core_.tree.promise(*request.lease, least);
}

Bytes Planner::short_at(const Tenant& node, const Request& request) const {
  Bytes usable = request.want - request.got;
  Climb at(*request.lease->parent);
  for (; at.node != &node; at.up()) usable = std::min(usable, left(at));
  return usable - left(at);
}

// Of bytes taken early from a victim that by now is the lower side, those are given back.
void Planner::take_back(Request& request) {
  const std::vector<Lease*> asked = revocations_.asked();
  for (Lease* lease : asked) {
    const Tenant* node = request.lease->parent;
    while (!on_path(*node, *lease->parent)) node = node->parent;
    const Account& side = side_of(*node, *lease);
    const Account& asker = side_of(*node, *request.lease);
    const Side victim = side.as_victim();
    const Bytes taxed = victim.surplus + kIdleTax * side.idle;
    const Bytes beyond = -core_.policy.may_lose(victim, taxed, asker.as_asker());
    if (beyond < core_.tree.chunk()) continue;
    revocations_.take_back(*lease, std::min(lease->asked_now, beyond));
    const Bytes lost = std::min(std::max(Bytes{0}, -least_left(request)), request.got);
    request.got -= lost;
    core_.tree.promise(*request.lease, -lost);
  }
}

// Nobody beside its path could fairly lose a chunk to it: what it needs it must free itself.
bool Planner::must_spill_itself(const Request& request, const Room& room) const {
  const Lease& lease = *request.lease;
  if (lease.revoking > 0 || lease.slack + lease.reclaimable == 0) return false;
  for (const Tenant* node = lease.parent;; node = node->parent) {
    const Account& side = side_of(*node, lease);
    for (const auto& siblings : node->classes) {
      bool fair = false;
      siblings->active.walk([&](const auto& entry) {
        const Account& sibling = *entry.item;
        if (&sibling == &side) return true;
        const Side victim = sibling.as_victim();
        const Bytes most = core_.policy.may_lose(victim, victim.surplus, side.as_asker());
        fair = most >= core_.tree.chunk();
        return !fair && sibling.planned > 0;
      });
      if (fair) return false;
    }
    if (node == room.tight) return true;
  }
}

}  // namespace membroker::arbiter
