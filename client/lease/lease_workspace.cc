#include <algorithm>
#include <utility>

#include "client/lease/lease_cache.h"
#include "client/lease/lease_turn.h"
#include "shared/check.h"

/// \file
/// The spill workspace of a client that was lent no floor, because others held everything when it
/// came. It is asked for as other memory is, before any caller's request, and kept: a client that
/// cannot spill could not give back what it borrows.

namespace membroker::lease {
namespace {

constexpr Millis kWorkspaceWait = 30'000;
constexpr Millis kAskAgain = 1'000;

/// No waiting will change it: less than the least workspace is all there can ever be.
bool is_forever(const Error& error) {
  const Denial* denial = error.denial();
  if (denial == nullptr) return false;
  return denial->hint == DenialHint::kSmaller || denial->hint == DenialHint::kNone;
}

}  // namespace

Bytes LeaseCache::workspace_min() const { return std::min(options_.workspace, kWorkspaceMin); }

// What the first stream lends decides: a floor has room for the workspace.
void LeaseCache::decide_workspace(Bytes floor) {
  if (ever_attached_ || workspace_.alone) return;
  workspace_.wanted = options_.workspace > 0 && floor <= 0;
}

bool LeaseCache::serve_workspace(Turn& turn) {
  if (closed_) return drop_workspace();
  if (!workspace_.wanted) return false;
  const bool answered = fetch_workspace_answer();
  const Bytes given = std::min(options_.workspace - workspace_.held, state_.free() + room_beyond());
  claim(given);
  workspace_.held += given;
  const bool enough = workspace_.held >= workspace_min();
  const bool hopeless = answered && workspace_.denied && is_forever(*workspace_.denied);
  if (workspace_.held == options_.workspace || hopeless || (enough && !workspace_.request)) {
    end_workspace(turn);
    return true;
  }
  if (attached_ && !workspace_.request && now() >= workspace_.ask_again) {
    const Bytes least = std::max<Bytes>(1, workspace_min() - workspace_.held);
    const LeaseRequest request =
        open(least, options_.workspace - workspace_.held, now() + kWorkspaceWait, turn);
    workspace_.request = request.id;
    turn.acquires.push_back(request);
  }
  return given > 0;
}

bool LeaseCache::fetch_workspace_answer() {
  if (!workspace_.request) return false;
  const LeaseState::OpenRequest* open = state_.find(workspace_.request);
  if (open == nullptr || !open->answered) return false;
  workspace_.denied = open->denied;
  state_.close_request(std::exchange(workspace_.request, {}));
  if (workspace_.denied) {
    const Denial* denial = workspace_.denied->denial();
    workspace_.ask_again =
        now() + std::max<Millis>(kAskAgain, denial == nullptr ? 0 : denial->retry_after_ms);
  }
  return true;
}

// The callers' turn: their requests were opened, but not sent.
void LeaseCache::end_workspace(Turn& turn) {
  workspace_.wanted = false;
  turn.notify = true;
  const RequestId rest = std::exchange(workspace_.request, {});
  if (rest) {
    turn.cancels.push_back(rest);
    state_.close_request(rest);
  }
  state_.forget_unowned(standing_);  // given up before they were sent
  if (!attached_) return;
  for (const LeaseRequest& request : state_.unanswered(now())) {
    if (request.id != rest) turn.acquires.push_back(request);
  }
}

bool LeaseCache::drop_workspace() {
  workspace_.wanted = false;
  if (workspace_.request) state_.close_request(std::exchange(workspace_.request, {}));
  state_.unreserve(workspace_.held);
  return std::exchange(workspace_.held, 0) > 0;
}

WorkspaceStep LeaseCache::poll_workspace(LeaseShard& shard) {
  Turn turn(*this);
  settle(turn);
  WorkspaceStep step;
  if (closed_) {
    step.refusal = closed_;
  } else if (final_ && !ever_attached_) {
    step.refusal = final_;
  } else if (workspace_.wanted || (options_.borrows && !ever_attached_ && !alone())) {
    step.wait = true;
    step.why = final_ ? final_ : away_ ? away_ : workspace_.denied;
  } else if (workspace_.held > 0) {
    step.granted = std::exchange(workspace_.held, 0);
    state_.unreserve(book_.drain(shard) + step.granted);
    MB_CHECK(state_.reserve(step.granted));
    book_.grow(shard, step.granted, 0);
  } else {
    const Bytes floor = state_.floor();
    workspace_.alone = workspace_.alone || !ever_attached_;
    step.to_acquire = floor > 0 ? std::min(options_.workspace, floor) : options_.workspace;
  }
  return step;
}

}  // namespace membroker::lease
