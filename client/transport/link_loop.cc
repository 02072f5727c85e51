#include "client/transport/link_loop.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "client/transport/unix_connect.h"
#include "shared/format.h"

namespace membroker::transport {
namespace {

constexpr std::uintptr_t kWakeTag = SessionStream::kTagsEnd;
constexpr Millis kBackoffFirst = 50;
constexpr Millis kBackoffLast = 2'000;
constexpr Millis kBackoffLeast = 5;  // jitter must not spin

std::vector<lease::SessionLease> leases_of(
    const LinkOptions& options,
    const std::vector<std::shared_ptr<lease::LeaseListener>>& listeners) {
  std::vector<lease::SessionLease> leases;
  for (std::size_t i = 0; i < listeners.size(); ++i) {
    leases.push_back({options.resources[i], listeners[i].get()});
  }
  return leases;
}

void* as_pointer(std::uintptr_t tag) { return reinterpret_cast<void*>(tag); }

gpr_timespec as_timespec(Instant deadline, Instant now) {
  if (deadline >= Instant::never()) return gpr_inf_future(GPR_CLOCK_MONOTONIC);
  const Millis wait = std::max<Millis>(0, deadline - now);
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(wait, GPR_TIMESPAN));
}

std::uint32_t seed_of(const lease::SessionIdentity& identity) {
  std::uint32_t seed = 0;
  std::memcpy(&seed, identity.token.data(), sizeof seed);
  return seed;
}

}  // namespace

LinkLoop::LinkLoop(LinkOptions options,
                   std::vector<std::shared_ptr<lease::LeaseListener>> listeners)
    : options_(std::move(options)),
      listeners_(std::move(listeners)),
      protocol_(options_.identity, leases_of(options_, listeners_)),
      jitter_(seed_of(options_.identity)) {
  now_.state = LinkState::kConnecting;
  published_ = now_;
}

// ---- the loop's thread ----

void LinkLoop::run() {
  for (;;) {
    const Instant now = monotonic_now();
    take_inbox(now);
    step(now);
    publish();
    if (over()) break;
    wait_for_event(now);
  }
  {
    const std::lock_guard lock(inbox_mutex_);
    closed_ = true;
    alarm_.Cancel();
    queue_.Shutdown();
  }
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
  now_.state = LinkState::kEnded;
  publish();
  listeners_.clear();
  const std::lock_guard lock(status_mutex_);
  stopped_ = true;
  status_changed_.notify_all();
}

bool LinkLoop::over() const {
  if (stream_) return false;
  if (stopping_ || now_.state == LinkState::kEnded) return true;
  // Nobody waits for an answer, and what cannot be told now is told by the end of the process.
  return abandoned_ && protocol_.only_floors();
}

void LinkLoop::take_inbox(Instant now) {
  Inbox inbox;
  {
    const std::lock_guard lock(inbox_mutex_);
    std::swap(inbox, inbox_);
    awake_ = false;
  }
  for (const Request& request : inbox.requests) {
    if (request.is_cancel) {
      protocol_.cancel(request.lease, request.request.id);
    } else {
      protocol_.acquire(request.lease, request.request, now);
    }
  }
  for (std::size_t i = 0; i < inbox.changed.size(); ++i) {
    if (inbox.changed[i]) protocol_.changed(i, inbox.urgent[i], now);
  }
  for (const Report& report : inbox.reports) {
    protocol_.progress(report.lease, report.id, report.target, report.state, report.reason);
  }
  wanted_ = wanted_ || inbox.want || !inbox.requests.empty();
  stopping_ = stopping_ || inbox.stop;
  abandoned_ = abandoned_ || inbox.abandon;
  if ((inbox.goodbye || inbox.abandon) && !goodbye_) {
    goodbye_ = true;
    protocol_.begin_goodbye();
  }
}

void LinkLoop::step(Instant now) {
  if (stopping_ && phase_ == Phase::kStreaming) {
    cut(Error(ErrorCode::kClosed, "the client was closed"));
  }
  switch (phase_) {
    case Phase::kStreaming: stream_step(now); break;
    case Phase::kCutting: break;
    case Phase::kBackoff:
      if (goodbye_ && protocol_.attach().value == 0) {  // there is no session to end
        phase_ = Phase::kResting;
        now_.state = LinkState::kEnded;
      } else if (!stopping_ && now >= retry_at_) {
        connect(now);
      }
      break;
    case Phase::kResting:
      if (goodbye_) now_.state = LinkState::kEnded;  // refused: there is no session
      if (!wanted_ || stopping_ || now_.state == LinkState::kEnded) break;
      if (now >= retry_at_) {
        connect(now);
      } else {  // too soon: the last answer stands
        ++now_.refusals;
        protocol_.on_stream_lost(Error(now_.last_code, now_.last_error), true);
      }
      break;
  }
  wanted_ = false;
  if (stream_ && stream_->drained()) after_stream(now);
}

void LinkLoop::connect(Instant now) {
  if (now_.state != LinkState::kAway) now_.state = LinkState::kConnecting;
  auto fd = connect_unix(options_.socket);
  if (!fd) {
    const bool final = fd.error().code() != ErrorCode::kUnavailable;
    attempt_failed({std::move(fd.error()), final, false}, now);
    return;
  }
  cut_because_.reset();
  attached_here_ = false;
  stream_ = std::make_unique<SessionStream>(std::move(*fd), queue_);
  stream_->start(protocol_.begin_attach(now));
  phase_ = Phase::kStreaming;
}

void LinkLoop::stream_step(Instant now) {
  if (const Status alive = protocol_.check_alive(now); !alive) {
    cut(alive.error());
    return;
  }
  while (stream_->may_write()) {
    const auto frame = protocol_.next_frame(now);
    if (!frame) break;
    stream_->write(*frame);
  }
  if (protocol_.attached() && !attached_here_) {
    attached_here_ = true;
    failures_ = 0;
    now_.state = LinkState::kAttached;
    now_.last_error.clear();
    log(LinkLog::kInfo, strf("attached session=%llu epoch=%llu attach=%llu",
                             static_cast<unsigned long long>(protocol_.session_id()),
                             static_cast<unsigned long long>(protocol_.epoch().value),
                             static_cast<unsigned long long>(protocol_.attach().value)));
  }
}

void LinkLoop::cut(Error why) {
  phase_ = Phase::kCutting;
  cut_because_ = std::move(why);
  stream_->cut();
}

void LinkLoop::after_stream(Instant now) {
  const grpc::Status status = stream_->status();
  stream_.reset();
  if (protocol_.goodbye_sent() && status.ok()) {
    phase_ = Phase::kResting;
    now_.state = LinkState::kEnded;
    log(LinkLog::kInfo, "session_ended");
    return;
  }
  StreamEnd end = stream_end(status, options_.socket);
  if (cut_because_) end = {*cut_because_, false, false};
  attempt_failed(std::move(end), now);
}

void LinkLoop::attempt_failed(StreamEnd end, Instant now) {
  if (end.floor_may_help && protocol_.lower_floors()) {
    phase_ = Phase::kBackoff;
    retry_at_ = now;
    return;
  }
  // A session that holds bytes is never given up: it goes on trying, at the longest interval.
  const bool final = end.final && !protocol_.ever_attached();
  if (final) {
    phase_ = Phase::kResting;
    retry_at_ = now + kBackoffLast;
    now_.state = LinkState::kRefused;
    ++now_.refusals;
  } else {
    const Millis most =
        end.final ? kBackoffLast : std::min(kBackoffLast, kBackoffFirst << std::min(failures_, 6));
    phase_ = Phase::kBackoff;
    retry_at_ = now + std::uniform_int_distribution<Millis>(kBackoffLeast, most)(jitter_);
    now_.state = LinkState::kAway;
  }
  ++failures_;
  const bool news = now_.last_error != end.error.message();
  now_.last_code = end.error.code();
  now_.last_error = end.error.message();
  if (news && !stopping_) {
    log(LinkLog::kWarn, (final ? "refused error=\"" : "away error=\"") + now_.last_error + "\"");
  }
  publish();  // before anyone is told, so that who is told finds it so
  if (!stopping_) protocol_.on_stream_lost(end.error, final);
}

Instant LinkLoop::next_deadline() const {
  switch (phase_) {
    case Phase::kStreaming: {
      const Instant alive = protocol_.alive_deadline();
      return stream_->may_write() ? std::min(alive, protocol_.send_deadline()) : alive;
    }
    case Phase::kBackoff: return retry_at_;
    case Phase::kCutting:
    case Phase::kResting: break;
  }
  return Instant::never();
}

void LinkLoop::wait_for_event(Instant now) {
  void* tag = nullptr;
  bool ok = false;
  const auto next = queue_.AsyncNext(&tag, &ok, as_timespec(next_deadline(), now));
  {
    const std::lock_guard lock(inbox_mutex_);
    awake_ = true;
    if (tag == as_pointer(kWakeTag)) armed_ = false;
  }
  if (next == grpc::CompletionQueue::GOT_EVENT) on_tag(reinterpret_cast<std::uintptr_t>(tag), ok);
}

void LinkLoop::on_tag(std::uintptr_t tag, bool ok) {
  if (tag == kWakeTag) return;
  const auto frame = stream_->on_tag(static_cast<SessionStream::Tag>(tag), ok);
  if (!frame) return;
  if (phase_ == Phase::kStreaming) {  // an ended stream's frames are dropped
    if (Status status = protocol_.on_frame(*frame, monotonic_now()); !status) cut(status.error());
  }
  stream_->read_on();
}

void LinkLoop::publish() {
  now_.session_id = protocol_.session_id();
  now_.epoch = protocol_.epoch().value != 0 ? protocol_.epoch().value : now_.epoch;
  now_.attach = protocol_.attach().value;
  now_.counters = protocol_.counters();
  const std::lock_guard lock(status_mutex_);
  published_ = now_;
  status_changed_.notify_all();
}

void LinkLoop::log(LinkLog level, const std::string& line) {
  if (options_.log) options_.log(level, line);
}

// ---- other threads ----

void LinkLoop::wake() {
  if (armed_ || awake_ || closed_) return;
  armed_ = true;
  // In the past: "now" is rounded up to the next millisecond, a wait of 1 ms for every wake-up.
  alarm_.Set(&queue_, gpr_inf_past(GPR_CLOCK_MONOTONIC), as_pointer(kWakeTag));
}

void LinkLoop::acquire(std::size_t lease, const lease::LeaseRequest& request) {
  const std::lock_guard lock(inbox_mutex_);
  inbox_.requests.push_back({lease, false, request});
  wake();
}

void LinkLoop::cancel(std::size_t lease, RequestId id) {
  const std::lock_guard lock(inbox_mutex_);
  inbox_.requests.push_back({lease, true, {.id = id}});
  wake();
}

void LinkLoop::changed(std::size_t lease, bool urgent) {
  const std::lock_guard lock(inbox_mutex_);
  inbox_.changed[lease] = true;
  inbox_.urgent[lease] = inbox_.urgent[lease] || urgent;
  wake();
}

void LinkLoop::progress(std::size_t lease, RevocationId id, Bytes target, lease::RevokeState state,
                        const std::string& reason) {
  const std::lock_guard lock(inbox_mutex_);
  inbox_.reports.push_back({lease, id, target, state, reason});
  wake();
}

void LinkLoop::stop() {
  const std::lock_guard lock(inbox_mutex_);
  inbox_.stop = true;
  wake();
}

void LinkLoop::abandon() {
  const std::lock_guard lock(inbox_mutex_);
  inbox_.abandon = true;
  wake();
}

bool LinkLoop::wait_stopped(Millis timeout) {
  std::unique_lock lock(status_mutex_);
  return status_changed_.wait_for(lock, std::chrono::milliseconds(timeout),
                                  [&] { return stopped_; });
}

Status LinkLoop::wait_connected(Millis timeout) {
  std::unique_lock status_lock(status_mutex_);
  const std::uint64_t refusals = published_.refusals;
  status_lock.unlock();
  {
    const std::lock_guard lock(inbox_mutex_);
    inbox_.want = true;
    wake();
  }
  status_lock.lock();
  status_changed_.wait_for(status_lock, std::chrono::milliseconds(timeout), [&] {
    return published_.state == LinkState::kAttached || published_.state == LinkState::kEnded ||
           published_.refusals != refusals;
  });
  if (published_.state == LinkState::kAttached) return {};
  if (published_.state == LinkState::kEnded) {
    return fail(ErrorCode::kClosed, "the client was closed");
  }
  if (published_.refusals != refusals) {
    return fail(published_.last_code, published_.last_error);
  }
  return fail(ErrorCode::kTimeout,
              strf("no session within %lld ms: ", static_cast<long long>(timeout)) +
                  (published_.last_error.empty() ? "membrokerd at " + options_.socket +
                                                       " accepts connections but does not answer"
                                                 : published_.last_error));
}

bool LinkLoop::end_session(Millis timeout) {
  {
    const std::lock_guard lock(inbox_mutex_);
    inbox_.goodbye = true;
    wake();
  }
  std::unique_lock lock(status_mutex_);
  return status_changed_.wait_for(lock, std::chrono::milliseconds(timeout),
                                  [&] { return published_.state == LinkState::kEnded; });
}

LinkStatus LinkLoop::status() const {
  const std::lock_guard lock(status_mutex_);
  return published_;
}

}  // namespace membroker::transport
