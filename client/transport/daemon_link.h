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
/// Thread-safe but for bind(), stop() and destruction, which no listener may call. In a child
/// forked after the start nothing here does anything, and destruction leaks what gRPC owns.
class DaemonLink {
 public:
  explicit DaemonLink(LinkOptions options);
  ~DaemonLink();  // stop()
  DaemonLink(const DaemonLink&) = delete;
  DaemonLink& operator=(const DaemonLink&) = delete;

  /// The listener of lease number `lease`; every one before the first use. It must live until
  /// stop() has returned.
  void bind(std::size_t lease, lease::LeaseListener& listener);
  /// Carries for lease number `lease`; lives as long as the link.
  lease::LeaseSource& source(std::size_t lease);

  /// Errors: kTimeout (attempts go on), the daemon's refusal, kClosed, kForked.
  Status wait_connected(Millis timeout);
  /// Says Goodbye as soon as nothing is held but the floors, and waits for the daemon's answer.
  /// True when the session has ended or there was none.
  bool end_session(Millis timeout);
  /// Cuts the connection and joins the thread; no listener is called afterwards. Does not wait for
  /// the daemon.
  void stop();

  LinkStatus status() const;
  bool forked() const;

 private:
  struct Running;
  class Source;

  Running* running();  // started if need be; null in a forked child, or stopped before the start
  Running* started();  // null before the start and in a forked child

  LinkOptions options_;
  std::vector<lease::LeaseListener*> listeners_;
  std::vector<std::unique_ptr<Source>> sources_;
  mutable std::mutex mutex_;  // guards starting and stopping
  bool stopped_ = false;
  std::atomic<std::uint64_t> generation_{0};  // of the process that started it
  std::atomic<Running*> running_{nullptr};
  std::unique_ptr<Running> owned_;
};

}  // namespace membroker::transport
