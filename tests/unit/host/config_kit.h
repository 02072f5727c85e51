#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "server/app/config.h"

namespace membroker::app {

/// A machine of 16 GiB whose cgroup leaves 10, with the user alice and the group data.
inline ConfigHost host() {
  return {.memory = []() -> Result<broker::MemoryCapacity> {
            return broker::MemoryCapacity{16 * kGiB, 10 * kGiB};
          },
          .uid_of = [](const std::string& name) -> std::optional<uid_t> {
            if (name == "alice") return 1000;
            return std::nullopt;
          },
          .gid_of = [](const std::string& name) -> std::optional<gid_t> {
            if (name == "data") return 500;
            return std::nullopt;
          }};
}

inline Result<AppConfig> parse(const std::string& text) {
  return parse_config(text, "m.toml", host());
}

inline AppConfig good(const std::string& text) {
  auto config = parse(text);
  EXPECT_TRUE(config) << config.error().message();
  return config.value_or(AppConfig{});
}

inline std::string error(const std::string& text) {
  const auto config = parse(text);
  EXPECT_FALSE(config) << "no error in " << text;
  if (config) return "";
  EXPECT_EQ(config.error().code(), ErrorCode::kInvalid);
  return config.error().message();
}

}  // namespace membroker::app
