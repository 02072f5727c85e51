#include "client/transport/daemon_link.h"

#include <pthread.h>
#include <signal.h>
#include <sys/random.h>

#include <cerrno>
#include <system_error>
#include <thread>
#include <utility>

#include "client/lease/fork_guard.h"
#include "client/transport/link_loop.h"
#include "shared/check.h"

namespace membroker::transport {
namespace {

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

Error forked_error() {
  return Error(ErrorCode::kForked,
               "this process is a fork of the one that opened the client; it is cut off from "
               "membrokerd until it calls exec() (open clients after forking)");
}
Error closed_error() { return Error(ErrorCode::kClosed, "the client was closed"); }

}  // namespace

struct DaemonLink::Running {
  Running(const LinkOptions& options, std::vector<lease::SessionLease> leases)
      : loop(options, std::move(leases)) {}
  LinkLoop loop;
  std::thread thread;
};

class DaemonLink::Source : public lease::LeaseSource {
 public:
  Source(DaemonLink& link, std::size_t lease) : link_(link), lease_(lease) {}

  void acquire(const lease::LeaseRequest& request) override {
    if (Running* running = link_.running()) running->loop.acquire(lease_, request);
  }
  void cancel(RequestId id) override {
    if (Running* running = link_.started()) running->loop.cancel(lease_, id);
  }
  void changed(bool urgent) override {
    // Before the first use there is nobody to tell, unless bytes were taken beyond the lease.
    Running* running = urgent ? link_.running() : link_.started();
    if (running != nullptr) running->loop.changed(lease_, urgent);
  }
  void progress(RevocationId id, Bytes target, lease::RevokeState state,
                const std::string& reason) override {
    if (Running* running = link_.started()) {
      running->loop.progress(lease_, id, target, state, reason);
    }
  }

 private:
  DaemonLink& link_;
  const std::size_t lease_;
};

DaemonLink::DaemonLink(LinkOptions options)
    : options_(std::move(options)), listeners_(options_.resources.size(), nullptr) {
  for (std::size_t i = 0; i < listeners_.size(); ++i) {
    sources_.push_back(std::make_unique<Source>(*this, i));
  }
}

DaemonLink::~DaemonLink() { stop(); }

void DaemonLink::bind(std::size_t lease, lease::LeaseListener& listener) {
  MB_CHECK(lease < listeners_.size());
  MB_CHECK(running_.load() == nullptr);
  listeners_[lease] = &listener;
}

lease::LeaseSource& DaemonLink::source(std::size_t lease) {
  MB_CHECK(lease < sources_.size());
  return *sources_[lease];
}

bool DaemonLink::forked() const {
  return running_.load(std::memory_order_acquire) != nullptr &&
         generation_.load(std::memory_order_relaxed) != lease::fork_generation();
}

DaemonLink::Running* DaemonLink::started() { return forked() ? nullptr : running_.load(); }

DaemonLink::Running* DaemonLink::running() {
  if (running_.load(std::memory_order_acquire) != nullptr) return started();
  const std::lock_guard lock(mutex_);
  if (stopped_) return nullptr;
  if (owned_) return owned_.get();
  lease::arm_fork_guard();
  generation_.store(lease::fork_generation(), std::memory_order_relaxed);
  options_.identity.token = make_token();
  std::vector<lease::SessionLease> leases;
  for (std::size_t i = 0; i < listeners_.size(); ++i) {
    leases.push_back({options_.resources[i], listeners_[i]});
  }
  owned_ = std::make_unique<Running>(options_, std::move(leases));
  {
    const SignalsBlocked blocked;
    owned_->thread = std::thread([loop = &owned_->loop] {
      pthread_setname_np(pthread_self(), "membroker-link");
      loop->run();
    });
  }
  running_.store(owned_.get(), std::memory_order_release);
  return owned_.get();
}

Status DaemonLink::wait_connected(Millis timeout) {
  Running* link = running();
  if (link != nullptr) return link->loop.wait_connected(timeout);
  return fail(forked() ? forked_error() : closed_error());
}

bool DaemonLink::end_session(Millis timeout) {
  Running* link = started();
  return link == nullptr || link->loop.end_session(timeout);
}

void DaemonLink::stop() {
  if (forked()) {
    static_cast<void>(owned_.release());  // its thread and gRPC exist in the parent only
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  if (!owned_ || !owned_->thread.joinable()) return;
  MB_CHECK(owned_->thread.get_id() != std::this_thread::get_id());
  owned_->loop.stop();
  owned_->thread.join();
}

LinkStatus DaemonLink::status() const {
  Running* link = forked() ? nullptr : running_.load(std::memory_order_acquire);
  return link == nullptr ? LinkStatus{} : link->loop.status();
}

}  // namespace membroker::transport
