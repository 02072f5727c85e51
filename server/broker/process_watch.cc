#include "server/broker/process_watch.h"

#include <sys/syscall.h>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "server/broker/pidfd.h"
#include "server/broker/process_facts.h"
#include "shared/format.h"

namespace membroker::broker {

Result<UniqueFd> open_pidfd(pid_t pid) {
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (fd) return fd;
  if (errno == ESRCH || errno == EINVAL) {
    return fail(ErrorCode::kNotFound, strf("there is no process %d", pid));
  }
  return fail(errno_error(strf("pidfd_open of process %d", pid), errno));
}

struct ProcessWatch::Impl {
  explicit Impl(OnExit hook) : on_exit(std::move(hook)), work(asio::make_work_guard(io)) {}

  // Its handler runs on the thread.
  void wait_for(const Peer& peer, asio::posix::stream_descriptor& pidfd) {
    pidfd.async_wait(asio::posix::stream_descriptor::wait_read,
                     [this, peer](const asio::error_code& error) {
                       if (error) return;
                       {
                         const std::lock_guard lock(mutex);
                         watched.erase(peer.key());
                       }
                       on_exit(peer);
                     });
  }

  const OnExit on_exit;
  asio::io_context io{1};
  asio::executor_work_guard<asio::io_context::executor_type> work;
  std::mutex mutex;  // leaf; guards `watched`
  std::map<ProcessKey, asio::posix::stream_descriptor> watched;
  std::thread thread;
};

ProcessWatch::ProcessWatch(OnExit on_exit) : impl_(std::make_unique<Impl>(std::move(on_exit))) {
  impl_->thread = std::thread([impl = impl_.get()] { impl->io.run(); });
}

ProcessWatch::~ProcessWatch() { stop(); }

void ProcessWatch::stop() {
  impl_->io.stop();
  if (impl_->thread.joinable()) impl_->thread.join();
}

Status ProcessWatch::watch(const Peer& peer) {
  {
    const std::lock_guard lock(impl_->mutex);
    if (impl_->watched.contains(peer.key())) return {};
  }
  auto pidfd = open_pidfd(peer.pid);
  if (!pidfd) return fail(pidfd.error());
  // Read after the pidfd was opened: if the number was used again meanwhile, this differs.
  const auto start_time = process_start_time(peer.pid);
  if (!start_time) return fail(start_time.error());
  if (*start_time != peer.start_time) {
    return fail(ErrorCode::kNotFound,
                strf("process %d is another one by now (started at tick %llu, not %llu)", peer.pid,
                     static_cast<unsigned long long>(*start_time),
                     static_cast<unsigned long long>(peer.start_time)));
  }
  const std::lock_guard lock(impl_->mutex);
  if (impl_->watched.contains(peer.key())) return {};
  asio::posix::stream_descriptor descriptor(impl_->io);
  asio::error_code error;
  descriptor.assign(pidfd->get(), error);
  if (error) {
    return fail(ErrorCode::kIo, strf("watch process %d: %s", peer.pid, error.message().c_str()));
  }
  static_cast<void>(pidfd->release());
  const auto [at, inserted] = impl_->watched.emplace(peer.key(), std::move(descriptor));
  impl_->wait_for(peer, at->second);
  return {};
}

void ProcessWatch::forget(const Peer& peer) {
  const std::lock_guard lock(impl_->mutex);
  impl_->watched.erase(peer.key());
}

}  // namespace membroker::broker
