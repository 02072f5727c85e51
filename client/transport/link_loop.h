#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <array>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "client/lease/session_protocol.h"
#include "client/transport/daemon_link.h"
#include "client/transport/session_stream.h"
#include "client/transport/status_words.h"

namespace membroker::transport {

/// The thread of a DaemonLink: run() drives protocol and stream until stop(). Everything private
/// is that thread's but for the two structs that say otherwise. The public calls are thread-safe.
class LinkLoop {
 public:
  LinkLoop(LinkOptions options, std::vector<std::shared_ptr<lease::LeaseListener>> listeners);

  /// Until stop() or the end of the session; then the listeners are let go.
  void run();

  void acquire(std::size_t lease, const lease::LeaseRequest& request);
  void cancel(std::size_t lease, RequestId id);
  void changed(std::size_t lease, bool urgent);
  void progress(std::size_t lease, RevocationId id, Bytes target, lease::RevokeState state,
                const std::string& reason);
  void stop();
  void abandon();
  bool wait_stopped(Millis timeout);

  Status wait_connected(Millis timeout);
  bool end_session(Millis timeout);
  LinkStatus status() const;

 private:
  enum class Phase { kResting, kBackoff, kStreaming, kCutting };

  struct Request {
    std::size_t lease = 0;
    bool is_cancel = false;
    lease::LeaseRequest request;
  };
  struct Report {
    std::size_t lease = 0;
    RevocationId id;
    Bytes target = 0;
    lease::RevokeState state = lease::RevokeState::kWorking;
    std::string reason;
  };
  /// What other threads want. Under inbox_mutex_.
  struct Inbox {
    std::vector<Request> requests;  // in the callers' order
    std::vector<Report> reports;
    std::array<bool, lease::kLeasesPerSessionMax> changed{};
    std::array<bool, lease::kLeasesPerSessionMax> urgent{};
    bool want = false;  // a session is wanted, even after a final answer
    bool goodbye = false;
    bool abandon = false;
    bool stop = false;
  };

  bool over() const;
  void wake();  // under inbox_mutex_
  void take_inbox(Instant now);
  void step(Instant now);
  void connect(Instant now);
  void stream_step(Instant now);
  void cut(Error why);
  void after_stream(Instant now);
  void attempt_failed(StreamEnd end, Instant now);
  void wait_for_event(Instant now);
  void on_tag(std::uintptr_t tag, bool ok);
  void publish();
  void log(LinkLog level, const std::string& line);
  Instant next_deadline() const;

  const LinkOptions options_;
  std::vector<std::shared_ptr<lease::LeaseListener>> listeners_;
  lease::SessionProtocol protocol_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<SessionStream> stream_;
  Phase phase_ = Phase::kBackoff;  // the first attempt is due at once
  Instant retry_at_;
  int failures_ = 0;  // in a row
  std::minstd_rand jitter_;
  bool wanted_ = false;
  bool stopping_ = false;
  bool goodbye_ = false;
  bool abandoned_ = false;
  bool attached_here_ = false;        // this stream brought the session up
  std::optional<Error> cut_because_;  // why we ended the stream ourselves
  LinkStatus now_;                    // what publish() tells

  mutable std::mutex inbox_mutex_;
  Inbox inbox_;
  bool armed_ = false;   // under inbox_mutex_: the alarm's tag is on its way
  bool awake_ = true;    // under inbox_mutex_: the loop looks into the inbox before it waits
  bool closed_ = false;  // under inbox_mutex_: the queue takes no more
  grpc::Alarm alarm_;    // under inbox_mutex_

  mutable std::mutex status_mutex_;
  std::condition_variable status_changed_;
  LinkStatus published_;  // under status_mutex_
  bool stopped_ = false;  // under status_mutex_: run() is over
};

}  // namespace membroker::transport
