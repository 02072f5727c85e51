#include "client/cli/bar.h"

#include <algorithm>
#include <string_view>

#include "client/cli/text.h"

namespace membroker::cli {
namespace {

struct Glyph {
  std::string_view ascii;
  std::string_view unicode;
  Style style;
};

Glyph glyph(BarCell cell) {
  switch (cell) {
    case BarCell::kBeyond: return {" ", " ", Style::kPlain};
    case BarCell::kRoom: return {".", "░", Style::kDim};
    case BarCell::kHeld: return {"#", "█", Style::kGood};
    case BarCell::kRevoking: return {"<", "▓", Style::kWarn};
    case BarCell::kOverdue: return {"!", "▚", Style::kBad};
    case BarCell::kWaiting: return {"+", "▒", Style::kWait};
    case BarCell::kGuarantee: return {"|", "│", Style::kBold};
    case BarCell::kHeldGuarantee: return {"|", "▌", Style::kGood};
  }
  return {" ", " ", Style::kPlain};
}

}  // namespace

std::vector<BarCell> bar_cells(const BarFigures& figures, Bytes scale, std::size_t width) {
  std::vector<BarCell> cells(width, BarCell::kBeyond);
  if (width == 0 || scale <= 0) return cells;
  // Nearest cell boundary; a double is exact enough for a screen and cannot overflow.
  const auto at = [&](Bytes bytes) {
    const double share = static_cast<double>(std::clamp<Bytes>(bytes, 0, scale)) /
                         static_cast<double>(scale) * static_cast<double>(width);
    const auto cell = static_cast<std::size_t>(share + 0.5);
    return bytes > 0 && cell == 0 ? std::size_t{1} : cell;
  };
  const auto fill = [&](std::size_t from, std::size_t to, BarCell cell) {
    for (std::size_t i = from; i < std::min(to, width); ++i) cells[i] = cell;
  };
  // The tail of [0, end) that stands for `part`, at least one cell where there is any.
  const auto tail = [&](std::size_t end, Bytes part) {
    const std::size_t size = part > 0 ? std::max<std::size_t>(at(part), 1) : 0;
    return end - std::min(end, size);
  };
  const std::size_t held = at(figures.held);
  fill(0, at(figures.limit), BarCell::kRoom);
  fill(0, held, BarCell::kHeld);
  const std::size_t late_from = tail(held, figures.overdue);
  fill(late_from, held, BarCell::kOverdue);
  fill(tail(late_from, figures.revoking), late_from, BarCell::kRevoking);
  if (figures.waiting > 0) {
    const std::size_t size = std::max<std::size_t>(at(figures.waiting), 1);
    fill(held, held + size, BarCell::kWaiting);
  }
  if (figures.guarantee > 0) {
    BarCell& mark = cells[std::min(at(figures.guarantee), width) - 1];
    if (mark == BarCell::kRoom || mark == BarCell::kBeyond) mark = BarCell::kGuarantee;
    if (mark == BarCell::kHeld) mark = BarCell::kHeldGuarantee;
  }
  return cells;
}

std::string draw(const std::vector<BarCell>& cells, bool unicode, bool colour) {
  std::string text;
  for (std::size_t i = 0; i < cells.size();) {
    std::string run;
    const BarCell cell = cells[i];
    const Glyph shown = glyph(cell);
    for (; i < cells.size() && cells[i] == cell; ++i) run += unicode ? shown.unicode : shown.ascii;
    text += paint(run, shown.style, colour);
  }
  return text;
}

std::string bar_legend(bool unicode, bool colour) {
  const auto item = [&](BarCell cell, const char* word) {
    return draw({cell}, unicode, colour) + " " + word;
  };
  return item(BarCell::kHeld, "held") + "  " + item(BarCell::kRevoking, "revoking") + "  " +
         item(BarCell::kOverdue, "overdue") + "  " + item(BarCell::kWaiting, "waiting") + "  " +
         item(BarCell::kGuarantee, "guarantee") + "  " + item(BarCell::kRoom, "up to the limit");
}

}  // namespace membroker::cli
