#include "tests/sim/held_chart.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "shared/format.h"

namespace membroker::sim {

namespace {

constexpr double kWidth = 960;
constexpr double kHeight = 480;
constexpr double kLeft = 84;
constexpr double kRight = 24;
constexpr double kTop = 84;
constexpr double kBottom = 56;
constexpr double kPlotWidth = kWidth - kLeft - kRight;
constexpr double kPlotHeight = kHeight - kTop - kBottom;

// Okabe and Ito's, told apart with any colour vision, on white as on black.
constexpr std::array<const char*, 8> kColours = {"#0072b2", "#e69f00", "#009e73", "#cc79a7",
                                                 "#56b4e9", "#d55e00", "#f0e442", "#999999"};

constexpr const char* kStyle = R"(<style>
  svg { color: #1c1f23; font: 13px system-ui, "DejaVu Sans", sans-serif }
  text { fill: currentColor }
  .page { fill: #ffffff }
  .title { font-size: 16px; font-weight: 600 }
  .faint { opacity: 0.75 }
  .grid { stroke: currentColor; stroke-opacity: 0.15 }
  .axis { stroke: currentColor; stroke-opacity: 0.6 }
  .limit { stroke: currentColor; stroke-dasharray: 6 4 }
  .area { fill-opacity: 0.85 }
  @media (prefers-color-scheme: dark) {
    svg { color: #e4e6ea }
    .page { fill: #16181c }
  }
</style>
)";

std::string escaped(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    if (c == '<') {
      safe += "&lt;";
    } else if (c == '>') {
      safe += "&gt;";
    } else if (c == '&') {
      safe += "&amp;";
    } else {
      safe += c;
    }
  }
  return safe;
}

// The largest of the steps that is at least four times in the whole.
template <std::size_t kCount>
std::int64_t step_of(std::int64_t whole, const std::array<std::int64_t, kCount>& steps) {
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    if (whole / *step >= 4) return *step;
  }
  return steps.front();
}

std::int64_t byte_step(Bytes whole) {
  Bytes step = kKiB;
  while (whole / step > 5) step *= 2;
  return step;
}

std::string time_label(Millis at, Millis step) {
  if (step < 1'000) return strf("%.1f s", static_cast<double>(at) / 1'000);
  if (step < 60'000) {
    const long long seconds = at / 1'000;
    return strf("%lld:%02lld", seconds / 60, seconds % 60);
  }
  return strf("%lld min", static_cast<long long>(at / 60'000));
}

// "256 MiB", not "256.0 MiB".
std::string byte_label(Bytes bytes) {
  std::string text = format_bytes(bytes);
  const std::size_t zero = text.find(".0 ");
  if (zero != std::string::npos) text.erase(zero, 2);
  return text;
}

class Drawing {
 public:
  Drawing(const HeldChart& chart, const std::vector<HeldSample>& history)
      : chart_(chart), history_(history) {
    last_ = std::max<Millis>(1'000, history.empty() ? 0 : history.back().at.ms);
    top_ = chart.capacity + chart.capacity / 20;
  }

  std::string draw() {
    text_ = strf(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" "
        "height=\"%.0f\" role=\"img\">\n",
        kWidth, kHeight, kWidth, kHeight);
    text_ += "<title>" + escaped(chart_.title) + "</title>\n" + kStyle;
    text_ += strf("<rect class=\"page\" width=\"%.0f\" height=\"%.0f\"/>\n", kWidth, kHeight);
    text_ += strf("<text class=\"title\" x=\"%.0f\" y=\"28\">%s</text>\n", kLeft,
                  escaped("Memory held by each tenant: " + chart_.title).c_str());
    legend();
    areas();
    byte_axis();
    time_axis();
    const double limit = y(chart_.capacity);
    line("limit", {kLeft, limit, kLeft + kPlotWidth, limit});
    label(kLeft + kPlotWidth, limit - 5, "end", "capacity " + byte_label(chart_.capacity));
    return text_ + "</svg>\n";
  }

 private:
  struct Line {
    double x1, y1, x2, y2;
  };

  double x(Millis at) const {
    return kLeft + kPlotWidth * static_cast<double>(at) / static_cast<double>(last_);
  }
  double y(Bytes bytes) const {
    return kTop + kPlotHeight * (1 - static_cast<double>(bytes) / static_cast<double>(top_));
  }
  void line(const char* kind, const Line& at) {
    text_ += strf("<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", kind,
                  at.x1, at.y1, at.x2, at.y2);
  }
  void label(double left, double base, const char* anchor, const std::string& words) {
    text_ += strf("<text class=\"faint\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n",
                  left, base, anchor, escaped(words).c_str());
  }
  void legend();
  void areas();
  void byte_axis();
  void time_axis();

  const HeldChart& chart_;
  const std::vector<HeldSample>& history_;
  Millis last_ = 0;
  Bytes top_ = 0;
  std::string text_;
};

void Drawing::legend() {
  double left = kLeft;
  for (std::size_t i = 0; i < chart_.tenants.size(); ++i) {
    text_ += strf("<rect x=\"%.1f\" y=\"44\" width=\"12\" height=\"12\" rx=\"2\" fill=\"%s\"/>\n",
                  left, kColours[i % kColours.size()]);
    text_ += strf("<text x=\"%.1f\" y=\"55\">%s</text>\n", left + 18,
                  escaped(chart_.tenants[i]).c_str());
    left += 42 + 8 * static_cast<double>(chart_.tenants[i].size());
  }
}

// At most two points to a pixel: of the samples of a column the last.
void Drawing::areas() {
  const std::size_t stride = std::max<std::size_t>(1, history_.size() / 1'600);
  for (std::size_t tenant = chart_.tenants.size(); tenant-- > 0;) {
    std::string upper;
    for (std::size_t i = 0; i < history_.size(); i += stride) {
      const auto& held = history_[i].held;
      const auto end = held.begin() + static_cast<std::ptrdiff_t>(tenant) + 1;
      const Bytes sum = std::accumulate(held.begin(), end, Bytes{0});
      upper += strf("L%.1f %.1f", x(history_[i].at.ms), y(sum));
    }
    text_ += strf("<path class=\"area\" fill=\"%s\" d=\"M%.1f %.1f%sL%.1f %.1fZ\"/>\n",
                  kColours[tenant % kColours.size()], x(0), y(0), upper.c_str(), x(last_), y(0));
  }
}

void Drawing::byte_axis() {
  const Bytes step = byte_step(chart_.capacity);
  for (Bytes at = 0; at <= chart_.capacity; at += step) {
    line(at == 0 ? "axis" : "grid", {kLeft, y(at), kLeft + kPlotWidth, y(at)});
    label(kLeft - 8, y(at) + 4, "end", byte_label(at));
  }
  line("axis", {kLeft, y(0), kLeft, kTop});
}

void Drawing::time_axis() {
  constexpr std::array<std::int64_t, 14> kSteps = {200,     500,     1'000,     2'000,    5'000,
                                                   10'000,  20'000,  30'000,    60'000,   120'000,
                                                   300'000, 600'000, 1'800'000, 3'600'000};
  const Millis step = step_of(last_, kSteps);
  for (Millis at = 0; at <= last_; at += step) {
    line("axis", {x(at), y(0), x(at), y(0) + 5});
    label(x(at), y(0) + 21, "middle", time_label(at, step));
  }
  label(kLeft + kPlotWidth, kHeight - 12, "end",
        step < 60'000 && step >= 1'000 ? "time (min:s)" : "time");
}

}  // namespace

std::string HeldChart::svg(const std::vector<HeldSample>& history) const {
  return Drawing(*this, history).draw();
}

}  // namespace membroker::sim
