#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "client/cli/text.h"

/// \file
/// Aligned columns. Pure: the same rows and width give the same text.

namespace membroker::cli {

struct Column {
  std::string title;
  bool right = false;     // numbers
  std::size_t least = 0;  // may be cut down to this many columns; 0: never
  bool optional = false;  // may be left out: where the width does not suffice, or all is empty
};

struct Cell {
  std::string text;  // cleaned when rendered, unless `drawn`
  Style style = Style::kPlain;
  bool drawn = false;  // already painted; takes `width` columns, never cut
  std::size_t width = 0;
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  /// As many cells as columns.
  void add(std::vector<Cell> cells);
  std::size_t rows() const { return rows_.size(); }

  /// Header and rows, a line each, no trailing blanks. `width` 0: unlimited; else first the
  /// columns that may be cut shrink, then optional ones go, rightmost first, then lines are cut.
  std::string render(std::size_t width, bool colour) const;

  /// The width that nothing has to be cut for.
  std::size_t natural_width() const;

 private:
  struct Layout {
    std::vector<std::size_t> shown;   // column numbers, left to right
    std::vector<std::size_t> widths;  // of each shown column
  };
  std::vector<std::size_t> natural_widths() const;
  Layout layout(std::size_t width) const;
  std::string line(const Layout& layout, const std::vector<Cell>& cells, std::size_t width,
                   bool colour) const;

  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace membroker::cli
