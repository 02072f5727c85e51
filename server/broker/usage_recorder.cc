#include "server/broker/usage_recorder.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "server/broker/translate.h"
#include "shared/wall_time.h"

namespace membroker::broker {

UsageRecorder::UsageRecorder(UsageStore& store, Look look, Options options)
    : store_(store),
      look_(std::move(look)),
      options_{options.interval, options.wall_ms ? std::move(options.wall_ms) : wall_now_ms},
      thread_([this] { run(); }) {}

UsageRecorder::~UsageRecorder() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void UsageRecorder::run() {
  using Clock = std::chrono::steady_clock;
  const std::int64_t wall_ms = options_.wall_ms();
  // Says at once if there is no writing, and drops what has grown old while no daemon ran.
  write({wall_ms - wall_ms % kUsageMinuteMs, 0, {}});
  for (auto next = Clock::now();;) {
    look();
    // After a stop of the whole machine the looks that were missed are not made up for.
    next = std::max(next + options_.interval, Clock::now());
    std::unique_lock lock(mutex_);
    if (changed_.wait_until(lock, next, [this] { return stopping_; })) break;
  }
  look();
  if (const auto minute = fold_.finish()) write(*minute);
}

void UsageRecorder::look() {
  if (const auto minute = fold_.look(*look_(), options_.wall_ms())) write(*minute);
}

void UsageRecorder::write(const UsageMinute& minute) {
  const Status written = store_.write(minute);
  if (!written) {
    if (minutes_lost_++ == 0) {
      spdlog::warn("usage_not_recorded why={}", log_text(written.error().message()));
    }
    return;
  }
  if (minutes_lost_ > 0) spdlog::info("usage_recorded_again minutes_lost={}", minutes_lost_);
  minutes_lost_ = 0;
}

}  // namespace membroker::broker
