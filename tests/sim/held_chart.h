#pragma once

#include <string>
#include <vector>

#include "tests/sim/outcome.h"

/// \file
/// Held memory over time as stacked areas, one to a tenant, in an SVG that follows the reader's
/// light or dark theme.

namespace membroker::sim {

struct HeldChart {
  std::string title;
  Bytes capacity = 0;
  std::vector<std::string> tenants;

  std::string svg(const std::vector<HeldSample>& history) const;
};

}  // namespace membroker::sim
