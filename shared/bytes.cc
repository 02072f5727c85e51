#include "shared/bytes.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

#include "shared/format.h"

namespace membroker {
namespace {

std::string_view trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) {
    text.remove_prefix(1);
  }
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) {
    text.remove_suffix(1);
  }
  return text;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

// The factor of a unit such as "MiB" or "k"; nothing for an unknown one.
std::optional<Bytes> unit_factor(std::string_view unit) {
  std::string name = lower(unit);
  if (!name.empty() && name.back() == 'b') name.pop_back();
  if (name.empty()) return 1;
  const bool binary = name.size() == 2 && name[1] == 'i';
  if (name.size() > 1 && !binary) return std::nullopt;
  const Bytes base = binary ? 1024 : 1000;
  constexpr std::string_view kPrefixes = "kmgtp";
  const auto power = kPrefixes.find(name[0]);
  if (power == std::string_view::npos) return std::nullopt;
  Bytes factor = 1;
  for (std::size_t i = 0; i <= power; ++i) factor *= base;
  return factor;
}

}  // namespace

Result<Bytes> parse_bytes(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return fail(
        ErrorCode::kInvalid,
        strf("\"%.*s\" is not a size: %.*s; write for example 268435456, 256MiB or 1.5GiB",
             static_cast<int>(text.size()), text.data(), static_cast<int>(why.size()), why.data()));
  };
  const std::string_view trimmed = trim(text);
  const auto number_end = trimmed.find_first_not_of("0123456789.");
  const std::string_view number = trimmed.substr(0, number_end);
  if (number.empty()) return bad("it does not start with a number");
  const auto factor =
      unit_factor(number_end == std::string_view::npos ? "" : trim(trimmed.substr(number_end)));
  if (!factor) return bad("the unit is unknown");
  if (number.find('.') == std::string_view::npos) {
    Bytes value = 0;
    const auto [end, ec] = std::from_chars(number.data(), number.data() + number.size(), value);
    const auto product = ec == std::errc() ? checked_mul(value, *factor) : std::nullopt;
    if (!product) return bad("it is too large");
    return *product;
  }
  double value = 0;
  const auto [end, ec] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (ec != std::errc() || end != number.data() + number.size()) return bad("bad number");
  const double product = std::floor(value * static_cast<double>(*factor));
  if (product >= 9.2e18) return bad("it is too large");
  return static_cast<Bytes>(product);
}

std::string format_bytes(Bytes bytes) {
  constexpr std::array<const char*, 5> kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes > -1024 && bytes < 1024) return strf("%lld B", static_cast<long long>(bytes));
  double value = static_cast<double>(bytes) / 1024.0;
  std::size_t unit = 0;
  while (std::fabs(value) >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024.0;
    ++unit;
  }
  return strf("%.1f %s", value, kUnits[unit]);
}

}  // namespace membroker
