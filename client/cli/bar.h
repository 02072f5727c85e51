#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "shared/bytes.h"

/// \file
/// The bar of a tenant or resource: what it holds, of that what is asked back, what it waits for,
/// against its guarantee and limit. Pure functions.

namespace membroker::cli {

struct BarFigures {
  Bytes held = 0;
  Bytes revoking = 0;  // part of held
  Bytes overdue = 0;   // part of held, asked back and late
  Bytes waiting = 0;   // beyond held
  Bytes guarantee = 0;
  Bytes limit = kBytesMax;
};

enum class BarCell {
  kBeyond,  // above the limit
  kRoom,    // below the limit, not held
  kHeld,
  kRevoking,
  kOverdue,
  kWaiting,
  kGuarantee,      // the guarantee's mark, over room
  kHeldGuarantee,  // the same, over held
};

/// `width` cells for 0..scale bytes. What is not zero takes at least one cell of its kind, as far
/// as there are cells.
std::vector<BarCell> bar_cells(const BarFigures& figures, Bytes scale, std::size_t width);

/// One column per cell.
std::string draw(const std::vector<BarCell>& cells, bool unicode, bool colour);

/// What the glyphs mean, in one line.
std::string bar_legend(bool unicode, bool colour);

}  // namespace membroker::cli
