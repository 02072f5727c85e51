#include "server/arbiter/pump.h"

#include <algorithm>
#include <vector>

#include "server/arbiter/scan.h"

namespace membroker::arbiter {

void Pump::run() {
  queue_.begin_pump();
  std::uint32_t position = 0;
  Scan scan(core_, queue_);
  while (Request* request = scan.next()) {
    request->seen_in = queue_.pump_number();
    request->position = position++;
    const Room room = core_.tree.room(*request->lease->parent);
    if (!try_grant(*request, room)) scan.put_by(*request, *room.tight);
  }
}

bool Pump::try_grant(Request& request, const Room& room) {
  if (room.bytes >= request.want && queue_.may_pass(request)) {
    queue_.pass(request);
    queue_.grant(request, request.want);
    return true;
  }
  const bool was_head = request.was_head;
  request.was_head = false;
  if (queue_.behind_head(request)) return false;
  if (room.bytes >= std::max(request.min, std::min(request.want, core_.tree.chunk()))) {
    queue_.grant(request, room.bytes);
    return true;
  }
  become_head(request, room, was_head);
  return false;
}

// While its room neither grows nor can be expected to, nobody gains from the earmark.
void Pump::become_head(Request& request, const Room& room, bool was_head) {
  const bool moving = room.bytes > request.last_room || room.tight->revoking > 0;
  if (!was_head || moving) request.stalled_since = core_.now;
  if (core_.now - request.stalled_since >= kHeadStall && request.passes_left == 0) {
    request.passes_left = kPassesPerHead;
    request.stalled_since = core_.now;
  }
  request.last_room = room.bytes;
  request.was_head = true;
  queue_.heads().push_back({&request, room.tight});
}

// ---- debts ----

bool Pump::cover_debts() {
  bool covered = false;
  const std::vector<Lease*> debtors(core_.tree.debtors().begin(), core_.tree.debtors().end());
  for (Lease* lease : debtors) {
    const Bytes room = core_.tree.cover_room(*lease->parent).bytes;
    const Bytes bytes = std::min(lease->debt, room);
    if (bytes <= 0) continue;
    if (!core_.tree.all_shown()) {  // of those left out one may be a head by now
      core_.tree.show_all();
      return true;
    }
    const bool waits =
        std::any_of(queue_.heads().begin(), queue_.heads().end(), [&](const Head& head) {
          return on_path(*head.tight, *lease->parent) && !before_head(*lease, *head.request);
        });
    if (waits) continue;
    core_.tree.add(*lease, {.debt = -bytes});
    core_.emit(Covered{lease->session, bytes});
    covered = true;
  }
  return covered;
}

// By urgency at their common ancestor, with what the debtor's side is being asked for still
// counted: overdrawing never beats asking.
bool Pump::before_head(const Lease& debtor, const Request& head) const {
  const Lease& waiter = *head.lease;
  if (&debtor == &waiter) return false;
  const Tenant* node = debtor.parent;
  while (!on_path(*node, *waiter.parent)) node = node->parent;
  const Account& owes = side_of(*node, debtor);
  const Account& waits = side_of(*node, waiter);
  Level owing = owes.level();
  owing.surplus += owes.revoking;
  const Average average = node->average();
  const Bytes chunk = core_.tree.chunk();
  return core_.policy.urgency(owing, average, chunk) <
         core_.policy.urgency(waits.level(), average, chunk);
}

}  // namespace membroker::arbiter
