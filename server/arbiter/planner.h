#pragma once

#include <optional>
#include <vector>

#include "server/arbiter/queue.h"
#include "server/arbiter/revocations.h"

/// \file
/// Who is asked for bytes that are not free (section 4).

namespace membroker::arbiter {

class Planner {
 public:
  Planner(Core& core, Queue& queue, Revocations& revocations)
      : core_(core), queue_(queue), revocations_(revocations) {}

  /// Asks for debts, excess and the first waiters; true if a waiter was answered. Does nothing if
  /// nothing has changed since the last settle.
  bool run();
  /// Called at the end of a settle: what is stuck is not looked at again until it may have changed.
  void settled();

 private:
  struct Victim {
    Lease* lease = nullptr;
    Bytes most = 0;  // by fairness and by the guarantees above it
  };
  struct Seek {
    const Request& request;
    Stage stage;
    Bytes least;  // a side that may lose less is left alone
  };

  void ask_debts();
  void ask_excess();
  void ask_below(const Tenant& node, Bytes need, RevokeReason reason);
  bool serve(Request& request, bool last);
  const Tenant& stuck_at(const Request& request) const;
  bool grant_if_stuck(Request& request);
  void ask_for(Request& request, bool below_guarantee);
  void promise(Request& request);
  void take_back(Request& request);
  Bytes least_left(const Request& request) const;
  static Bytes left(const Climb& at);
  Bytes short_at(const Tenant& node, const Request& request) const;
  Victim find_victim(const Tenant& node, const Seek& seek) const;
  Victim descend(const Account& from, Stage stage, Bytes most) const;
  const Account* best_claimable(const Tenant& node, Stage stage) const;
  bool better_victim(const Account& a, const Account* b, const Tenant& node, Stage stage) const;
  const Account* best_sibling(const Tenant& node, const Account& side, const Seek& seek,
                              Bytes* most) const;
  bool must_spill_itself(const Request& request, const Room& room) const;

  Core& core_;
  Queue& queue_;
  Revocations& revocations_;
  std::uint64_t seen_ = UINT64_MAX;     // the tree's version when it was last settled
  std::uint64_t planned_ = UINT64_MAX;  // and when the last plan was made
  std::vector<Tenant*> stuck_;
};

/// Is a node on the path below its guarantee?
bool below_guarantee(const Tenant& tenant);

}  // namespace membroker::arbiter
