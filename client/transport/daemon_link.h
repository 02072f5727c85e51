#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "client/lease/session_protocol.h"

/// \file
/// The LeaseSource that talks to membrokerd. No gRPC type is named here.

namespace membroker::transport {

enum class LinkState {
  kIdle,        // not started
  kConnecting,  // the first attempt, or the first after a loss
  kAttached,
  kAway,     // attempts go on
  kRefused,  // a final answer: attempts only when bytes are asked for again
  kEnded,    // Goodbye was said and heard, or stop() came
};

enum class LinkLog { kInfo, kWarn };

struct LinkOptions {
  std::string socket;
  lease::SessionIdentity identity;  // the token is made at the first use
  std::vector<std::string> resources;
  std::function<void(LinkLog, const std::string&)> log;  // on the link's thread; may be empty
};

struct LinkStatus {
  LinkState state = LinkState::kIdle;
  std::uint64_t session_id = 0;
  std::uint64_t epoch = 0;
  std::uint64_t attach = 0;
  lease::SessionCounters counters;
  std::uint64_t refusals = 0;  // final answers so far
  std::string last_error;      // empty while attached
  ErrorCode last_code = ErrorCode::kUnavailable;
};

/// One session's connection. Lazy: the first request for bytes, urgent change or wait_connected()
/// starts its thread, which owns the completion queue, the stream and the SessionProtocol, and
/// calls the listeners. The daemon away: it tries again after 50 ms to 2 s, with full jitter, each
/// time on a new channel over a socket of its own.
///
/// Life: the thread keeps the listeners alive, and they the link, until the session has ended. So
/// a session whose client is gone lives on, charged, until its last bytes are returned. What is
/// left of threads at the process's exit is stopped there.
///
/// Thread-safe but for bind() and stop(), which no listener may call. In a child forked after any
/// link of the process was started nothing here does anything, and what gRPC owns is leaked: also a
/// link made there would hang in gRPC.
class DaemonLink : public std::enable_shared_from_this<DaemonLink> {
 public:
  static std::shared_ptr<DaemonLink> make(LinkOptions options);
  ~DaemonLink();  // does not join
  DaemonLink(const DaemonLink&) = delete;
  DaemonLink& operator=(const DaemonLink&) = delete;

  /// The listener of lease number `lease`; every one before the first use.
  void bind(std::size_t lease, std::shared_ptr<lease::LeaseListener> listener);
  /// Carries for lease number `lease`; keeps the link alive.
  std::shared_ptr<lease::LeaseSource> source(std::size_t lease);

  /// Errors: kTimeout (attempts go on), the daemon's refusal, kClosed, kForked.
  Status wait_connected(Millis timeout);
  /// Says Goodbye as soon as nothing is held but the floors, and waits for the daemon's answer.
  /// True when the session has ended or there was none. The thread ends with the session.
  bool end_session(Millis timeout);
  /// Nobody will ask any more: end_session() without waiting, and a session that cannot be ended
  /// although nothing is held (the daemon is away) is left to the end of the process.
  void abandon();
  /// Cuts the connection and joins the thread; no listener is called afterwards. Does not wait for
  /// the daemon.
  void stop();

  LinkStatus status() const;
  static bool forked();
  /// What a call in a forked child fails with.
  static Error forked_error();

 private:
  struct Running;
  class Source;

  explicit DaemonLink(LinkOptions options);
  Running* running();  // started if need be; null in a forked child, or stopped before the start
  Running* started();  // null before the start and in a forked child

  LinkOptions options_;
  std::vector<std::shared_ptr<lease::LeaseListener>> listeners_;  // until the start
  std::vector<std::unique_ptr<Source>> sources_;
  mutable std::mutex mutex_;  // guards starting and stopping
  bool stopped_ = false;
  std::atomic<Running*> running_{nullptr};
  std::unique_ptr<Running> owned_;
};

}  // namespace membroker::transport
