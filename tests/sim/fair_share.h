#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "server/arbiter/arbiter.h"

/// \file
/// The fair share F of section 1 by its definition: a share is poured from the root down. Slow, and
/// nothing like the arbiter's own way, which only compares levels.

namespace membroker::sim {

/// A snapshot of the account tree with each node's fair share.
class FairShares {
 public:
  /// A lease's demand is what it holds and waits for, unless `demands` says otherwise.
  explicit FairShares(const arbiter::Arbiter& arbiter,
                      const std::map<SessionId, Bytes>& demands = {});

  struct Node {
    int parent = -1;
    bool is_lease = false;
    bool reserved = false;
    std::int32_t weight = 1;
    Bytes guarantee = 0;
    Bytes limit = 0;
    Bytes held = 0;
    Bytes revoking = 0;
    Bytes overdue = 0;
    Bytes debt = 0;
    Bytes waiting = 0;
    Bytes floor = 0;
    Bytes idle_most = 0;  // an upper bound of its idle bytes
    bool active = false;
    Bytes demand = 0;
    Bytes share = 0;  // F
    std::vector<int> children;

    Bytes keeps() const { return held - revoking + overdue; }
  };

  const Node& node(int index) const { return nodes_[static_cast<std::size_t>(index)]; }
  int root() const { return 0; }
  int tenant(const std::string& path) const { return tenants_.at(path); }
  /// -1 if there is none.
  int lease(SessionId session) const;
  const std::map<SessionId, int>& leases() const { return leases_; }
  /// From the node up to the root, both included.
  std::vector<int> path(int index) const;

 private:
  Node& at(int index) { return nodes_[static_cast<std::size_t>(index)]; }
  void demand_of(int index);
  void pour(int index);

  std::vector<Node> nodes_;
  std::map<SessionId, int> leases_;
  std::map<std::string, int> tenants_;
};

}  // namespace membroker::sim
