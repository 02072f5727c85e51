#include "tests/sim/workload.h"

#include <toml++/toml.h>
#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <utility>

#include "server/app/config_reader.h"
#include "server/arbiter/rules.h"
#include "server/arbiter/tenant_path.h"
#include "shared/format.h"

namespace membroker::sim {

namespace {

using app::ConfigErrors;
using app::Given;
using app::Position;
using app::TableReader;

constexpr std::array<std::string_view, 6> kConducts = {"honest", "ignore", "lie",
                                                       "half",   "stop",   "crash"};
constexpr std::array<std::string_view, 2> kModes = {"lent", "reserved"};

struct Range {
  std::int64_t least;
  std::int64_t most;
};
constexpr Range kSizes{1, Bytes{1} << 50};
constexpr Range kSpeeds{kKiB, Bytes{1} << 50};  // bytes per second
constexpr Range kTimes{0, Millis{24} * 3'600'000};
constexpr std::int64_t kJobsMax = 100'000;

class Reader {
 public:
  explicit Reader(ConfigErrors& errors) : errors_(errors) {}

  Workload read(const toml::table& root);

 private:
  enum class Unit { kSize, kTime };

  WorkloadTenant tenant(const toml::table& table);
  Group group(const toml::table& table);
  Phase phase(const toml::table& table);
  void conduct(TableReader& reader, const toml::table& table, Group& group);
  void check_tenants(const Workload& workload);
  template <class T>
  void number(const Given<std::int64_t>& given, const char* key, Range range, T& out);
  void size(const Given<Bytes>& given, const char* key, Range range, Bytes& out);
  bool spread(TableReader& reader, const toml::table& table, const char* key, Unit unit,
              Range range, Spread& out);
  Given<std::int64_t> figure(TableReader& reader, const char* key, Unit unit) {
    return unit == Unit::kSize ? reader.size(key) : reader.duration(key);
  }

  ConfigErrors& errors_;
  std::vector<std::pair<Position, std::string>> tenants_named_;
  std::vector<Position> tenants_at_;
};

template <class T>
void Reader::number(const Given<std::int64_t>& given, const char* key, Range range, T& out) {
  if (!given) return;
  if (given->value >= range.least && given->value <= range.most) {
    out = static_cast<T>(given->value);
    return;
  }
  errors_.add(given->at,
              strf("%s = %lld is out of range; write %lld to %lld", key,
                   static_cast<long long>(given->value), static_cast<long long>(range.least),
                   static_cast<long long>(range.most)));
}

void Reader::size(const Given<Bytes>& given, const char* key, Range range, Bytes& out) {
  number(given, key, range, out);
}

// A figure, or a table of least and most, or of mean and most.
bool Reader::spread(TableReader& reader, const toml::table& table, const char* key, Unit unit,
                    Range range, Spread& out) {
  const toml::node* node = table.get(key);
  if (node == nullptr || !node->is_table()) {
    const auto fixed = figure(reader, key, unit);
    std::int64_t value = 0;
    number(fixed, key, range, value);
    if (fixed) out = {value, value, 0};
    return fixed.has_value();
  }
  TableReader inner(*reader.table(key), std::string(key), errors_);
  const auto least = figure(inner, "least", unit);
  const auto most = figure(inner, "most", unit);
  const auto mean = figure(inner, "mean", unit);
  inner.finish();
  const Position at = app::position_of(node->source());
  if (mean.has_value() == least.has_value() || (least && !most)) {
    errors_.add(
        at, strf("%s must be one figure, { least = …, most = … } or { mean = …, most = … }", key));
    return true;
  }
  out = Spread{};
  number(least, "least", range, out.least);
  number(most, "most", range, out.most);
  number(mean, "mean", {std::max<std::int64_t>(1, range.least), range.most}, out.mean);
  if (most && out.most < std::max(out.least, out.mean)) {
    errors_.add(most->at, strf("most of %s is below its %s", key, mean ? "mean" : "least"));
  }
  return true;
}

WorkloadTenant Reader::tenant(const toml::table& table) {
  TableReader reader(table, "[[tenant]]", errors_);
  WorkloadTenant tenant;
  tenants_at_.push_back(app::position_of(table.source()));
  const auto path = reader.text("path");
  if (!path) errors_.add(tenants_at_.back(), "[[tenant]] has no path; write path = \"name\"");
  if (path) tenant.path = path->value;
  size(reader.size("guarantee"), "guarantee", {0, kSizes.most}, tenant.policy.guarantee);
  if (const auto mode = reader.choice("guarantee_mode", kModes)) {
    tenant.policy.mode = static_cast<arbiter::GuaranteeMode>(mode->value);
  }
  size(reader.size("limit"), "limit", kSizes, tenant.policy.limit);
  number(reader.integer("weight"), "weight", {1, arbiter::kWeightMax}, tenant.policy.weight);
  number(reader.integer("priority"), "priority", {-1'000, 1'000}, tenant.policy.priority);
  reader.finish();
  return tenant;
}

Phase Reader::phase(const toml::table& table) {
  TableReader reader(table, "[[group.phase]]", errors_);
  Phase phase;
  if (!spread(reader, table, "demand", Unit::kSize, kSizes, phase.demand)) {
    errors_.add(app::position_of(table.source()),
                "[[group.phase]] has no demand; write demand = \"64MiB\" or a spread");
  }
  spread(reader, table, "lasts", Unit::kTime, kTimes, phase.lasts);
  reader.finish();
  return phase;
}

void Reader::conduct(TableReader& reader, const toml::table& table, Group& group) {
  const auto conduct = reader.choice("conduct", kConducts);
  if (conduct) group.conduct = static_cast<Conduct>(conduct->value);
  const bool after = spread(reader, table, "after", Unit::kTime, kTimes, group.after);
  const bool stopped = spread(reader, table, "stopped_for", Unit::kTime, kTimes, group.stopped_for);
  const bool ends = group.conduct == Conduct::kStop || group.conduct == Conduct::kCrash;
  if (ends && !after) errors_.add(conduct->at, "conduct stop and crash need: after = \"10s\"");
  if (group.conduct == Conduct::kStop && !stopped) {
    errors_.add(conduct->at, "conduct stop needs: stopped_for = \"10s\"");
  }
}

Group Reader::group(const toml::table& table) {
  TableReader reader(table, "[[group]]", errors_);
  Group group;
  const Position at = app::position_of(table.source());
  if (const auto name = reader.text("name")) group.name = name->value;
  if (group.name.empty()) errors_.add(at, "[[group]] has no name; write name = \"sorts\"");
  if (const auto tenant = reader.text("tenant")) {
    group.tenant = tenant->value;
    tenants_named_.emplace_back(tenant->at, tenant->value);
  } else {
    errors_.add(at, "[[group]] has no tenant; write the path of a [[tenant]]");
  }
  number(reader.integer("count"), "count", {1, kJobsMax}, group.count);
  number(reader.duration("start"), "start", kTimes, group.start);
  spread(reader, table, "every", Unit::kTime, kTimes, group.every);
  number(reader.integer("rounds"), "rounds", {1, 1'000'000}, group.rounds);
  spread(reader, table, "fill", Unit::kSize, kSpeeds, group.fill);
  spread(reader, table, "spill", Unit::kSize, kSpeeds, group.spill);
  size(reader.size("floor"), "floor", {0, kSizes.most}, group.floor);
  number(reader.integer("priority"), "priority", {0, 1'000}, group.priority);
  number(reader.duration("wait"), "wait", kTimes, group.wait);
  conduct(reader, table, group);
  for (const toml::table* below : reader.tables("phase")) group.phases.push_back(phase(*below));
  if (group.phases.empty()) errors_.add(at, "[[group]] has no [[group.phase]] below it");
  reader.finish();
  return group;
}

void Reader::check_tenants(const Workload& workload) {
  std::set<std::string> known;
  for (std::size_t i = 0; i < workload.tenants.size(); ++i) {
    const WorkloadTenant& tenant = workload.tenants[i];
    if (!known.insert(tenant.path).second) {
      errors_.add(tenants_at_[i], "the tenant \"" + tenant.path + "\" is there twice");
    }
    if (tenant.policy.guarantee > tenant.policy.limit) {
      errors_.add(tenants_at_[i], "the guarantee of \"" + tenant.path + "\" is above its limit");
    }
    if (!arbiter::valid_tenant_path(tenant.path)) {
      errors_.add(tenants_at_[i], "\"" + tenant.path + "\" is no path; write \"a\" or \"a/b\"");
    }
  }
  for (std::size_t i = 0; i < workload.tenants.size(); ++i) {
    const std::string above = parent_path(workload.tenants[i].path);
    if (above.empty() || known.contains(above)) continue;
    errors_.add(tenants_at_[i], "above \"" + workload.tenants[i].path +
                                    "\" there is no [[tenant]] with path \"" + above + "\"");
  }
  if (guaranteed(workload.tenants, "") > workload.capacity) {
    errors_.add(tenants_at_.front(), "the tenants' guarantees sum to more than the capacity");
  }
  for (const auto& [at, path] : tenants_named_) {
    if (!known.contains(path)) errors_.add(at, "there is no [[tenant]] with path \"" + path + "\"");
  }
}

Workload Reader::read(const toml::table& root) {
  TableReader reader(root, "the file", errors_);
  Workload workload;
  const auto capacity = reader.size("capacity");
  if (!capacity) errors_.add({1, 1}, "there is no capacity; write capacity = \"1GiB\"");
  size(capacity, "capacity", {kMiB, arbiter::kCapacityMax}, workload.capacity);
  number(reader.duration("run_for"), "run_for", {1'000, kTimes.most}, workload.run_for);
  number(reader.integer("growth"), "growth", {1, 1'024}, workload.growth);
  for (const toml::table* table : reader.tables("tenant")) {
    workload.tenants.push_back(tenant(*table));
  }
  for (const toml::table* table : reader.tables("group")) {
    workload.groups.push_back(group(*table));
  }
  if (workload.groups.empty()) errors_.add({1, 1}, "there is no [[group]], so nothing happens");
  reader.finish();
  check_tenants(workload);
  return workload;
}

}  // namespace

std::string parent_path(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

// Its own, or what those below it sum to.
Bytes guaranteed(const std::vector<WorkloadTenant>& tenants, const std::string& path) {
  Bytes own = 0;
  Bytes below = 0;
  for (const WorkloadTenant& tenant : tenants) {
    if (tenant.path == path) own = tenant.policy.guarantee;
    if (tenant.path.empty() || parent_path(tenant.path) != path) continue;
    below = saturating_add(below, guaranteed(tenants, tenant.path));
  }
  return std::max(own, below);
}

// Exponential after von Neumann: only comparisons, no logarithm that could differ by machine.
std::int64_t Spread::draw(Rng& rng) const {
  if (mean == 0) return rng.between(least, most);
  for (std::uint64_t whole = 0;; ++whole) {
    const std::uint64_t first = rng.next() >> 32;
    std::uint64_t last = first;
    int run = 1;
    for (std::uint64_t next = rng.next() >> 32; next < last; next = rng.next() >> 32) {
      last = next;
      ++run;
    }
    if (run % 2 == 0) continue;
    const auto units = static_cast<__int128>((whole << 32) + first);
    const auto drawn = static_cast<std::int64_t>(units * mean >> 32);
    return std::max<std::int64_t>(1, most > 0 ? std::min(drawn, most) : drawn);
  }
}

Result<Workload> parse_workload(std::string_view text, const std::string& file_name) {
  ConfigErrors errors(file_name);
  try {
    const toml::table root = toml::parse(text);
    Workload workload = Reader(errors).read(root);
    workload.name = std::filesystem::path(file_name).stem().string();
    if (errors.empty()) return workload;
  } catch (const toml::parse_error& error) {
    errors.add(app::position_of(error.source()), "not TOML: " + std::string(error.description()));
  }
  return fail(ErrorCode::kInvalid, errors.text());
}

Result<Workload> load_workload(const std::string& path) {
  std::ifstream file(path);
  if (!file || std::filesystem::is_directory(path)) {
    return fail(ErrorCode::kIo, "cannot read the workload \"" + path + "\"; name a file");
  }
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return parse_workload(text, path);
}

}  // namespace membroker::sim
