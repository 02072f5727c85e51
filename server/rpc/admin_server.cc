#include "server/rpc/admin_server.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server_posix.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <mutex>
#include <utility>

#include "server/broker/translate.h"
#include "server/rpc/admin_service.h"
#include "shared/check.h"

namespace membroker::rpc {
namespace {

constexpr std::size_t kGrpcMemoryMax = 16 * static_cast<std::size_t>(kMiB);
constexpr int kRequestBytesMax = static_cast<int>(64 * kKiB);
constexpr std::chrono::milliseconds kShutdownGrace{1'000};

}  // namespace

class AdminServer::Impl {
 public:
  Impl(BrokerServer& broker, Options& options);
  Status open_door(AcceptorOptions options, UniqueFd inherited);
  void shutdown();

 private:
  AdminService service_;
  std::unique_ptr<grpc::Server> server_;
  std::mutex door_mutex_;  // guards door_open_; held over the hand-over, which must not be late
  bool door_open_ = true;
  std::unique_ptr<Acceptor> acceptor_;
};

AdminServer::Impl::Impl(BrokerServer& broker, Options& options)
    : service_(broker, {options.uids, options.gids}, options.version, options.store) {
  grpc::ResourceQuota quota("admin");
  quota.Resize(kGrpcMemoryMax);
  grpc::ServerBuilder builder;
  builder.RegisterService(&service_);
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(kRequestBytesMax);
  server_ = builder.BuildAndStart();
  MB_CHECK(server_ != nullptr);  // binds nothing, so nothing can be taken
}

Status AdminServer::Impl::open_door(AcceptorOptions options, UniqueFd inherited) {
  // Opened only when the service knows its acceptor: a peer may be faster than that.
  std::unique_lock closed(door_mutex_);
  Acceptor::Hooks hooks;
  hooks.hand_over = [this](UniqueFd fd) {
    const std::lock_guard lock(door_mutex_);
    if (door_open_) grpc::AddInsecureChannelFromFd(server_.get(), fd.release());
  };
  hooks.on_accepted = [](const broker::Peer&, UniqueFd) {};
  hooks.on_closed = [](const Connection&) {};
  hooks.on_refused = [](const broker::Peer& peer, const Error& error) {
    spdlog::warn("admin_connection_refused pid={} uid={} why={}", peer.pid, peer.uid,
                 broker::log_text(error.message()));
  };
  auto acceptor = Acceptor::start(std::move(options), std::move(hooks), std::move(inherited));
  if (!acceptor) return fail(acceptor.error());
  acceptor_ = std::move(*acceptor);
  service_.set_acceptor(acceptor_.get());
  return {};
}

void AdminServer::Impl::shutdown() {
  if (!server_) return;
  if (acceptor_) acceptor_->stop_accepting();
  {
    const std::lock_guard lock(door_mutex_);
    door_open_ = false;
  }
  server_->Shutdown(std::chrono::system_clock::now() + kShutdownGrace);
  server_.reset();
  acceptor_.reset();
}

AdminServer::AdminServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

AdminServer::~AdminServer() { shutdown(); }

void AdminServer::shutdown() { impl_->shutdown(); }

Result<std::unique_ptr<AdminServer>> AdminServer::start(BrokerServer& broker, Options options) {
  std::unique_ptr<AdminServer> server(new AdminServer(std::make_unique<Impl>(broker, options)));
  auto opened = server->impl_->open_door(std::move(options.acceptor), std::move(options.inherited));
  if (!opened) return fail(opened.error());
  return server;
}

}  // namespace membroker::rpc
