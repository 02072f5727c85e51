#include "server/broker/pressure.h"

#include <algorithm>
#include <charconv>

#include "server/broker/small_file.h"

namespace membroker::broker {
namespace {

constexpr std::string_view kLine = "some ";
constexpr std::string_view kTotal = "total=";

}  // namespace

// "some avg10=0.12 avg60=0.03 avg300=0.00 total=23061", then the same of "full".
Result<std::int64_t> parse_stalled(std::string_view text) {
  const auto wrong = [](const char* what) -> Result<std::int64_t> {
    return fail(ErrorCode::kInvalid, what);
  };
  if (!text.starts_with(kLine)) return wrong("does not begin with \"some \"");
  const std::string_view line = text.substr(0, text.find('\n'));
  const auto at = line.rfind(kTotal);
  if (at == std::string_view::npos) return wrong("has no total= in its line \"some\"");
  const std::string_view digits = line.substr(at + kTotal.size());
  std::int64_t total = 0;
  const char* const end = digits.data() + digits.size();
  const auto [rest, error] = std::from_chars(digits.data(), end, total);
  if (error != std::errc() || rest != end || total < 0) {
    return wrong("has a total that is no number of microseconds");
  }
  return total;
}

Result<std::int64_t> read_stalled(const std::string& file) {
  const auto text = read_small_file(file, 4'096);
  if (!text) {
    return fail(text.error().code(),
                text.error().message() + " (a kernel without PSI? boot it with psi=1)");
  }
  const auto stalled = parse_stalled(*text);
  if (stalled) return *stalled;
  return fail(ErrorCode::kInvalid, file + " is no pressure file: it " + stalled.error().message());
}

void PressureControl::configure(PressureConfig config) {
  if (config.file != config_.file) last_.reset();
  config_ = std::move(config);
}

Bytes PressureControl::take(const PressureSample& sample) {
  const bool usable = last_ && sample.at > last_->at && sample.stalled_us >= last_->stalled_us;
  const Reading before = last_.value_or(Reading{});
  last_ = Reading{sample.at, sample.stalled_us};
  if (!usable) return withheld_;
  const std::int64_t elapsed_us = (sample.at - before.at) * 1'000;
  const std::int64_t stalled_us = std::min(sample.stalled_us - before.stalled_us, elapsed_us);
  stalled_percent_ = static_cast<std::int32_t>(stalled_us * 100 / elapsed_us);
  if (stalled_percent_ >= config_.low_percent) calm_since_.reset();
  if (stalled_percent_ > config_.high_percent) {
    shrink(sample);
  } else if (stalled_percent_ < config_.low_percent) {
    grow(sample.at);
  }
  // The capacity or the guarantees may have changed since.
  const Bytes most = sample.capacity - std::max(config_.floor, sample.guaranteed);
  withheld_ = std::clamp(withheld_, Bytes{0}, std::max(Bytes{0}, most));
  return withheld_;
}

void PressureControl::shrink(const PressureSample& sample) {
  const Bytes free = std::max(Bytes{0}, sample.capacity - withheld_ - sample.held);
  withheld_ += free + config_.step;
}

void PressureControl::grow(Instant at) {
  if (!calm_since_) calm_since_ = at;
  if (at - *calm_since_ >= config_.hold) withheld_ = std::max(Bytes{0}, withheld_ - config_.grow);
}

}  // namespace membroker::broker
