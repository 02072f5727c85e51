#pragma once

#include <chrono>
#include <functional>
#include <thread>

namespace membroker::testing {

inline constexpr std::chrono::seconds kWaitMax{10};

/// Looks every millisecond until the condition holds; false if it does not within `most`.
inline bool comes_true(const std::function<bool()>& condition,
                       std::chrono::milliseconds most = kWaitMax) {
  const auto until = std::chrono::steady_clock::now() + most;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return condition();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace membroker::testing
