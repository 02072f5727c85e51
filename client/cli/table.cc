#include "client/cli/table.h"

#include <algorithm>

#include "shared/check.h"

namespace membroker::cli {
namespace {

constexpr std::size_t kGap = 2;

std::size_t total(const std::vector<std::size_t>& widths) {
  std::size_t sum = 0;
  for (const std::size_t width : widths) sum += width + kGap;
  return sum == 0 ? 0 : sum - kGap;
}

}  // namespace

void Table::add(std::vector<Cell> cells) {
  MB_CHECK(cells.size() == columns_.size());
  for (Cell& cell : cells) {
    if (cell.drawn) continue;
    cell.text = clean(cell.text);
    cell.width = columns(cell.text);
  }
  rows_.push_back(std::move(cells));
}

std::vector<std::size_t> Table::natural_widths() const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t width = columns(columns_[i].title);
    for (const auto& row : rows_) width = std::max(width, row[i].width);
    widths.push_back(width);
  }
  return widths;
}

std::size_t Table::natural_width() const { return total(natural_widths()); }

Table::Layout Table::layout(std::size_t width) const {
  Layout layout;
  layout.widths = natural_widths();
  for (std::size_t i = 0; i < columns_.size(); ++i) layout.shown.push_back(i);
  const auto drop = [&](std::size_t i) {
    layout.shown.erase(layout.shown.begin() + static_cast<std::ptrdiff_t>(i));
    layout.widths.erase(layout.widths.begin() + static_cast<std::ptrdiff_t>(i));
  };
  for (std::size_t i = columns_.size(); i-- > 0;) {
    const bool empty =
        std::all_of(rows_.begin(), rows_.end(), [&](const auto& row) { return row[i].width == 0; });
    if (columns_[i].optional && empty && !rows_.empty()) drop(i);
  }
  if (width == 0) return layout;
  const auto shrink_widest = [&] {
    std::size_t best = layout.shown.size();
    for (std::size_t i = 0; i < layout.shown.size(); ++i) {
      const std::size_t least = columns_[layout.shown[i]].least;
      const bool can = least > 0 && layout.widths[i] > least;
      if (can && (best == layout.shown.size() || layout.widths[i] > layout.widths[best])) best = i;
    }
    if (best == layout.shown.size()) return false;
    --layout.widths[best];
    return true;
  };
  const auto drop_optional = [&] {
    for (std::size_t i = layout.shown.size(); i-- > 0;) {
      if (!columns_[layout.shown[i]].optional) continue;
      drop(i);
      return true;
    }
    return false;
  };
  while (total(layout.widths) > width && (shrink_widest() || drop_optional())) {
  }
  return layout;
}

std::string Table::line(const Layout& layout, const std::vector<Cell>& cells, std::size_t width,
                        bool colour) const {
  std::string text;
  std::size_t at = 0;      // columns written
  std::size_t blanks = 0;  // columns owed before the next text
  for (std::size_t i = 0; i < layout.shown.size(); ++i) {
    const Cell& cell = cells[layout.shown[i]];
    const std::size_t cell_width = std::min(cell.width, layout.widths[i]);
    const std::size_t padding = layout.widths[i] - cell_width;
    if (columns_[layout.shown[i]].right) blanks += padding;
    const std::size_t room = width == 0 ? cell_width : width - std::min(width, at + blanks);
    const bool fits = room > 0 && (!cell.drawn || room >= cell.width);
    if (cell_width > 0 && fits) {
      const std::size_t used = std::min(cell_width, room);
      text.append(blanks, ' ');
      text += cell.drawn ? cell.text : paint(cut(cell.text, used), cell.style, colour);
      at += blanks + used;
      blanks = 0;
    }
    if (!columns_[layout.shown[i]].right) blanks += padding;
    blanks += kGap;
  }
  return text + "\n";
}

std::string Table::render(std::size_t width, bool colour) const {
  const Layout shown = layout(width);
  std::vector<Cell> header;
  for (const Column& column : columns_) {
    header.push_back({column.title, Style::kBold, false, columns(column.title)});
  }
  std::string text = line(shown, header, width, colour);
  for (const auto& row : rows_) text += line(shown, row, width, colour);
  return text;
}

}  // namespace membroker::cli
