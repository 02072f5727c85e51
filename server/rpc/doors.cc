#include "server/rpc/doors.h"

#include <grpcpp/server_posix.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "server/broker/translate.h"

namespace membroker::rpc {
namespace {

/// RPCs that a client's connection may begin, ever: its one stream, and room for errors.
constexpr std::uint64_t kClientRpcsMax = 64;

/// A number that both doors know is that of a connection which one of them has not yet seen close,
/// and which the other has been given meanwhile: neither counts then.
std::optional<Connection> only_at(Acceptor& door, Acceptor& other, const std::string& peer) {
  const bool elsewhere = other.knows(peer);
  if (elsewhere) other.refuse_rpc(peer);
  return elsewhere ? std::nullopt : door.begin_rpc(peer);
}

}  // namespace

Acceptor::Hooks Doors::hooks(const char* refused) {
  Acceptor::Hooks hooks;
  hooks.hand_over = [this](UniqueFd fd) { hand_over(std::move(fd)); };
  hooks.on_refused = [refused](const broker::Peer& peer, const Error& error) {
    spdlog::warn("{} pid={} uid={} why={}", refused, peer.pid, peer.uid,
                 broker::log_text(error.message()));
  };
  return hooks;
}

Status Doors::open(DoorOptions clients, DoorOptions admins) {
  const std::lock_guard lock(mutex_);
  clients.acceptor.rpcs_max = kClientRpcsMax;
  auto first = Acceptor::start(std::move(clients.acceptor), hooks("connection_refused"),
                               std::move(clients.inherited));
  if (!first) return fail(first.error());
  clients_ = std::move(*first);
  auto second = Acceptor::start(std::move(admins.acceptor), hooks("admin_connection_refused"),
                                std::move(admins.inherited));
  if (!second) return fail(second.error());
  admins_ = std::move(*second);
  open_ = true;
  return {};
}

void Doors::close() {
  for (Acceptor* door : {clients_.get(), admins_.get()}) {
    if (door != nullptr) door->stop_accepting();
  }
  const std::lock_guard lock(mutex_);
  open_ = false;
}

void Doors::hand_over(UniqueFd fd) {
  const std::lock_guard lock(mutex_);
  if (open_) grpc::AddInsecureChannelFromFd(&server_, fd.release());
}

std::optional<Connection> Doors::client(const std::string& grpc_peer) {
  return only_at(*clients_, *admins_, grpc_peer);
}

std::optional<broker::Peer> Doors::admin(const std::string& grpc_peer) {
  const auto connection = only_at(*admins_, *clients_, grpc_peer);
  return connection ? std::optional(connection->peer) : std::nullopt;
}

void Doors::shutdown_all() {
  for (Acceptor* door : {clients_.get(), admins_.get()}) {
    if (door != nullptr) door->shutdown_all();
  }
}

void Doors::refuse(const std::string& grpc_peer) {
  clients_->refuse_rpc(grpc_peer);
  admins_->refuse_rpc(grpc_peer);
}

}  // namespace membroker::rpc
