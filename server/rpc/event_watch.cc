#include "server/rpc/event_watch.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "server/broker/translate.h"
#include "server/rpc/admin_rows.h"

namespace membroker::rpc {
namespace {

// How often a watcher looks whether its caller is gone, and the guard whether one does not read.
constexpr std::chrono::milliseconds kLook{250};
constexpr std::size_t kBatchMax = 64;

}  // namespace

EventWatch::EventWatch(Disconnect disconnect)
    : disconnect_(std::move(disconnect)), guard_([this] { guard(); }) {}

EventWatch::~EventWatch() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  guard_.join();
}

grpc::Status EventWatch::serve(broker::EventRing& ring,
                               const v1::admin::WatchEventsRequest& request,
                               grpc::ServerContext& context, Writer& writer) {
  Watcher watcher{&context};
  if (!enter(watcher)) {
    return {grpc::StatusCode::RESOURCE_EXHAUSTED,
            fmt::format("there are {} watchers of events already, which is the most; end one of "
                        "them first",
                        kWatchersMax)};
  }
  const grpc::Status status = send(ring, request, watcher, writer);
  leave(watcher);
  return status;
}

grpc::Status EventWatch::send(broker::EventRing& ring, const v1::admin::WatchEventsRequest& request,
                              Watcher& watcher, Writer& writer) {
  const std::uint64_t last = ring.last();
  std::uint64_t known = request.after_sequence();
  if (known > last) {
    return {grpc::StatusCode::OUT_OF_RANGE,
            fmt::format("there is no event {} yet, the last one is {}; the numbers begin anew with "
                        "the daemon",
                        known, last)};
  }
  const bool kept_only = request.kept_only();
  if (known == 0 && !kept_only) known = last;
  set_write_by(watcher, monotonic_now() + kWriteMax);
  writer.SendInitialMetadata();
  set_write_by(watcher, Instant::never());
  while (!kept_only || known < last) {
    auto batch = ring.after(known, kBatchMax, kept_only ? std::chrono::milliseconds(0) : kLook);
    for (const auto& event : batch.events) {
      v1::admin::WatchEventsResponse response;
      to_message(*event, response.mutable_event());
      response.set_missed(event->sequence - known - 1);
      known = event->sequence;
      set_write_by(watcher, monotonic_now() + kWriteMax);
      const bool written = writer.Write(response);
      set_write_by(watcher, Instant::never());
      if (!written) return {grpc::StatusCode::CANCELLED, "the watcher is gone, or does not read"};
    }
    if (!batch.events.empty()) continue;
    if (batch.closed) return {grpc::StatusCode::UNAVAILABLE, "the daemon is going away"};
    if (watcher.context->IsCancelled()) return {grpc::StatusCode::CANCELLED, "the watcher is gone"};
  }
  return grpc::Status::OK;
}

bool EventWatch::enter(Watcher& watcher) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || watchers_.size() >= kWatchersMax) return false;
    watchers_.push_back(&watcher);
  }
  changed_.notify_all();
  return true;
}

void EventWatch::leave(Watcher& watcher) {
  const std::lock_guard lock(mutex_);
  std::erase(watchers_, &watcher);
}

void EventWatch::set_write_by(Watcher& watcher, Instant by) {
  const std::lock_guard lock(mutex_);
  watcher.write_by = by;
}

/// On the guard's thread. Cancelling ends a write that waits for the stream's window; one that
/// waits for the socket ends only with the connection.
void EventWatch::guard() {
  for (;;) {
    std::vector<std::string> cut_off;
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return stopping_ || !watchers_.empty(); });
    if (stopping_) return;
    changed_.wait_for(lock, kLook, [this] { return stopping_; });
    const Instant now = monotonic_now();
    for (Watcher* watcher : watchers_) {
      if (watcher->write_by > now) continue;
      watcher->write_by = Instant::never();
      const std::string peer = watcher->context->peer();
      watcher->context->TryCancel();
      disconnect_(peer);
      cut_off.push_back(peer);
    }
    lock.unlock();  // a log may block
    for (const std::string& peer : cut_off) {
      spdlog::warn("watcher_cut_off peer={} why=\"it does not read\"", broker::log_text(peer));
    }
  }
}

}  // namespace membroker::rpc
