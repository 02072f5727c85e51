#include "client/spill/io_engine.h"

#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

#include "shared/check.h"
#include "shared/fd.h"

namespace membroker::spill {
namespace {

constexpr unsigned kRingEntries = 64;  // requests on order at once; more wait in the inbox

// Moves what is left of a request, from byte `done` on. Returns bytes moved in all, or -errno.
Bytes move_rest(const IoRequest& request, Bytes done) noexcept {
  while (done < request.length) {
    const auto left = static_cast<std::size_t>(request.length - done);
    const ssize_t moved =
        request.kind == IoRequest::Kind::kRead
            ? ::pread(request.fd, request.data + done, left, request.offset + done)
            : ::pwrite(request.fd, request.data + done, left, request.offset + done);
    if (moved < 0 && errno == EINTR) continue;
    if (moved < 0) return -errno;
    if (moved == 0) break;
    done += moved;
  }
  return done;
}

// A file system may take O_DIRECT when the file is opened and refuse it at the first request.
bool drop_direct_io(int fd) noexcept {
  const int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && (flags & O_DIRECT) != 0 && ::fcntl(fd, F_SETFL, flags & ~O_DIRECT) == 0;
}

// The host's signals are for its own threads: while one of these exists, none is delivered here,
// and threads made meanwhile start out the same.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

// Ends a request whose first attempt gave `result` (bytes or -errno).
void end_request(std::unique_ptr<IoRequest> request, Bytes result) noexcept {
  // The kernel cuts requests short, and cancels them when a helper thread of its own ends.
  const bool again = result == -EINTR || result == -EAGAIN || result == -ECANCELED;
  if (again) result = move_rest(*request, 0);
  if (result > 0 && result < request->length) result = move_rest(*request, result);
  if (result == -EINVAL && drop_direct_io(request->fd)) result = move_rest(*request, 0);
  request->complete(result);
}

}  // namespace

struct IoEngine::State {
  explicit State(bool with_io_uring) : want_io_uring(with_io_uring) {}

  const bool want_io_uring;
  const pid_t pid = ::getpid();
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::unique_ptr<IoRequest>> inbox;
  bool stopping = false;
  bool started = false;
  bool ring_in_use = false;
  bool threadless = false;  // no thread could be made: requests are done by their submitter
  UniqueFd wake;            // eventfd the ring listens to
  std::thread thread;

  void run();
  void run_with_ring(struct io_uring& ring);
  void run_with_calls();
  bool open_ring(struct io_uring& ring);
};

// Called by the thread that will use it: the cheap modes want one and the same.
bool IoEngine::State::open_ring(struct io_uring& ring) {
  if (!want_io_uring) return false;
  wake = UniqueFd(::eventfd(0, EFD_CLOEXEC));
  if (!wake) return false;
  const unsigned cheap = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  return ::io_uring_queue_init(kRingEntries, &ring, cheap) == 0 ||
         ::io_uring_queue_init(kRingEntries, &ring, 0) == 0;
}

void IoEngine::State::run() {
  ::pthread_setname_np(::pthread_self(), "mb-spill-io");
  struct io_uring ring {};
  const bool ring_open = open_ring(ring);
  {
    const std::lock_guard lock(mutex);
    started = true;
    ring_in_use = ring_open;
  }
  changed.notify_all();
  if (!ring_open) {
    run_with_calls();
    return;
  }
  run_with_ring(ring);
  ::io_uring_queue_exit(&ring);
}

void IoEngine::State::run_with_calls() {
  std::unique_lock lock(mutex);
  while (true) {
    changed.wait(lock, [&] { return stopping || !inbox.empty(); });
    if (inbox.empty()) return;
    auto request = std::move(inbox.front());
    inbox.pop_front();
    lock.unlock();
    const Bytes moved = move_rest(*request, 0);
    end_request(std::move(request), moved);
    lock.lock();
  }
}

void IoEngine::State::run_with_ring(struct io_uring& ring) {
  bool listening = false;
  unsigned on_order = 0;
  std::deque<std::unique_ptr<IoRequest>> taken;
  while (true) {
    {
      const std::lock_guard lock(mutex);
      for (; !inbox.empty() && on_order + taken.size() < kRingEntries - 1; inbox.pop_front()) {
        taken.push_back(std::move(inbox.front()));
      }
      if (stopping && inbox.empty() && taken.empty() && on_order == 0) return;
    }
    if (!listening) {
      io_uring_sqe* sqe = ::io_uring_get_sqe(&ring);
      MB_CHECK(sqe != nullptr);
      ::io_uring_prep_poll_add(sqe, wake.get(), POLLIN);
      ::io_uring_sqe_set_data(sqe, nullptr);
      listening = true;
    }
    for (; !taken.empty(); taken.pop_front(), ++on_order) {
      io_uring_sqe* sqe = ::io_uring_get_sqe(&ring);
      MB_CHECK(sqe != nullptr);
      IoRequest* request = taken.front().release();
      const auto length = static_cast<unsigned>(request->length);
      const auto offset = static_cast<std::uint64_t>(request->offset);
      if (request->kind == IoRequest::Kind::kRead) {
        ::io_uring_prep_read(sqe, request->fd, request->data, length, offset);
      } else {
        ::io_uring_prep_write(sqe, request->fd, request->data, length, offset);
      }
      ::io_uring_sqe_set_data(sqe, request);
    }
    ::io_uring_submit_and_wait(&ring, 1);
    io_uring_cqe* cqe = nullptr;
    while (::io_uring_peek_cqe(&ring, &cqe) == 0) {
      std::unique_ptr<IoRequest> request(static_cast<IoRequest*>(::io_uring_cqe_get_data(cqe)));
      const int result = cqe->res;
      ::io_uring_cqe_seen(&ring, cqe);
      if (!request) {
        eventfd_t count = 0;
        ::eventfd_read(wake.get(), &count);
        listening = false;
        continue;
      }
      --on_order;
      end_request(std::move(request), result);
    }
  }
}

IoEngine::IoEngine(bool io_uring) : state_(std::make_shared<State>(io_uring)) {}

void IoEngine::start() {
  std::unique_lock lock(state_->mutex);
  if (!state_->thread.joinable() && !state_->threadless) {
    const SignalsBlocked blocked;
    try {
      state_->thread = std::thread([state = state_] { state->run(); });
    } catch (const std::system_error&) {
      state_->threadless = true;
      state_->started = true;
    }
  }
  state_->changed.wait(lock, [&] { return state_->started; });
}

bool IoEngine::uses_io_uring() {
  start();
  const std::lock_guard lock(state_->mutex);
  return state_->ring_in_use;
}

void IoEngine::submit(std::unique_ptr<IoRequest> request) {
  start();
  bool wake_ring = false;
  {
    const std::lock_guard lock(state_->mutex);
    if (!state_->threadless) {
      wake_ring = state_->ring_in_use && state_->inbox.empty();
      state_->inbox.push_back(std::move(request));
    }
  }
  if (request) {
    const Bytes moved = move_rest(*request, 0);
    end_request(std::move(request), moved);
    return;
  }
  if (wake_ring) {
    MB_CHECK(::eventfd_write(state_->wake.get(), 1) == 0);
  } else {
    state_->changed.notify_all();
  }
}

IoEngine::~IoEngine() {
  if (::getpid() != state_->pid) {  // a fork: the thread is the parent's
    if (state_->thread.joinable()) state_->thread.detach();
    return;
  }
  bool wake_ring = false;
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    wake_ring = state_->ring_in_use;
  }
  if (wake_ring) MB_CHECK(::eventfd_write(state_->wake.get(), 1) == 0);
  state_->changed.notify_all();
  if (!state_->thread.joinable()) return;
  if (state_->thread.get_id() == std::this_thread::get_id()) {
    state_->thread.detach();  // the last request's owner was the last owner of all
  } else {
    state_->thread.join();
  }
}

}  // namespace membroker::spill
