#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "server/arbiter/arbiter.h"

/// \file
/// The account tree at one instant, and the definitions of section 1 by walks over it, with none of
/// the core's own code.

namespace membroker::sim {

/// A copy of the figures that an arbiter shows. Leases' figures can be changed, so that a step can
/// be undone effect by effect and each effect looked at in the state it was made in.
class Accounts {
 public:
  explicit Accounts(const arbiter::Arbiter& arbiter);

  struct Node {
    int parent = -1;
    bool is_lease = false;
    bool reserved = false;
    SessionId session;
    std::int32_t weight = 1;
    std::int32_t priority = 0;
    Bytes guarantee = 0;
    Bytes limit = 0;
    Bytes held = 0;
    Bytes revoking = 0;
    Bytes overdue = 0;
    Bytes debt = 0;
    Bytes waiting = 0;
    Bytes floor = 0;
    Bytes slack = 0;        // of a lease
    Bytes reclaimable = 0;  // of a lease
    Bytes idle = 0;
    std::vector<int> children;

    Bytes keeps() const { return held - revoking + overdue; }
    /// Above its guarantee, or negative. No plan is under way, so nothing is promised.
    Bytes surplus() const { return keeps() - guarantee; }
  };
  struct Change {
    Bytes held = 0;
    Bytes revoking = 0;
    Bytes debt = 0;
    Bytes waiting = 0;
  };
  struct Room {
    Bytes bytes = 0;
    int tight = 0;  // the lowest node where it is so
  };
  /// The lowest node above both, and its children on the way to each.
  struct Sides {
    int common = 0;
    int first = 0;
    int second = 0;
  };
  struct Average {
    Bytes surplus = 0;
    Bytes weight = 0;
  };

  const Node& node(int index) const { return nodes_[static_cast<std::size_t>(index)]; }
  int size() const { return static_cast<int>(nodes_.size()); }
  int tenant(const std::string& path) const { return tenants_.at(path); }
  /// -1 if there is none.
  int lease(SessionId session) const;
  const std::map<SessionId, int>& leases() const { return leases_; }
  /// From the node up to the root, both included.
  std::vector<int> path(int index) const;
  bool is_above(int node, int index) const;
  Sides sides(int first, int second) const;

  /// What the views do not show of a lease.
  void describe(int lease, std::int32_t priority, Bytes idle);
  void add(int lease, const Change& change);

  /// From the lease's tenant up: what each node has free for it, less what is held and what must be
  /// kept free for guarantees off the path, there or below.
  std::vector<Room> free(int lease) const;
  /// The least of those.
  Room room(int lease) const;
  /// The most the lease can get in all.
  Bytes attainable(int lease) const;
  /// Of what debts took above the limits, what fits.
  Bytes cover_room(int lease) const;
  /// Is a tenant above it below its guarantee?
  bool below_guarantee(int lease) const;
  bool active(int index) const;
  Average average(int node) const;
  /// What can be asked of the lease: unused bytes, or all it can give.
  Bytes slack_claim(int lease) const;
  Bytes claim(int lease) const;

 private:
  Node& at(int index) { return nodes_[static_cast<std::size_t>(index)]; }
  void note_holds() const;

  std::vector<Node> nodes_;  // parents before children
  std::map<SessionId, int> leases_;
  std::map<std::string, int> tenants_;
  mutable std::vector<Bytes> holds_;  // by node; empty: not known
};

}  // namespace membroker::sim
