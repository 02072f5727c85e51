#include "server/rpc/broker_server.h"

#include <grpc/support/time.h>
#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/resource_quota.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <chrono>
#include <future>
#include <mutex>
#include <set>
#include <thread>
#include <unordered_map>
#include <utility>

#include "server/broker/kin_watch.h"
#include "server/broker/process_watch.h"
#include "server/rpc/doors.h"
#include "server/rpc/session_stream.h"
#include "server/rpc/unknown_calls.h"
#include "shared/check.h"

namespace membroker::rpc {
namespace {

constexpr int kAdminThreadsMax = 9;  // a call each, and one waits for the next; more are refused
constexpr int kCallsMax = 16;        // at once on a connection; a client has one, an admin few
constexpr std::size_t kGrpcMemoryMax = 64 * static_cast<std::size_t>(kMiB);
// Frames up to here are read and refused with a text; gRPC itself ends the stream beyond.
constexpr int kFrameReadMax = static_cast<int>(kMiB);

grpc::Status to_status(const broker::StreamEnd& end) {
  using broker::EndCode;
  switch (end.code) {
    case EndCode::kOk: return grpc::Status::OK;
    case EndCode::kUnauthenticated: return {grpc::StatusCode::UNAUTHENTICATED, end.message};
    case EndCode::kPermissionDenied: return {grpc::StatusCode::PERMISSION_DENIED, end.message};
    case EndCode::kNotFound: return {grpc::StatusCode::NOT_FOUND, end.message};
    case EndCode::kInvalidArgument: return {grpc::StatusCode::INVALID_ARGUMENT, end.message};
    case EndCode::kResourceExhausted: return {grpc::StatusCode::RESOURCE_EXHAUSTED, end.message};
    case EndCode::kUnavailable: return {grpc::StatusCode::UNAVAILABLE, end.message};
    case EndCode::kReplaced: return {grpc::StatusCode::ABORTED, end.message};
  }
  MB_CHECK(false);
  return grpc::Status::OK;
}

gpr_timespec to_gpr(Instant deadline) {
  if (deadline == Instant::never()) return gpr_inf_future(GPR_CLOCK_MONOTONIC);
  const Millis left = std::max<Millis>(0, deadline - monotonic_now());
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(left, GPR_TIMESPAN));
}

}  // namespace

class BrokerServer::Impl final : public StreamOwner, public AdminBackend {
 public:
  Impl(broker::BrokerConfig config, Epoch epoch, broker::Ledger ledger,
       AdminService::Options admin);
  Status open_doors(Options options);
  bool post(broker::Inbox::Job job) override { return inbox_.post(std::move(job)); }
  std::shared_ptr<const broker::Snapshot> snapshot() const override;
  std::optional<broker::Peer> admin_peer(const std::string& grpc_peer) override;
  void refuse_admin(const std::string& grpc_peer) override { doors_->refuse(grpc_peer); }
  broker::EventRing& events() override { return events_; }
  void shutdown();

 private:
  struct WakeTag final : CqEvent {
    explicit WakeTag(Impl& i) : impl(i) {}
    void on_event(bool) override { impl.run_jobs(); }
    Impl& impl;
  };

  void watch_processes();
  Status watch(const broker::Peer& peer);
  void watch_left(std::vector<broker::Kin>* left);

  // The broker's thread.
  void run();
  void run_jobs();
  void pump();
  void write_next(SessionStream& stream);
  void close_connections_of(const broker::Peer& peer);
  void close_queue_if_done();
  void listen();
  void stream_started(SessionStream& stream) override;
  void stream_read(SessionStream& stream, grpc::ByteBuffer& message) override;
  void stream_lost(SessionStream& stream) override;
  void stream_writable(SessionStream& stream) override { write_next(stream); }
  void stream_done(SessionStream& stream) override;

  const Millis shutdown_grace_;
  const Bytes frame_bytes_max_;
  broker::Ledger ledger_;
  SessionStream::Service service_;
  broker::EventRing events_;
  AdminService admin_;
  UnknownCalls unknown_{[this](const std::string& peer) { doors_->refuse(peer); }};
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::unique_ptr<grpc::Server> server_;
  grpc::Alarm alarm_;
  WakeTag wake_tag_{*this};
  broker::Inbox inbox_;
  std::unique_ptr<broker::KinWatch> kin_;
  std::unique_ptr<broker::ProcessWatch> watch_;
  std::unique_ptr<broker::Broker> broker_;  // the thread's own from here
  std::unordered_map<std::uint64_t, std::unique_ptr<SessionStream>> streams_;  // by their id
  std::set<std::uint64_t> connections_in_use_;  // generations with a live stream
  std::uint64_t next_stream_ = 1;
  v1::ClientFrame frame_in_;  // reused: a frame's messages are allocated once
  v1::ServerFrame frame_out_;
  bool closing_ = false;  // the server takes no calls any more
  bool queue_closed_ = false;

  mutable std::mutex snapshot_mutex_;  // leaf; guards snapshot_
  std::shared_ptr<const broker::Snapshot> snapshot_;

  std::unique_ptr<Doors> doors_;
  std::thread thread_;
};

BrokerServer::Impl::Impl(broker::BrokerConfig config, Epoch epoch, broker::Ledger ledger,
                         AdminService::Options admin)
    : shutdown_grace_(config.times.shutdown_grace),
      frame_bytes_max_(config.limits.frame_bytes_max),
      ledger_(std::move(ledger)),
      admin_(*this, std::move(admin)),
      // In the past: "now" is rounded up to the next millisecond, a wait of 1 ms for every wake-up.
      inbox_([this] { alarm_.Set(queue_.get(), gpr_inf_past(GPR_CLOCK_MONOTONIC), &wake_tag_); }) {
  grpc::ResourceQuota quota("broker");
  quota.Resize(kGrpcMemoryMax);
  quota.SetMaxThreads(kAdminThreadsMax);
  grpc::ServerBuilder builder;
  builder.RegisterService(&service_);
  // Synchronous: beside a queue of our own gRPC makes such methods' threads wait without polling.
  builder.RegisterService(&admin_);
  builder.RegisterAsyncGenericService(&unknown_.service());
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(kFrameReadMax);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kCallsMax);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);  // small frames: pings for nothing
  // Local death is seen by HUP and pidfd, a stopped client by its missing heartbeat.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  queue_ = builder.AddCompletionQueue();
  server_ = builder.BuildAndStart();
  MB_CHECK(server_ != nullptr);  // binds nothing, so nothing can be taken
  watch_processes();
  broker_ = std::make_unique<broker::Broker>(
      std::move(config), epoch, ledger_,
      // A peer in another pid namespace came in only because the operator allows it.
      [this](const broker::Peer& peer) { return peer.pid == 0 ? Status() : watch(peer); },
      monotonic_now());
  snapshot_ = broker_->take_snapshot(monotonic_now());
  MB_CHECK(snapshot_ != nullptr);
  doors_ = std::make_unique<Doors>(*server_);
  thread_ = std::thread([this] { run(); });
}

void BrokerServer::Impl::watch_processes() {
  using broker::Broker;
  using broker::Kin;
  using broker::Peer;
  kin_ = std::make_unique<broker::KinWatch>(broker::KinWatch::Hooks{
      .on_exec =
          [this](const Peer& was, std::uint64_t image, std::vector<Kin> left) {
            watch_left(&left);
            post([was, image, left = std::move(left)](Broker& broker, Instant now) {
              broker.process_execed(was, image, now, left);
            });
          },
      .on_measured =
          [this](std::vector<broker::MeasuredShare> shares) {
            post([shares = std::move(shares)](Broker& broker, Instant now) {
              broker.orphans_measured(shares, now);
            });
          }});
  watch_ = std::make_unique<broker::ProcessWatch>([this](const Peer& peer) {
    std::vector<Kin> left = kin_->ended(peer);
    watch_left(&left);
    post([this, peer, left = std::move(left)](Broker& broker, Instant now) {
      broker.process_ended(peer, now, left);
      close_connections_of(peer);
    });
  });
}

Status BrokerServer::Impl::watch(const broker::Peer& peer) {
  // First: its end, once watched, must find it followed.
  const bool fresh = kin_->follow(peer);
  auto watched = watch_->watch(peer);
  if (!watched && fresh) kin_->forget(peer);
  return watched;
}

/// On the watchers' threads: when the broker asks for the same, they are watched already.
void BrokerServer::Impl::watch_left(std::vector<broker::Kin>* left) {
  std::erase_if(*left, [this](const broker::Kin& kin) {
    const Status watched = watch(kin.process);
    return !watched && watched.error().code() == ErrorCode::kNotFound;
  });
}

Status BrokerServer::Impl::open_doors(Options options) {
  auto opened = doors_->open(std::move(options.clients), std::move(options.admins));
  if (!opened) return opened;
  // No stream is begun before: stream_started() runs after a job posted here.
  post([this](broker::Broker&, Instant) {
    listen();
    unknown_.listen(*queue_);
  });
  return {};
}

std::optional<broker::Peer> BrokerServer::Impl::admin_peer(const std::string& grpc_peer) {
  return doors_->admin(grpc_peer);
}

std::shared_ptr<const broker::Snapshot> BrokerServer::Impl::snapshot() const {
  const std::lock_guard lock(snapshot_mutex_);
  return snapshot_;
}

// ---- the broker's thread ----

void BrokerServer::Impl::run() {
  for (;;) {
    pump();
    void* tag = nullptr;
    bool ok = false;
    const auto status = queue_->AsyncNext(&tag, &ok, to_gpr(broker_->next_deadline()));
    if (status == grpc::CompletionQueue::SHUTDOWN) return;
    if (status == grpc::CompletionQueue::GOT_EVENT) static_cast<CqEvent*>(tag)->on_event(ok);
    const Instant now = monotonic_now();
    if (broker_->next_deadline() <= now) broker_->expire(now);
    close_queue_if_done();
  }
}

/// No operation may begin on a queue that is shut down, and a stream may begin one (its Finish) as
/// long as a tag of it is under way: so the queue goes after the last stream.
void BrokerServer::Impl::close_queue_if_done() {
  if (!closing_ || queue_closed_ || !streams_.empty() || !unknown_.done()) return;
  queue_closed_ = true;
  inbox_.close();
  queue_->Shutdown();
}

/// A forked child may hold the sockets of a process that has ended, for ever.
void BrokerServer::Impl::close_connections_of(const broker::Peer& peer) {
  for (const auto& [id, stream] : streams_) {
    const auto& connection = stream->connection();
    if (connection && connection->peer == peer) {
      doors_->shutdown_client(connection->generation);
    }
  }
}

void BrokerServer::Impl::run_jobs() {
  for (const broker::Inbox::Job& job : inbox_.take()) {
    job(*broker_, monotonic_now());
    pump();  // a job that ends streams must not overtake what the one before had to tell
  }
}

/// Carries to the streams what the broker has decided.
void BrokerServer::Impl::pump() {
  for (const broker::ConnectionId id : broker_->take_ready()) {
    const auto found = streams_.find(id.value);
    MB_CHECK(found != streams_.end());
    if (found->second->can_write()) write_next(*found->second);
  }
  for (const broker::StreamEnd& end : broker_->take_ended()) {
    const auto found = streams_.find(end.connection.value);
    if (found != streams_.end()) found->second->end(to_status(end));
  }
  for (const broker::Peer& orphan : broker_->take_orphans()) kin_->measure(orphan);
  for (const broker::Peer& peer : broker_->take_unneeded()) {
    watch_->forget(peer);
    kin_->forget(peer);
  }
  if (auto fresh = broker_->take_snapshot(monotonic_now())) {
    const std::lock_guard lock(snapshot_mutex_);
    snapshot_ = std::move(fresh);
  }
  events_.add(broker_->take_events());  // the snapshot may have brought one
}

void BrokerServer::Impl::write_next(SessionStream& stream) {
  if (!broker_->compose(stream.id(), monotonic_now(), &frame_out_)) return;
  grpc::ByteBuffer bytes;
  bool own = false;
  const grpc::Status made =
      grpc::SerializationTraits<v1::ServerFrame>::Serialize(frame_out_, &bytes, &own);
  MB_CHECK(made.ok());
  stream.write(std::move(bytes));
}

void BrokerServer::Impl::listen() {
  const broker::ConnectionId id{next_stream_++};
  auto stream = std::make_unique<SessionStream>(id, *this);
  stream->listen(service_, *queue_);
  streams_[id.value] = std::move(stream);
}

void BrokerServer::Impl::stream_started(SessionStream& stream) {
  listen();
  const auto connection = doors_->client(stream.peer());
  if (!connection) {
    return stream.end({grpc::StatusCode::UNAUTHENTICATED,
                       "the peer's process is not known; connect to the broker's own socket"});
  }
  if (!connections_in_use_.insert(connection->generation).second) {
    return stream.end({grpc::StatusCode::RESOURCE_EXHAUSTED,
                       "one Session stream per connection; open another connection"});
  }
  broker_->connected(stream.id(), connection->peer, monotonic_now());
  stream.begin(*connection);
}

void BrokerServer::Impl::stream_read(SessionStream& stream, grpc::ByteBuffer& message) {
  const Instant now = monotonic_now();
  const auto length = static_cast<Bytes>(message.Length());
  if (length > frame_bytes_max_) {
    broker_->received_bad(
        stream.id(), broker::EndCode::kResourceExhausted,
        fmt::format("a frame of {} bytes; the limit is {}", length, frame_bytes_max_), now);
  } else if (!grpc::SerializationTraits<v1::ClientFrame>::Deserialize(&message, &frame_in_).ok()) {
    broker_->received_bad(stream.id(), broker::EndCode::kInvalidArgument,
                          fmt::format("a message of {} bytes that is no ClientFrame", length), now);
  } else {
    broker_->received(stream.id(), frame_in_, now);
  }
  pump();
}

void BrokerServer::Impl::stream_lost(SessionStream& stream) {
  broker_->disconnected(stream.id(), monotonic_now());
}

void BrokerServer::Impl::stream_done(SessionStream& stream) {
  if (stream.connection()) connections_in_use_.erase(stream.connection()->generation);
  streams_.erase(stream.id().value);
}

// ---- the end ----

void BrokerServer::Impl::shutdown() {
  if (!thread_.joinable()) return;
  doors_->close();
  post([](broker::Broker& broker, Instant now) { broker.announce_restart(now); });
  post([this](broker::Broker&, Instant) { events_.close(); });
  // Streams that do not end, because their client does not read, are cancelled at the deadline.
  // Even then a call whose answer is under way ends only when it is read or its connection is
  // closed.
  const std::chrono::milliseconds grace(shutdown_grace_);
  std::promise<void> ended;
  std::thread closer([this, grace, over = ended.get_future()] {
    if (over.wait_for(grace) == std::future_status::timeout) doors_->shutdown_all();
  });
  server_->Shutdown(std::chrono::system_clock::now() + grace);
  post([this](broker::Broker&, Instant) { closing_ = true; });
  thread_.join();
  ended.set_value();
  closer.join();
  doors_.reset();
  kin_->stop();  // each one's thread calls the other
  watch_->stop();
  watch_.reset();
  kin_.reset();
}

BrokerServer::BrokerServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

BrokerServer::~BrokerServer() { shutdown(); }

Result<std::unique_ptr<BrokerServer>> BrokerServer::start(broker::BrokerConfig config, Epoch epoch,
                                                          broker::Ledger ledger, Options options) {
  std::unique_ptr<BrokerServer> server(new BrokerServer(std::make_unique<Impl>(
      std::move(config), epoch, std::move(ledger), std::move(options.admin))));
  if (auto ok = server->impl_->open_doors(std::move(options)); !ok) return fail(ok.error());
  return server;
}

bool BrokerServer::post(broker::Inbox::Job job) { return impl_->post(std::move(job)); }

std::shared_ptr<const broker::Snapshot> BrokerServer::snapshot() const { return impl_->snapshot(); }

void BrokerServer::shutdown() { impl_->shutdown(); }

}  // namespace membroker::rpc
