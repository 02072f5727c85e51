#include "client/cli/text.h"

#include <time.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <iterator>
#include <optional>

#include "shared/format.h"

namespace membroker::cli {
namespace {

const char* escape(Style style) {
  switch (style) {
    case Style::kPlain: return "";
    case Style::kBold: return "\x1b[1m";
    case Style::kDim: return "\x1b[2m";
    case Style::kGood: return "\x1b[32m";
    case Style::kWarn: return "\x1b[33m";
    case Style::kBad: return "\x1b[31m";
    case Style::kWait: return "\x1b[36m";
  }
  return "";
}

constexpr Millis kMinuteMs = 60'000;
constexpr Millis kDayMs = 1'440 * kMinuteMs;
constexpr Millis kAgoMost = 36'525 * kDayMs;

struct Unit {
  std::string_view name;
  double ms;
};
constexpr Unit kUnits[] = {{"", 1'000},           {"ms", 1},    {"s", 1'000}, {"m", kMinuteMs},
                           {"h", 60 * kMinuteMs}, {"d", kDayMs}};

// A date as a calendar has it, with a time of day or without.
std::optional<std::int64_t> parse_date(const std::string& text) {
  for (const char* format :
       {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d"}) {
    tm date{};
    const char* const end = ::strptime(text.c_str(), format, &date);
    if (end == nullptr) continue;
    const bool utc = *end == 'Z';
    if (end[utc ? 1 : 0] != '\0') continue;
    const int day = date.tm_mday;
    date.tm_isdst = -1;
    const time_t seconds = utc ? ::timegm(&date) : ::mktime(&date);
    if (date.tm_mday != day || seconds < 0) return std::nullopt;  // the 30th of February
    return std::int64_t{seconds} * 1000;
  }
  return std::nullopt;
}

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; }

// Bytes of the well-formed code point at the front; 0 if there is none.
std::size_t code_point(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text.front());
  std::size_t size = 0;
  if (lead < 0x80U) return 1;
  if (lead >= 0xC2U && lead <= 0xDFU) size = 2;
  if (lead >= 0xE0U && lead <= 0xEFU) size = 3;
  if (lead >= 0xF0U && lead <= 0xF4U) size = 4;
  if (size == 0 || text.size() < size) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if (!is_continuation(text[i])) return 0;
  }
  const auto second = static_cast<unsigned char>(text[1]);
  const bool overlong = (lead == 0xE0U && second < 0xA0U) || (lead == 0xF0U && second < 0x90U);
  const bool outside = (lead == 0xEDU && second > 0x9FU) || (lead == 0xF4U && second > 0x8FU);
  return overlong || outside ? 0 : size;
}

// C0, DEL and C1 control characters.
bool is_control(std::string_view point) {
  const auto lead = static_cast<unsigned char>(point.front());
  if (point.size() == 1) return lead < 0x20U || lead == 0x7FU;
  return lead == 0xC2U && static_cast<unsigned char>(point[1]) < 0xA0U;
}

}  // namespace

std::string paint(std::string_view text, Style style, bool colour) {
  if (!colour || style == Style::kPlain || text.empty()) return std::string(text);
  return escape(style) + std::string(text) + "\x1b[0m";
}

std::string clean(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const std::size_t size = code_point(text);
    const std::string_view point = text.substr(0, size == 0 ? 1 : size);
    if (size == 0 || is_control(point)) {
      result += '?';
    } else {
      result += point;
    }
    text.remove_prefix(point.size());
  }
  return result;
}

std::size_t columns(std::string_view text) {
  std::size_t count = 0;
  for (const char c : text) count += is_continuation(c) ? 0U : 1U;
  return count;
}

std::string cut(std::string_view text, std::size_t width) {
  if (columns(text) <= width) return std::string(text);
  if (width == 0) return {};
  std::size_t seen = 0;
  std::size_t end = 0;
  while (end < text.size() && (is_continuation(text[end]) || seen + 1 < width)) {
    seen += is_continuation(text[end]) ? 0U : 1U;
    ++end;
  }
  return std::string(text.substr(0, end)) + "~";
}

std::string format_limit(Bytes limit) { return limit == kBytesMax ? "none" : format_bytes(limit); }

std::string format_duration(Millis ms) {
  const auto number = [](Millis n) { return static_cast<long long>(n); };
  if (ms < 1000) return strf("%lld ms", number(ms));
  if (ms < 60'000) return strf("%lld.%lld s", number(ms / 1000), number(ms % 1000 / 100));
  const Millis seconds = ms / 1000;
  if (seconds < 3600) return strf("%lldm%02llds", number(seconds / 60), number(seconds % 60));
  const Millis minutes = seconds / 60;
  if (minutes < 1440) return strf("%lldh%02lldm", number(minutes / 60), number(minutes % 60));
  const Millis hours = minutes / 60;
  return strf("%lldd%02lldh", number(hours / 24), number(hours % 24));
}

Result<Millis> parse_duration(std::string_view text, Millis least, Millis most) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  const auto* const known = std::find_if(std::begin(kUnits), std::end(kUnits),
                                         [&](const Unit& one) { return one.name == unit; });
  const std::string shown = clean(text);
  if (error != std::errc() || known == std::end(kUnits) || !std::isfinite(value)) {
    return fail(ErrorCode::kInvalid,
                strf("\"%s\" is not a time; write for example 500ms, 2s or 2h", shown.c_str()));
  }
  const double ms = value * known->ms;
  if (ms < static_cast<double>(least) || ms > static_cast<double>(most)) {
    return fail(ErrorCode::kInvalid,
                strf("\"%s\" is out of range; between %s and %s", shown.c_str(),
                     format_duration(least).c_str(), format_duration(most).c_str()));
  }
  return static_cast<Millis>(ms);
}

std::string local_minute(std::int64_t wall_ms) {
  const time_t seconds = wall_ms / 1000;
  tm local{};
  ::localtime_r(&seconds, &local);
  return strf("%04d-%02d-%02d %02d:%02d", local.tm_year + 1900, local.tm_mon + 1, local.tm_mday,
              local.tm_hour, local.tm_min);
}

Result<std::int64_t> parse_time(std::string_view text, std::int64_t now_ms) {
  if (const auto date = parse_date(std::string(text))) return *date;
  const Result<Millis> ago = parse_duration(text, 0, kAgoMost);
  const bool has_unit = !text.empty() && std::isalpha(static_cast<unsigned char>(text.back())) != 0;
  if (ago && has_unit) return std::max<std::int64_t>(0, now_ms - *ago);
  return fail(ErrorCode::kInvalid,
              strf("\"%s\" is not a time; write for example 2h (ago), 2026-05-20 or "
                   "2026-05-20T07:29 (Z at its end: UTC)",
                   clean(text).c_str()));
}

}  // namespace membroker::cli
