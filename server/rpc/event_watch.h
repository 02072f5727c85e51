#pragma once

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "membroker/v1/admin.grpc.pb.h"
#include "server/broker/event_ring.h"
#include "shared/time.h"

namespace membroker::rpc {

/// The watchers of events, each on the thread that gRPC has given its call. They are few, so that
/// there are threads for other admins; and one that does not read is cut off by a thread of ours,
/// since its own waits within gRPC meanwhile.
///
/// Thread-safe.
class EventWatch {
 public:
  using Writer = grpc::ServerWriter<v1::admin::WatchEventsResponse>;
  /// Closes the connection that a call came in through, soon.
  using Disconnect = std::function<void(const std::string& grpc_peer)>;

  static constexpr std::size_t kWatchersMax = 2;
  static constexpr Millis kWriteMax = 1'000;

  explicit EventWatch(Disconnect disconnect);
  ~EventWatch();

  /// Until the caller is gone or does not read, or the ring is closed.
  grpc::Status serve(broker::EventRing& ring, const v1::admin::WatchEventsRequest& request,
                     grpc::ServerContext& context, Writer& writer);

 private:
  struct Watcher {
    grpc::ServerContext* context = nullptr;
    Instant write_by = Instant::never();  // while it writes
  };

  bool enter(Watcher& watcher);
  void leave(Watcher& watcher);
  void set_write_by(Watcher& watcher, Instant by);
  grpc::Status send(broker::EventRing& ring, const v1::admin::WatchEventsRequest& request,
                    Watcher& watcher, Writer& writer);
  void guard();

  const Disconnect disconnect_;
  std::mutex mutex_;  // guards all below; the acceptor's is taken under it
  std::condition_variable changed_;
  std::vector<Watcher*> watchers_;
  bool stopping_ = false;
  std::thread guard_;  // last: it uses the others
};

}  // namespace membroker::rpc
