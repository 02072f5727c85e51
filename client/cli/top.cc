#include "client/cli/top.h"

#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <thread>

#include "client/cli/screen.h"
#include "client/cli/top_view.h"
#include "shared/format.h"

namespace membroker::cli {
namespace {

void stamp(Sample& sample) {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  sample.time_ms = static_cast<Millis>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
  tm local{};
  ::localtime_r(&now.tv_sec, &local);
  sample.clock = strf("%02d:%02d:%02d", local.tm_hour, local.tm_min, local.tm_sec);
}

Result<Sample> take_sample(AdminClient& admin, const std::string& resource) {
  Sample sample;
  auto status = admin.status();
  if (!status) return fail(status.error());
  v1::admin::ListTenantsRequest tenants_request;
  tenants_request.set_resource(resource);
  auto tenants = admin.tenants(tenants_request);
  if (!tenants) return fail(tenants.error());
  v1::admin::ListLeasesRequest leases_request;
  leases_request.set_resource(resource);
  auto leases = admin.leases(leases_request);
  if (!leases) return fail(leases.error());
  sample.status = std::move(*status);
  sample.tenants = std::move(*tenants);
  sample.leases = std::move(*leases);
  if (!resource.empty()) {
    auto* resources = sample.status.mutable_resources();
    for (int i = resources->size(); i-- > 0;) {
      if (resources->Get(i).resource() != resource) resources->DeleteSubrange(i, 1);
    }
  }
  stamp(sample);
  return sample;
}

class Top {
 public:
  Top(AdminClient& admin, const TopOptions& options, Console& console, SignalWait& signals,
      UniqueFd ready)
      : admin_(admin),
        options_(options),
        console_(console),
        signals_(signals),
        ready_(std::move(ready)) {}

  Status run() {
    Instant next = monotonic_now();
    for (std::int64_t taken = 0; options_.count == 0 || taken < options_.count; ++taken) {
      if (taken > 0 && !pause(next)) return {};
      next = monotonic_now() + options_.interval;
      Result<Sample> sample = sample_unless_stopped();
      if (stopped_) return {};
      const bool last = options_.count != 0 && taken + 1 == options_.count;
      if (!sample && (taken == 0 || last)) return fail(sample.error());
      if (Status shown = take(std::move(sample)); !shown) return shown;
      if (console_.failed()) return fail(ErrorCode::kIo, "cannot write to standard output");
    }
    return {};
  }

 private:
  bool live() const { return console_.terminal() && !options_.json; }
  int key_fd() const { return screen_ ? STDIN_FILENO : -1; }

  // The calls run beside the wait for signals, so that Ctrl-C need not wait for a stopped daemon.
  Result<Sample> sample_unless_stopped() {
    Result<Sample> sample = fail(ErrorCode::kCancelled, "interrupted");
    std::thread caller([&] {
      sample = take_sample(admin_, options_.resource);
      ::eventfd_write(ready_.get(), 1);
    });
    while (handle(signals_.wait(Instant::never(), ready_.get(), key_fd()))) {
    }
    if (stopped_) admin_.cancel();
    caller.join();
    eventfd_t count = 0;
    ::eventfd_read(ready_.get(), &count);
    return sample;
  }

  // Waits until `next`; false if it is time to stop.
  bool pause(Instant next) {
    while (handle(signals_.wait(next, -1, key_fd()))) {
    }
    return !stopped_;
  }

  // False for the events that end a wait.
  bool handle(SignalWait::Event event) {
    switch (event) {
      case SignalWait::Event::kStop: stopped_ = true; return false;
      case SignalWait::Event::kTimeout:
      case SignalWait::Event::kReady: return false;
      case SignalWait::Event::kSuspend: suspend(); return true;
      case SignalWait::Event::kResize:
      case SignalWait::Event::kKey: show(); return true;
    }
    return true;
  }

  void suspend() {
    if (screen_) screen_->leave();
    ::kill(::getpid(), SIGSTOP);
    if (screen_) screen_->enter();
    show();
  }

  Status take(Result<Sample> sample) {
    note_ = sample ? std::string() : sample.error().message() + "; trying again";
    if (sample) {
      before_ = std::move(now_);
      now_ = std::move(*sample);
    }
    if (live()) {
      if (!screen_) screen_ = std::make_unique<Screen>(console_);
      show();
    } else if (!note_.empty()) {
      console_.err("membrokerctl: " + note_ + "\n");
    } else if (options_.json) {
      Result<std::string> json = render_json(*now_);
      if (!json) return fail(json.error());
      console_.out(*json);
    } else {
      console_.out(render_line(*now_));
    }
    return {};
  }

  void show() {
    if (!screen_ || !now_) return;
    const TerminalSize size = console_.size();
    const Look look{size.width, console_.colour(), console_.unicode()};
    const Sample* before = before_ ? &*before_ : nullptr;
    screen_->show(render_frame(*now_, before, look, size.height, note_));
  }

  AdminClient& admin_;
  const TopOptions& options_;
  Console& console_;
  SignalWait& signals_;
  UniqueFd ready_;  // the caller's thread has its answer
  std::unique_ptr<Screen> screen_;
  std::optional<Sample> now_;
  std::optional<Sample> before_;
  std::string note_;
  bool stopped_ = false;
};

}  // namespace

Status run_top(AdminClient& admin, const TopOptions& options, Console& console) {
  Result<SignalWait> signals = SignalWait::make();
  if (!signals) return fail(signals.error());
  UniqueFd ready(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!ready) return fail(errno_error("eventfd", errno));
  return Top(admin, options, console, *signals, std::move(ready)).run();
}

}  // namespace membroker::cli
