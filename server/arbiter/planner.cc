#include "server/arbiter/planner.h"

#include <algorithm>

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
  for (std::int32_t i = 0; i < core_.options.scan; ++i) {
    Request* request = queue_.first();
    if (request == nullptr) break;
    if (serve(*request)) {
      answered = true;
    } else {
      served.push_back(request);
      queue_.hide(*request);
    }
  }
  for (Request* request : served) {
    if (request->got > 0) core_.tree.promise(*request->lease, -request->got);
    request->got = 0;
  }
  queue_.unhide_all();
  return answered;
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

bool Planner::serve(Request& request) {
  Lease& lease = *request.lease;
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
    const Bytes has = lease.slack + lease.reclaimable;
    queue_.deny(request, DenyReason::kSelfSpill, Hint::kSpill,
                std::min(request.min - room.bytes, has));
    return true;
  }
  if (revocations_.send()) return false;
  const bool head = request.head_in == queue_.pump_number();
  const Room room = core_.tree.room(*lease.parent);
  if (!head || room.tight->revoking > 0 || room.bytes < request.min) return false;
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

// What the node has or will have free for further waiters.
Bytes Planner::left(const Tenant& node, const Tenant* child) const {
  return Tree::term(node, child) + node.revoking - node.planned;
}

void Planner::promise(Request& request) {
  Bytes least = request.want - request.got;
  const Tenant* child = nullptr;
  for (const Tenant* node = request.lease->parent; node != nullptr;
       child = node, node = node->parent) {
    least = std::min(least, left(*node, child));
  }
  if (least <= 0) return;
  request.got += least;
  core_.tree.promise(*request.lease, least);
}

Bytes Planner::short_at(const Tenant& node, const Request& request) const {
  Bytes usable = request.want - request.got;
  const Tenant* child = nullptr;
  for (const Tenant* at = request.lease->parent; at != &node; child = at, at = at->parent) {
    usable = std::min(usable, left(*at, child));
  }
  return usable - left(node, child);
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
    const Bytes beyond = -fair_move(victim, taxed, asker.as_asker());
    if (beyond < core_.tree.chunk()) continue;
    revocations_.take_back(*lease, std::min(lease->asked_now, beyond));
    Bytes least = 0;
    const Tenant* child = nullptr;
    for (const Tenant* at = request.lease->parent; at != nullptr; child = at, at = at->parent) {
      least = std::min(least, left(*at, child));
    }
    const Bytes lost = std::min(-least, request.got);
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
        fair = fair_move(victim, victim.surplus, side.as_asker()) >= core_.tree.chunk();
        return !fair && sibling.planned > 0;
      });
      if (fair) return false;
    }
    if (node == room.tight) return true;
  }
}

}  // namespace membroker::arbiter
