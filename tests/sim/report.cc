#include "tests/sim/report.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

#include "shared/format.h"

namespace membroker::sim {

namespace {

std::string time_text(double ms) {
  if (ms < 1'000) return strf("%.0f ms", ms);
  if (ms < 120'000) return strf("%.1f s", ms / 1'000);
  return strf("%.1f min", ms / 60'000);
}

// The smallest value that at least `part` of them do not exceed; in thousandths.
double percentile(std::vector<Millis> values, std::size_t part) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t rank = (values.size() * part + 999) / 1'000;
  return static_cast<double>(values[std::max<std::size_t>(rank, 1) - 1]);
}

double ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }

class Figures {
 public:
  explicit Figures(const Outcome& outcome) : runs_(static_cast<double>(outcome.runs)) {}

  void count(const char* key, const char* label, std::int64_t sum) {
    const double mean = ratio(static_cast<double>(sum), runs_);
    add(key, label, mean, std::fmod(mean, 1) == 0 ? strf("%.0f", mean) : strf("%.1f", mean));
  }
  void time(const char* key, const char* label, double ms) { add(key, label, ms, time_text(ms)); }
  void share(const char* key, const char* label, double value) {
    add(key, label, value, strf("%.1f %%", 100 * value));
  }
  void index(const char* key, const char* label, double value) {
    add(key, label, value, strf("%.3f", value));
  }
  void bytes(const char* key, const char* label, double value) {
    add(key, label, std::floor(value), format_bytes(static_cast<Bytes>(value)));
  }
  double mean(double sum) const { return ratio(sum, runs_); }
  std::vector<Figure> take() { return std::move(figures_); }

 private:
  void add(const char* key, const char* label, double value, std::string text) {
    figures_.push_back({key, label, value, std::move(text)});
  }

  const double runs_;
  std::vector<Figure> figures_;
};

std::string json_text(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20) {
      quoted += strf("\\u%04x", byte);
      continue;
    }
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

}  // namespace

std::vector<Figure> figures_of(const Outcome& outcome, Bytes capacity) {
  Figures figures(outcome);
  const auto samples = static_cast<double>(outcome.samples);
  const auto contended = static_cast<double>(outcome.contended);
  const auto whole = samples * static_cast<double>(capacity);
  figures.count("jobs_ended", "jobs ended", outcome.ended);
  figures.count("jobs_crashed", "jobs crashed", outcome.crashed);
  figures.count("jobs_unfinished", "jobs unfinished", outcome.unfinished);
  figures.time("makespan_ms", "makespan", figures.mean(static_cast<double>(outcome.makespan)));
  figures.time("job_p50_ms", "job time, p50", percentile(outcome.job_times, 500));
  figures.time("job_p99_ms", "job time, p99", percentile(outcome.job_times, 990));
  figures.share("held", "utilisation: held", ratio(outcome.held, whole));
  figures.share("used", "utilisation: in use", ratio(outcome.used, whole));
  figures.share("used_of_wanted", "in use, of what is wanted", ratio(outcome.used, outcome.wanted));
  figures.share("contended", "time contended", ratio(contended, samples));
  figures.index("tenant_fairness", "Jain's index, tenants",
                outcome.contended > 0 ? outcome.tenant_fairness / contended : 1);
  figures.index("session_fairness", "Jain's index, sessions",
                outcome.contended > 0 ? outcome.session_fairness / contended : 1);
  figures.count("requests", "requests", std::ssize(outcome.waits));
  figures.time("wait_p50_ms", "wait, p50", percentile(outcome.waits, 500));
  figures.time("wait_p99_ms", "wait, p99", percentile(outcome.waits, 990));
  figures.time("wait_longest_ms", "wait, longest", percentile(outcome.waits, 1'000));
  figures.time("starved_longest_ms", "starved, longest",
               static_cast<double>(outcome.longest_starved));
  figures.count("denied_self_spill", "denied: spill yourself", outcome.denied_self_spill);
  figures.count("denied_deadline", "denied: deadline", outcome.denied_deadline);
  figures.count("denied_otherwise", "denied: other", outcome.denied_otherwise);
  figures.count("revocations", "revocations asked", outcome.revocations);
  figures.count("top_ups", "  topped up", outcome.top_ups);
  figures.count("withdrawn", "  withdrawn", outcome.withdrawn);
  figures.count("late", "  late", outcome.late);
  figures.bytes("spilled_bytes", "spilled", figures.mean(static_cast<double>(outcome.spilled)));
  figures.bytes("peak_held_bytes", "peak held", static_cast<double>(outcome.peak_held));
  return figures.take();
}

std::string table_text(const std::vector<Heading>& headings, const std::vector<Figure>& figures) {
  std::ostringstream out;
  const auto row = [&](const std::string& label, const std::string& value) {
    out << std::left << std::setw(26) << label << std::right << std::setw(14) << value << '\n';
  };
  for (const Heading& heading : headings) row(heading.key, heading.text);
  for (const Figure& figure : figures) row(figure.label, figure.text);
  return out.str();
}

std::string json_text(const std::vector<Heading>& headings, const std::vector<Figure>& figures) {
  std::string text = "{";
  for (const Heading& heading : headings) {
    text += strf("\n  %s: ", json_text(heading.key).c_str());
    text += heading.is_number ? heading.text : json_text(heading.text);
    text += ',';
  }
  for (const Figure& figure : figures) {
    text += strf("\n  \"%s\": %.17g,", figure.key.c_str(), figure.value);
  }
  text.back() = '\n';
  return text + "}\n";
}

}  // namespace membroker::sim
