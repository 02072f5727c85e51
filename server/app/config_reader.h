#pragma once

#include <toml++/toml.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shared/bytes.h"
#include "shared/time.h"

/// \file
/// Reads typed values with their positions out of TOML tables, and gathers what is wrong.

namespace membroker::app {

struct Position {
  std::uint32_t line = 1;
  std::uint32_t column = 1;

  friend auto operator<=>(const Position&, const Position&) = default;
};

Position position_of(const toml::source_region& region);

template <class T>
struct Located {
  T value;
  Position at;
};
template <class T>
using Given = std::optional<Located<T>>;

class ConfigErrors {
 public:
  explicit ConfigErrors(std::string file_name) : file_name_(std::move(file_name)) {}

  void add(Position at, std::string message);
  bool empty() const { return errors_.empty(); }
  /// One line per error, by position; cut after `kShownMax`.
  std::string text() const;

 private:
  static constexpr std::size_t kShownMax = 20;

  std::string file_name_;
  std::multimap<Position, std::string> errors_;
};

/// A user or group: a name, or its number.
struct NameOrId {
  std::string name;  // empty: `id`
  std::int64_t id = 0;
};

/// A size, or a share of the memory there is.
struct SizeOrPercent {
  Bytes bytes = 0;
  double percent = 0;  // above 0: instead of bytes
};

/// Reads one table. Every key asked for is known; finish() reports the others.
class TableReader {
 public:
  /// `name` is how messages call the table: "[log]".
  TableReader(const toml::table& table, std::string name, ConfigErrors& errors)
      : table_(table), name_(std::move(name)), errors_(errors) {}

  Given<std::string> text(std::string_view key);
  Given<std::int64_t> integer(std::string_view key);
  Given<bool> boolean(std::string_view key);
  Given<Bytes> size(std::string_view key);
  Given<SizeOrPercent> size_or_percent(std::string_view key);
  Given<Millis> duration(std::string_view key);
  /// One of `names`; the value is its index.
  Given<std::size_t> choice(std::string_view key, std::span<const std::string_view> names);
  Given<std::vector<Located<NameOrId>>> names_or_ids(std::string_view key);
  /// A table below this one; null if there is none.
  const toml::table* table(std::string_view key);
  /// Every element of an array of tables.
  std::vector<const toml::table*> tables(std::string_view key);

  void finish();

 private:
  const toml::node* find(std::string_view key);
  void wrong(const toml::node& node, std::string_view key, std::string_view wanted);

  const toml::table& table_;
  const std::string name_;
  ConfigErrors& errors_;
  std::set<std::string, std::less<>> known_;
};

/// "250ms", "5s", "2min", "1h".
std::optional<Millis> parse_duration(std::string_view text);
/// "80%"; above 0 and at most 100.
std::optional<double> parse_percent(std::string_view text);

}  // namespace membroker::app
