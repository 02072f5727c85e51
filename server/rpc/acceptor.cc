#include "server/rpc/acceptor.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <deque>
#include <map>
#include <mutex>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>

#include "server/rpc/acceptor_peer.h"
#include "server/rpc/acceptor_socket.h"
#include "shared/format.h"

namespace membroker::rpc {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kAcceptsPerWake = 64;
constexpr std::chrono::milliseconds kPauseAfterFailure{100};
// Refused connections that may stay open for the answer to be read. Each may hold up a thread of
// gRPC's by not reading.
constexpr std::uint32_t kLingeringMax = 2;

// Gives every connection a number that was not in use for long, through whichever door it came: the
// numbers are the process's, and a late RPC of one door must not find a newer peer of the other.
// Starts half way up, so that dups and pidfds, which take the lowest free number, seldom get in
// between.
class FdRotation {
 public:
  FdRotation() {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    // The kernel's table grows with the highest number: no use for more than this.
    const auto top = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 65'536));
    base_ = top / 2;
    span_ = static_cast<std::uint32_t>(std::max(1, top - base_));
  }

  Result<UniqueFd> move(UniqueFd fd) {
    const int wanted = base_ + static_cast<int>(next().fetch_add(1) % span_);
    int moved = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, wanted);
    if (moved < 0) moved = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, base_);
    if (moved < 0) return fail(errno_error("move an accepted descriptor", errno));
    return UniqueFd(moved);
  }

 private:
  static std::atomic<std::uint32_t>& next() {
    static std::atomic<std::uint32_t> number = 0;
    return number;
  }

  int base_ = 0;
  std::uint32_t span_ = 1;
};

// N of "fd:<N>", which gRPC says of a connection that it was handed; -1 for any other.
int number_of(const std::string& grpc_peer) {
  constexpr std::string_view kPrefix = "fd:";
  if (!grpc_peer.starts_with(kPrefix)) return -1;
  int number = -1;
  const char* const end = grpc_peer.data() + grpc_peer.size();
  const auto parsed = std::from_chars(grpc_peer.data() + kPrefix.size(), end, number);
  return parsed.ec == std::errc() && parsed.ptr == end ? number : -1;
}

class AsioAcceptor final : public Acceptor {
 public:
  AsioAcceptor(AcceptorOptions options, Hooks hooks, ListeningSocket socket)
      : options_(std::move(options)), hooks_(std::move(hooks)), socket_(std::move(socket)) {}
  ~AsioAcceptor() override;

  Status begin();
  std::optional<Connection> begin_rpc(const std::string& grpc_peer) override;
  void refuse_rpc(const std::string& grpc_peer) override;
  bool knows(const std::string& grpc_peer) const override;
  void shutdown_connection(std::uint64_t generation) override;
  void shutdown_all() override;
  void stop_accepting() override;

 private:
  struct Entry {
    Connection connection;
    UniqueFd watched;  // a dup, ours as long as the entry lives
    std::uint64_t rpcs = 0;
    bool lingers = false;  // an RPC was refused
  };
  struct Deadline {
    Clock::time_point at;
    std::uint64_t generation = 0;
    bool refused = false;  // closes the connection also if an RPC has begun
  };

  Entry* find(const std::string& grpc_peer);  // mutex_ is held

  // All of these run on the thread.
  void wait_for_connections();
  void accept_some();
  void admit(UniqueFd fd);
  Status check_limits(const broker::Peer& peer);
  Result<Connection> record(const broker::Peer& peer, const UniqueFd& fd);
  void wait_for_closes();
  void collect_closes();
  void close_entry(std::uint64_t generation);
  void set_deadline(std::uint64_t generation, bool refused);
  void arm_deadline_timer();
  void refuse(const broker::Peer& peer, const Error& error);

  const AcceptorOptions options_;
  const Hooks hooks_;
  std::atomic<bool> stopped_ = false;

  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_ = asio::make_work_guard(io_);

  // The thread's own.
  std::optional<ListeningSocket> socket_;
  asio::posix::stream_descriptor listening_{io_};  // a dup of socket_
  // One epoll set of our own for RDHUP: Asio's would wake the thread for every frame read by gRPC.
  asio::posix::stream_descriptor closes_{io_};
  asio::steady_timer pause_{io_};
  asio::steady_timer deadline_timer_{io_};
  std::deque<Deadline> deadlines_;  // by time
  FdRotation rotation_;
  std::uint64_t last_generation_ = 0;

  mutable std::mutex mutex_;  // leaf; guards the table below
  std::unordered_map<std::uint64_t, Entry> entries_;
  std::unordered_map<int, std::uint64_t> generation_of_fd_;
  std::map<uid_t, std::uint32_t> connections_of_uid_;
  std::uint32_t lingering_ = 0;

  std::thread thread_;
};

AsioAcceptor::~AsioAcceptor() {
  io_.stop();
  if (thread_.joinable()) thread_.join();
}

Status AsioAcceptor::begin() {
  UniqueFd listening(::fcntl(socket_->get(), F_DUPFD_CLOEXEC, 0));
  if (!listening) return fail(errno_error("dup of the listening socket", errno));
  UniqueFd closes(::epoll_create1(EPOLL_CLOEXEC));
  if (!closes) return fail(errno_error("epoll_create1", errno));
  asio::error_code error;
  listening_.assign(listening.get(), error);
  if (!error) static_cast<void>(listening.release());
  if (!error) closes_.assign(closes.get(), error);
  if (error) return fail(ErrorCode::kIo, "watch the listening socket: " + error.message());
  static_cast<void>(closes.release());
  wait_for_connections();
  wait_for_closes();
  thread_ = std::thread([this] { io_.run(); });
  return {};
}

void AsioAcceptor::wait_for_connections() {
  listening_.async_wait(asio::posix::stream_descriptor::wait_read,
                        [this](const asio::error_code& error) {
                          if (!error) accept_some();
                        });
}

void AsioAcceptor::accept_some() {
  for (int i = 0; i < kAcceptsPerWake && !stopped_; ++i) {
    UniqueFd fd(
        ::accept4(listening_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd) {
      admit(std::move(fd));
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN) break;
    refuse({}, errno_error("accept", errno));
    // Out of descriptors or memory: the connection stays in the backlog; look again a bit later.
    pause_.expires_after(kPauseAfterFailure);
    pause_.async_wait([this](const asio::error_code& error) {
      if (!error && !stopped_) wait_for_connections();
    });
    return;
  }
  if (!stopped_) wait_for_connections();
}

void AsioAcceptor::refuse(const broker::Peer& peer, const Error& error) {
  if (hooks_.on_refused) hooks_.on_refused(peer, error);
}

void AsioAcceptor::admit(UniqueFd fd) {
  const auto peer = identify_peer(fd.get(), options_.allow_unwatched, options_.use_peerpidfd);
  if (!peer) return refuse({}, peer.error());
  if (const auto room = check_limits(*peer); !room) return refuse(*peer, room.error());
  auto moved = rotation_.move(std::move(fd));
  if (!moved) return refuse(*peer, moved.error());
  const auto connection = record(*peer, *moved);
  if (!connection) return refuse(*peer, connection.error());
  set_deadline(connection->generation, false);
  hooks_.hand_over(std::move(*moved));
}

Status AsioAcceptor::check_limits(const broker::Peer& peer) {
  const std::lock_guard lock(mutex_);
  if (entries_.size() >= options_.connections_max) {
    return fail(
        ErrorCode::kResourcesExhausted,
        strf("all %u connections are taken (limits.sessions_max)", options_.connections_max));
  }
  const auto of_uid = connections_of_uid_.find(peer.uid);
  if (of_uid != connections_of_uid_.end() && of_uid->second >= options_.connections_per_uid_max) {
    return fail(ErrorCode::kResourcesExhausted,
                strf("uid %u has %u connections, all that one user may have "
                     "(limits.sessions_per_uid_max)",
                     peer.uid, of_uid->second));
  }
  return {};
}

Result<Connection> AsioAcceptor::record(const broker::Peer& peer, const UniqueFd& fd) {
  Entry entry;
  entry.connection = {++last_generation_, fd.get(), peer};
  entry.watched = UniqueFd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!entry.watched) return fail(errno_error("dup of an accepted descriptor", errno));
  epoll_event interest{};
  interest.events = EPOLLRDHUP;  // HUP and ERR come unasked
  interest.data.u64 = entry.connection.generation;
  if (::epoll_ctl(closes_.native_handle(), EPOLL_CTL_ADD, entry.watched.get(), &interest) != 0) {
    return fail(errno_error("watch an accepted descriptor", errno));
  }
  const Connection connection = entry.connection;
  const std::lock_guard lock(mutex_);
  ++connections_of_uid_[peer.uid];
  generation_of_fd_[connection.fd] = connection.generation;
  entries_.emplace(connection.generation, std::move(entry));
  return connection;
}

void AsioAcceptor::wait_for_closes() {
  closes_.async_wait(asio::posix::stream_descriptor::wait_read,
                     [this](const asio::error_code& error) {
                       if (error) return;
                       collect_closes();
                       wait_for_closes();
                     });
}

void AsioAcceptor::collect_closes() {
  std::array<epoll_event, 64> events{};
  const int count =
      ::epoll_wait(closes_.native_handle(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) close_entry(events[static_cast<std::size_t>(i)].data.u64);
}

void AsioAcceptor::close_entry(std::uint64_t generation) {
  Connection connection;
  {
    const std::lock_guard lock(mutex_);
    const auto at = entries_.find(generation);
    if (at == entries_.end()) return;
    connection = at->second.connection;
    // gRPC's descriptor may still be open, and an epoll item lives as long as its file does.
    ::epoll_ctl(closes_.native_handle(), EPOLL_CTL_DEL, at->second.watched.get(), nullptr);
    ::shutdown(at->second.watched.get(), SHUT_RDWR);  // a peer that closed one direction only
    if (at->second.lingers) --lingering_;
    entries_.erase(at);
    const auto of_fd = generation_of_fd_.find(connection.fd);
    if (of_fd != generation_of_fd_.end() && of_fd->second == generation) {
      generation_of_fd_.erase(of_fd);
    }
    const auto of_uid = connections_of_uid_.find(connection.peer.uid);
    if (--of_uid->second == 0) connections_of_uid_.erase(of_uid);
  }
  if (hooks_.on_closed) hooks_.on_closed(connection);
}

void AsioAcceptor::set_deadline(std::uint64_t generation, bool refused) {
  const auto at = Clock::now() + std::chrono::milliseconds(options_.first_rpc_ms);
  deadlines_.push_back({at, generation, refused});
  if (deadlines_.size() == 1) arm_deadline_timer();
}

void AsioAcceptor::arm_deadline_timer() {
  deadline_timer_.expires_at(deadlines_.front().at);
  deadline_timer_.async_wait([this](const asio::error_code& error) {
    if (error) return;
    const auto now = Clock::now();
    while (!deadlines_.empty() && deadlines_.front().at <= now) {
      const Deadline passed = deadlines_.front();
      deadlines_.pop_front();
      const std::lock_guard lock(mutex_);
      const auto at = entries_.find(passed.generation);
      if (at != entries_.end() && (passed.refused || at->second.rpcs == 0)) {
        ::shutdown(at->second.watched.get(), SHUT_RDWR);
      }
    }
    if (!deadlines_.empty()) arm_deadline_timer();
  });
}

std::optional<Connection> AsioAcceptor::begin_rpc(const std::string& grpc_peer) {
  const std::lock_guard lock(mutex_);
  Entry* const entry = find(grpc_peer);
  if (entry == nullptr) return std::nullopt;
  if (++entry->rpcs <= options_.rpcs_max) return entry->connection;
  ::shutdown(entry->watched.get(), SHUT_RDWR);
  return std::nullopt;
}

void AsioAcceptor::refuse_rpc(const std::string& grpc_peer) {
  std::uint64_t generation = 0;
  {
    const std::lock_guard lock(mutex_);
    Entry* const entry = find(grpc_peer);
    if (entry == nullptr) return;
    ++entry->rpcs;
    if (entry->lingers || lingering_ >= kLingeringMax) {
      ::shutdown(entry->watched.get(), SHUT_RDWR);
      return;
    }
    entry->lingers = true;
    ++lingering_;
    generation = entry->connection.generation;
  }
  asio::post(io_, [this, generation] { set_deadline(generation, true); });
}

AsioAcceptor::Entry* AsioAcceptor::find(const std::string& grpc_peer) {
  const auto of_fd = generation_of_fd_.find(number_of(grpc_peer));
  return of_fd == generation_of_fd_.end() ? nullptr : &entries_.at(of_fd->second);
}

bool AsioAcceptor::knows(const std::string& grpc_peer) const {
  const std::lock_guard lock(mutex_);
  return generation_of_fd_.count(number_of(grpc_peer)) > 0;
}

void AsioAcceptor::shutdown_connection(std::uint64_t generation) {
  const std::lock_guard lock(mutex_);
  const auto at = entries_.find(generation);
  if (at != entries_.end()) ::shutdown(at->second.watched.get(), SHUT_RDWR);
}

void AsioAcceptor::shutdown_all() {
  const std::lock_guard lock(mutex_);
  for (const auto& [generation, entry] : entries_) ::shutdown(entry.watched.get(), SHUT_RDWR);
}

void AsioAcceptor::stop_accepting() {
  if (stopped_.exchange(true)) return;
  asio::post(io_, [this] {
    pause_.cancel();
    asio::error_code ignored;
    listening_.close(ignored);
    socket_.reset();
  });
}

}  // namespace

Result<std::unique_ptr<Acceptor>> Acceptor::start(AcceptorOptions options, Hooks hooks,
                                                  UniqueFd inherited) {
  auto socket = inherited ? ListeningSocket::adopt(std::move(inherited))
                          : ListeningSocket::bind(options.path, options.mode);
  if (!socket) return fail(socket.error());
  auto acceptor =
      std::make_unique<AsioAcceptor>(std::move(options), std::move(hooks), std::move(*socket));
  if (auto begun = acceptor->begin(); !begun) return fail(begun.error());
  return acceptor;
}

}  // namespace membroker::rpc
