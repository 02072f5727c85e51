#include "server/app/config_reader.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <numeric>

#include "shared/format.h"
#include "shared/utf8.h"

namespace membroker::app {
namespace {

struct DurationUnit {
  std::string_view name;
  Millis factor;
};
constexpr std::array<DurationUnit, 4> kUnits = {
    {{"ms", 1}, {"s", 1'000}, {"min", 60'000}, {"h", 3'600'000}}};

// Edits between two words; for "did you mean".
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({row[j - 1] + 1, above + 1, diagonal + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::string quoted_list(const std::vector<std::string>& words) {
  std::string list;
  for (const std::string& word : words) list += (list.empty() ? "\"" : ", \"") + word + "\"";
  return list;
}

std::string to_string(std::string_view text) { return std::string(text); }

// Keys come from the file: what cannot be printed must not reach a terminal.
std::string printable(std::string_view text) {
  constexpr std::size_t kShown = 80;
  std::string result;
  for (const char c : cut_text(text, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    result += byte < 0x20 || byte == 0x7f ? '?' : c;
  }
  return result + (text.size() > kShown ? "..." : "");
}

}  // namespace

Position position_of(const toml::source_region& region) {
  return {std::max<std::uint32_t>(region.begin.line, 1),
          std::max<std::uint32_t>(region.begin.column, 1)};
}

void ConfigErrors::add(Position at, std::string message) {
  errors_.emplace(at, std::move(message));
}

std::string ConfigErrors::text() const {
  std::string text;
  std::size_t shown = 0;
  for (const auto& [at, message] : errors_) {
    if (!text.empty()) text += '\n';
    if (shown++ == kShownMax) {
      return text + strf("%s: and %zu more errors", file_name_.c_str(), errors_.size() - kShownMax);
    }
    text += strf("%s:%u:%u: %s", file_name_.c_str(), at.line, at.column, message.c_str());
  }
  return text;
}

std::optional<Millis> parse_duration(std::string_view text) {
  Millis value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || value < 0) return std::nullopt;
  const std::string_view unit(rest, static_cast<std::size_t>(end - rest));
  for (const DurationUnit& known : kUnits) {
    if (unit == known.name) return checked_mul(value, known.factor);
  }
  return std::nullopt;
}

std::optional<double> parse_percent(std::string_view text) {
  if (!text.ends_with('%')) return std::nullopt;
  text.remove_suffix(1);
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value, std::chars_format::fixed);
  if (error != std::errc() || rest != end || !(value > 0) || value > 100) return std::nullopt;
  return value;
}

const toml::node* TableReader::find(std::string_view key) {
  known_.emplace(key);
  return table_.get(key);
}

void TableReader::wrong(const toml::node& node, std::string_view key, std::string_view wanted) {
  errors_.add(position_of(node.source()),
              to_string(key) + " in " + name_ + " must be " + to_string(wanted));
}

Given<std::string> TableReader::text(std::string_view key) {
  const toml::node* node = find(key);
  if (node == nullptr) return std::nullopt;
  if (const auto* value = node->as_string()) {
    return Located<std::string>{value->get(), position_of(node->source())};
  }
  wrong(*node, key, "a text in quotes");
  return std::nullopt;
}

Given<std::int64_t> TableReader::integer(std::string_view key) {
  const toml::node* node = find(key);
  if (node == nullptr) return std::nullopt;
  if (const auto* value = node->as_integer()) {
    return Located<std::int64_t>{value->get(), position_of(node->source())};
  }
  wrong(*node, key, "a whole number, without quotes");
  return std::nullopt;
}

Given<bool> TableReader::boolean(std::string_view key) {
  const toml::node* node = find(key);
  if (node == nullptr) return std::nullopt;
  if (const auto* value = node->as_boolean()) {
    return Located<bool>{value->get(), position_of(node->source())};
  }
  wrong(*node, key, "true or false");
  return std::nullopt;
}

Given<Bytes> TableReader::size(std::string_view key) {
  const toml::node* node = find(key);
  if (node == nullptr) return std::nullopt;
  const Position at = position_of(node->source());
  if (const auto* number = node->as_integer(); number != nullptr && number->get() >= 0) {
    return Located<Bytes>{number->get(), at};
  }
  if (const auto* words = node->as_string()) {
    const auto parsed = parse_bytes(words->get());
    if (parsed) return Located<Bytes>{*parsed, at};
    errors_.add(at, to_string(key) + " in " + name_ + ": " + printable(parsed.error().message()));
    return std::nullopt;
  }
  wrong(*node, key, "a size such as \"256MiB\", or a number of bytes");
  return std::nullopt;
}

Given<SizeOrPercent> TableReader::size_or_percent(std::string_view key) {
  const toml::node* node = find(key);
  const auto* words = node == nullptr ? nullptr : node->as_string();
  if (words != nullptr && words->get().find('%') != std::string::npos) {
    const Position at = position_of(node->source());
    if (const auto percent = parse_percent(words->get())) {
      return Located<SizeOrPercent>{{0, *percent}, at};
    }
    errors_.add(at, to_string(key) + " in " + name_ +
                        " must be above 0% and at most 100%, such as \"80%\"");
    return std::nullopt;
  }
  const auto plain = size(key);
  if (!plain) return std::nullopt;
  return Located<SizeOrPercent>{{plain->value, 0}, plain->at};
}

Given<Millis> TableReader::duration(std::string_view key) {
  const toml::node* node = find(key);
  if (node == nullptr) return std::nullopt;
  if (const auto* words = node->as_string()) {
    if (const auto parsed = parse_duration(words->get())) {
      return Located<Millis>{*parsed, position_of(node->source())};
    }
  }
  wrong(*node, key, "a time such as \"250ms\", \"5s\", \"2min\" or \"1h\"");
  return std::nullopt;
}

Given<std::size_t> TableReader::choice(std::string_view key,
                                       std::span<const std::string_view> names) {
  const toml::node* node = find(key);
  if (node == nullptr) return std::nullopt;
  if (const auto* words = node->as_string()) {
    const auto at = std::find(names.begin(), names.end(), words->get());
    if (at != names.end()) {
      return Located<std::size_t>{static_cast<std::size_t>(at - names.begin()),
                                  position_of(node->source())};
    }
  }
  wrong(*node, key, "one of " + quoted_list({names.begin(), names.end()}));
  return std::nullopt;
}

Given<std::vector<Located<NameOrId>>> TableReader::names_or_ids(std::string_view key) {
  const toml::node* node = find(key);
  if (node == nullptr) return std::nullopt;
  const toml::array* list = node->as_array();
  if (list == nullptr) {
    wrong(*node, key, "a list such as [1000, \"alice\"]");
    return std::nullopt;
  }
  Located<std::vector<Located<NameOrId>>> result{{}, position_of(node->source())};
  for (const toml::node& element : *list) {
    const Position at = position_of(element.source());
    if (const auto* number = element.as_integer()) {
      result.value.push_back({{"", number->get()}, at});
    } else if (const auto* name = element.as_string(); name != nullptr && !name->get().empty()) {
      result.value.push_back({{name->get(), 0}, at});
    } else {
      wrong(element, key, "a list of numbers and names, such as [1000, \"alice\"]");
    }
  }
  return result;
}

const toml::table* TableReader::table(std::string_view key) {
  const toml::node* node = find(key);
  if (node == nullptr) return nullptr;
  if (const toml::table* found = node->as_table()) return found;
  wrong(*node, key, "a table");
  return nullptr;
}

std::vector<const toml::table*> TableReader::tables(std::string_view key) {
  std::vector<const toml::table*> result;
  const toml::node* node = find(key);
  if (node == nullptr) return result;
  const toml::array* list = node->as_array();
  if (list == nullptr) {
    wrong(*node, key, "an array of tables: write [[" + to_string(key) + "]]");
    return result;
  }
  for (const toml::node& element : *list) {
    if (const toml::table* found = element.as_table()) {
      result.push_back(found);
    } else {
      wrong(element, key, "an array of tables: write [[" + to_string(key) + "]]");
    }
  }
  return result;
}

void TableReader::finish() {
  constexpr std::size_t kSimilar = 3;
  for (const auto& [key, node] : table_) {
    const std::string_view name = key.str();
    if (known_.contains(name)) continue;
    const auto nearest = std::min_element(
        known_.begin(), known_.end(),
        [&](const auto& a, const auto& b) { return distance(name, a) < distance(name, b); });
    std::string advice = "; known are " + quoted_list({known_.begin(), known_.end()});
    if (nearest != known_.end() && name.size() < 64 && distance(name, *nearest) < kSimilar) {
      advice = "; did you mean \"" + *nearest + "\"?";
    }
    errors_.add(position_of(key.source()),
                "unknown key \"" + printable(name) + "\" in " + name_ + advice);
  }
}

}  // namespace membroker::app
