#pragma once

#include <map>
#include <optional>
#include <string>

#include "server/app/config.h"
#include "server/app/config_ir.h"

namespace membroker::app {

/// Fills in defaults, looks names up, checks ranges and what belongs together. What is wrong goes
/// to `errors`; the result counts only if that stays empty.
AppConfig compile_config(const ConfigIr& ir, const ConfigHost& host, ConfigErrors& errors);

/// What there is to lend of a resource; nothing where that is wrong.
std::optional<Bytes> compile_capacity(const ResourceIr& ir, const ConfigHost& host,
                                      ConfigErrors& errors);

/// The control of [pressure] over a `capacity` of ram.
broker::PressureConfig compile_pressure(const PressureIr& ir, Bytes capacity, ConfigErrors& errors);

struct Range {
  std::int64_t least;
  std::int64_t most;
};

/// A number, or a time with the unit "ms". Nothing where none is given; out of range is an error.
std::optional<std::int64_t> in_range(const Given<std::int64_t>& given, const char* key, Range range,
                                     ConfigErrors& errors, const char* unit = "");

/// The size, or so much percent of `whole`.
inline Bytes share_of(Bytes whole, const SizeOrPercent& given) {
  if (given.percent == 0) return given.bytes;
  return static_cast<Bytes>(static_cast<double>(whole) * given.percent / 100);
}

inline bool is_absolute_path(const std::string& path) {
  return path.starts_with('/') && path.find('\0') == std::string::npos;
}

/// Where messages about guarantees point to.
struct GuaranteePositions {
  Position capacity;
  const std::map<std::string, Position>& tenants;  // by path
};

/// Guarantees must fit under the limits above them and under the capacity.
void check_guarantees(const broker::BrokerConfig& config, const broker::ResourceConfig& resource,
                      const GuaranteePositions& positions, ConfigErrors& errors);

}  // namespace membroker::app
