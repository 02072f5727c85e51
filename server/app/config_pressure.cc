#include "server/app/config_compile.h"
#include "shared/format.h"

namespace membroker::app {
namespace {

// Of the capacity, where nothing is said.
constexpr double kStepPercent = 2;
constexpr double kGrowPercent = 0.5;
constexpr double kFloorPercent = 50;

class PressureCompiler {
 public:
  PressureCompiler(const PressureIr& ir, Bytes capacity, ConfigErrors& errors)
      : ir_(ir), capacity_(capacity), errors_(errors) {}

  broker::PressureConfig run() {
    if (ir_.enabled) out_.enabled = ir_.enabled->value;
    file();
    percents();
    size(ir_.step, "step", kStepPercent, out_.step);
    size(ir_.grow, "grow", kGrowPercent, out_.grow);
    size(ir_.floor, "floor", kFloorPercent, out_.floor);
    time(ir_.interval, "interval", {100, 60'000}, out_.interval);
    time(ir_.hold, "hold", {0, 3'600'000}, out_.hold);
    return std::move(out_);
  }

 private:
  void file() {
    if (!ir_.file) return;
    const std::string& path = ir_.file->value;
    if (!is_absolute_path(path)) {
      errors_.add(ir_.file->at,
                  "file in [pressure] must be an absolute path, such as \"" + out_.file + "\"");
      return;
    }
    out_.file = path;
  }

  void percents() {
    const auto take = [&](const Given<std::int64_t>& given, const char* key, std::int32_t& out) {
      if (const auto value = in_range(given, key, {1, 99}, errors_)) {
        out = static_cast<std::int32_t>(*value);
      }
    };
    take(ir_.high_percent, "high_percent", out_.high_percent);
    take(ir_.low_percent, "low_percent", out_.low_percent);
    if (out_.low_percent < out_.high_percent) return;
    const auto& given = ir_.low_percent ? ir_.low_percent : ir_.high_percent;
    errors_.add(given ? given->at : Position{},
                strf("low_percent %d must be below high_percent %d, or what is lent swings",
                     out_.low_percent, out_.high_percent));
  }

  void size(const Given<SizeOrPercent>& given, const char* key, double otherwise, Bytes& out) {
    out = share_of(capacity_, given ? given->value : SizeOrPercent{.percent = otherwise});
    if (!given) return;
    if (out < 1 || out > capacity_) {
      errors_.add(given->at,
                  strf("%s in [pressure] comes to %lld bytes; write 1 to the capacity "
                       "of ram, %lld",
                       key, static_cast<long long>(out), static_cast<long long>(capacity_)));
    }
  }

  void time(const Given<Millis>& given, const char* key, Range range, Millis& out) {
    out = in_range(given, key, range, errors_, "ms").value_or(out);
  }

  const PressureIr& ir_;
  const Bytes capacity_;
  ConfigErrors& errors_;
  broker::PressureConfig out_;
};

}  // namespace

broker::PressureConfig compile_pressure(const PressureIr& ir, Bytes capacity,
                                        ConfigErrors& errors) {
  return PressureCompiler(ir, capacity, errors).run();
}

}  // namespace membroker::app
