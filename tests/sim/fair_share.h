#pragma once

#include <cstddef>
#include <vector>

#include "tests/sim/accounts.h"

/// \file
/// The fair share F of section 1 by its definition: a share is poured from the root down. Slow, and
/// nothing like the arbiter's own way, which only compares levels.

namespace membroker::sim {

/// Each node's fair share of the accounts, as they are now.
class FairShares {
 public:
  explicit FairShares(const Accounts& accounts);

  /// F of the node.
  Bytes of(int node) const { return shares_[static_cast<std::size_t>(node)]; }

 private:
  Bytes& share(int node) { return shares_[static_cast<std::size_t>(node)]; }
  Bytes demand(int node) const { return demands_[static_cast<std::size_t>(node)]; }
  void demand_of(int node);
  void pour(int node);

  const Accounts& accounts_;
  std::vector<Bytes> demands_;
  std::vector<Bytes> shares_;
};

}  // namespace membroker::sim
