#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "membroker/error.h"

/// \file
/// Sizes in bytes: checked arithmetic, and the one way to read and write them for people.

namespace membroker {

using Bytes = std::int64_t;

inline constexpr Bytes kKiB = Bytes{1} << 10;
inline constexpr Bytes kMiB = Bytes{1} << 20;
inline constexpr Bytes kGiB = Bytes{1} << 30;
inline constexpr Bytes kBytesMax = std::numeric_limits<Bytes>::max();

/// a + b, or nothing if the sum does not fit.
constexpr std::optional<Bytes> checked_add(Bytes a, Bytes b) noexcept {
  Bytes sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}
constexpr std::optional<Bytes> checked_sub(Bytes a, Bytes b) noexcept {
  Bytes difference = 0;
  if (__builtin_sub_overflow(a, b, &difference)) return std::nullopt;
  return difference;
}
constexpr std::optional<Bytes> checked_mul(Bytes a, Bytes b) noexcept {
  Bytes product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}
/// a + b, or the largest value if the sum does not fit. For b >= 0.
constexpr Bytes saturating_add(Bytes a, Bytes b) noexcept {
  return checked_add(a, b).value_or(kBytesMax);
}
/// Smallest multiple of `unit` (a power of two) that is >= n, or nothing if it does not fit.
constexpr std::optional<Bytes> round_up(Bytes n, Bytes unit) noexcept {
  const auto sum = checked_add(n, unit - 1);
  if (!sum) return std::nullopt;
  return *sum & ~(unit - 1);
}

/// Reads "268435456", "256MiB", "1.5 GiB", "64kB" (k = 1000, Ki = 1024; B may be left out after a
/// prefix). Case of the prefix does not matter; blanks around number and unit are skipped.
/// Errors: kInvalid, with the text and what was expected; negative sizes and overflow are errors.
Result<Bytes> parse_bytes(std::string_view text);

/// "256.0 MiB", "1.5 GiB", "512 B": one decimal from KiB upwards; for people, not to be read back.
std::string format_bytes(Bytes bytes);

}  // namespace membroker
