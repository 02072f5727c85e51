#include "server/app/pressure_loop.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>

#include "server/broker/translate.h"

namespace membroker::app {
namespace {

const char* const kRam = "ram";

}  // namespace

void PressureLoop::configure(const broker::PressureConfig& config) {
  config_ = config;
  if (!config.enabled) {
    if (control_) {
      spdlog::info("pressure_control_off why=configuration");
      stop();
    }
    return;
  }
  if (control_) {
    control_->configure(config);
    return;
  }
  control_.emplace(config);
  spdlog::info("pressure_control_on file={} high_percent={} low_percent={} floor={}",
               broker::log_text(config.file), config.high_percent, config.low_percent,
               config.floor);
  sample();
}

void PressureLoop::wait() {
  timer_.expires_after(std::chrono::milliseconds(config_.interval));
  timer_.async_wait([this](const asio::error_code& error) {
    if (!error && control_) sample();
  });
}

void PressureLoop::sample() {
  const auto stalled = broker::read_stalled(config_.file);
  if (!stalled) {
    spdlog::warn("pressure_control_off why={}", broker::log_text(stalled.error().message()));
    stop();
    return;
  }
  const auto snapshot = broker_.snapshot();
  const auto ram = std::find_if(snapshot->resources.begin(), snapshot->resources.end(),
                                [](const auto& resource) { return resource.name == kRam; });
  if (ram != snapshot->resources.end()) {
    const Bytes before = withheld_;
    withhold(control_->take({.at = monotonic_now(),
                             .stalled_us = *stalled,
                             .capacity = ram->capacity + ram->withheld,
                             .held = ram->root.held,
                             .guaranteed = ram->guaranteed}));
    if (withheld_ != before) {
      spdlog::info("pressure_capacity resource={} withheld={} was={} stalled_percent={}", kRam,
                   withheld_, before, control_->stalled_percent());
    }
  }
  wait();
}

void PressureLoop::stop() {
  control_.reset();
  timer_.cancel();
  withhold(0);
}

void PressureLoop::withhold(Bytes bytes) {
  if (bytes == withheld_) return;
  withheld_ = bytes;
  broker_.post([bytes](broker::Broker& broker, Instant now) {
    const Status done = broker.withhold(kRam, bytes, now);
    if (!done) {
      spdlog::error("pressure_withhold_failed why={}", broker::log_text(done.error().message()));
    }
  });
}

}  // namespace membroker::app
