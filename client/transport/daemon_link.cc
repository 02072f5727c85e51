#include "client/transport/daemon_link.h"

#include <pthread.h>
#include <signal.h>
#include <sys/random.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>
#include <thread>
#include <utility>

#include "client/lease/fork_guard.h"
#include "client/transport/link_loop.h"
#include "shared/check.h"

namespace membroker::transport {
namespace {

constexpr Millis kExitWait = 1'000;

std::array<std::uint8_t, 16> make_token() {
  std::array<std::uint8_t, 16> token{};
  ssize_t got = 0;
  do {
    got = ::getrandom(token.data(), token.size(), 0);
  } while (got < 0 && errno == EINTR);
  MB_CHECK(got == static_cast<ssize_t>(token.size()));  // cannot fail for 16 bytes
  return token;
}

/// The host process's signals are the host's: no library thread takes any.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &saved_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &saved_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t saved_{};
};

Error closed_error() { return Error(ErrorCode::kClosed, "the client was closed"); }

/// Loops that run, for the handler of the process's exit, which needs it when other statics may be
/// gone: never freed.
struct Registry {
  std::mutex mutex;
  std::vector<std::weak_ptr<LinkLoop>> loops;
  std::vector<std::shared_ptr<LinkLoop>> stopped;
};
Registry& registry() {
  static Registry* const instance = new Registry;
  return *instance;
}

/// gRPC's statics are about to go: no thread of ours may be inside gRPC then. Runs before them,
/// because it was registered after gRPC was loaded. Waits a bounded time.
void stop_all_loops() {
  if (DaemonLink::forked()) return;
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  for (const auto& weak : all.loops) {
    if (auto loop = weak.lock()) all.stopped.push_back(std::move(loop));
  }
  for (const auto& loop : all.stopped) loop->stop();
  for (const auto& loop : all.stopped) loop->wait_stopped(kExitWait);
}

void stop_at_exit(const std::shared_ptr<LinkLoop>& loop) {
  static const int registered = std::atexit(&stop_all_loops);
  static_cast<void>(registered);
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  std::erase_if(all.loops, [](const auto& weak) { return weak.expired(); });
  all.loops.push_back(loop);
}

}  // namespace

struct DaemonLink::Running {
  std::shared_ptr<LinkLoop> loop;  // shared with its thread, which may outlive the link
  std::thread thread;
};

class DaemonLink::Source : public lease::LeaseSource {
 public:
  Source(DaemonLink& link, std::size_t lease) : link_(link), lease_(lease) {}

  void acquire(const lease::LeaseRequest& request) override {
    if (Running* running = link_.running()) running->loop->acquire(lease_, request);
  }
  void cancel(RequestId id) override {
    if (Running* running = link_.started()) running->loop->cancel(lease_, id);
  }
  void changed(bool urgent) override {
    // Before the first use there is nobody to tell, unless bytes were taken beyond the lease.
    Running* running = urgent ? link_.running() : link_.started();
    if (running != nullptr) running->loop->changed(lease_, urgent);
  }
  void progress(RevocationId id, Bytes target, lease::RevokeState state,
                const std::string& reason) override {
    if (Running* running = link_.started()) {
      running->loop->progress(lease_, id, target, state, reason);
    }
  }

 private:
  DaemonLink& link_;
  const std::size_t lease_;
};

std::shared_ptr<DaemonLink> DaemonLink::make(LinkOptions options) {
  return std::shared_ptr<DaemonLink>(new DaemonLink(std::move(options)));
}

DaemonLink::DaemonLink(LinkOptions options)
    : options_(std::move(options)), listeners_(options_.resources.size()) {
  for (std::size_t i = 0; i < listeners_.size(); ++i) {
    sources_.push_back(std::make_unique<Source>(*this, i));
  }
}

DaemonLink::~DaemonLink() {
  if (forked()) {
    static_cast<void>(owned_.release());  // its thread and gRPC exist in the parent only
  } else if (owned_ && owned_->thread.joinable()) {
    // The thread let the listeners go, so it is at its end; it may be the one that runs this.
    owned_->loop->stop();
    owned_->thread.detach();
  }
}

void DaemonLink::bind(std::size_t lease, std::shared_ptr<lease::LeaseListener> listener) {
  MB_CHECK(lease < listeners_.size());
  MB_CHECK(running_.load() == nullptr);
  listeners_[lease] = std::move(listener);
}

std::shared_ptr<lease::LeaseSource> DaemonLink::source(std::size_t lease) {
  MB_CHECK(lease < sources_.size());
  return {shared_from_this(), sources_[lease].get()};
}

bool DaemonLink::forked() { return lease::fork_generation() != 0; }

Error DaemonLink::forked_error() {
  return Error(ErrorCode::kForked,
               "this process is a fork of the one that opened the client; it is cut off from "
               "membrokerd until it calls exec() (open clients after forking)");
}

DaemonLink::Running* DaemonLink::started() { return forked() ? nullptr : running_.load(); }

DaemonLink::Running* DaemonLink::running() {
  if (running_.load(std::memory_order_acquire) != nullptr || forked()) return started();
  const std::lock_guard lock(mutex_);
  if (stopped_) return nullptr;
  if (owned_) return owned_.get();
  lease::arm_fork_guard();
  options_.identity.token = make_token();
  owned_ = std::make_unique<Running>();
  owned_->loop = std::make_shared<LinkLoop>(options_, std::exchange(listeners_, {}));
  {
    const SignalsBlocked blocked;
    owned_->thread = std::thread([loop = owned_->loop] {
      pthread_setname_np(pthread_self(), "membroker-link");
      loop->run();
    });
  }
  stop_at_exit(owned_->loop);
  running_.store(owned_.get(), std::memory_order_release);
  return owned_.get();
}

Status DaemonLink::wait_connected(Millis timeout) {
  Running* link = running();
  if (link != nullptr) return link->loop->wait_connected(timeout);
  return fail(forked() ? forked_error() : closed_error());
}

bool DaemonLink::end_session(Millis timeout) {
  Running* link = started();
  return link == nullptr || link->loop->end_session(timeout);
}

void DaemonLink::abandon() {
  if (Running* link = started()) {
    link->loop->abandon();
    return;
  }
  if (!forked()) stop();
}

void DaemonLink::stop() {
  if (forked()) return;
  std::vector<std::shared_ptr<lease::LeaseListener>> unused;  // let go without the lock
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    unused.swap(listeners_);
  }
  if (!owned_ || !owned_->thread.joinable()) return;
  MB_CHECK(owned_->thread.get_id() != std::this_thread::get_id());
  owned_->loop->stop();
  owned_->thread.join();
}

LinkStatus DaemonLink::status() const {
  Running* link = forked() ? nullptr : running_.load(std::memory_order_acquire);
  return link == nullptr ? LinkStatus{} : link->loop->status();
}

}  // namespace membroker::transport
