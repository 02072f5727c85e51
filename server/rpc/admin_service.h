#pragma once

#include <grpcpp/grpcpp.h>
#include <sys/types.h>

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "membroker/v1/admin.grpc.pb.h"
#include "server/broker/broker.h"
#include "server/broker/inbox.h"
#include "server/broker/state_store.h"
#include "server/broker/usage_store.h"
#include "server/rpc/event_watch.h"

namespace membroker::rpc {

/// The broker, as far as admins go.
class AdminBackend {
 public:
  /// Runs the job on the broker's thread; false once shut down.
  virtual bool post(broker::Inbox::Job job) = 0;
  /// At most 100 ms old, never null.
  virtual std::shared_ptr<const broker::Snapshot> snapshot() const = 0;
  /// Who is behind an RPC; nothing if it did not come in through the admins' door.
  virtual std::optional<broker::Peer> admin_peer(const std::string& grpc_peer) = 0;
  /// Closes the connection, once there was time to read why the RPC is refused.
  virtual void refuse_admin(const std::string& grpc_peer) = 0;
  virtual broker::EventRing& events() = 0;

 protected:
  ~AdminBackend() = default;
};

/// The methods of Admin, for peers of certain uids and gids. Reads come from the broker's snapshot,
/// what has been used from its own store.
/// Changes are applied by the broker, then written to the state store with who made them, then
/// answered; they are done also if the caller has gone away meanwhile.
///
/// Thread-safe: gRPC's threads call it, and wait here for the broker and the disk. They poll
/// nothing: the broker's thread does that for the whole server.
class AdminService final : public v1::admin::Admin::Service {
 public:
  struct Options {
    std::vector<uid_t> uids = {};  // besides the daemon's own
    std::vector<gid_t> gids = {};
    std::string version = {};
    /// Keeps tenants and the audit; may be null: then changes last as long as the daemon.
    broker::StateStore* store = nullptr;
    /// May be null: then there is no history to be asked for.
    broker::UsageStore* usage = nullptr;
  };

  /// The back end and the stores outlive it.
  AdminService(AdminBackend& broker, Options options)
      : broker_(broker),
        options_(std::move(options)),
        watch_([this](const std::string& peer) { broker_.refuse_admin(peer); }) {}

  grpc::Status GetStatus(grpc::ServerContext* context, const v1::admin::GetStatusRequest* request,
                         v1::admin::GetStatusResponse* response) override;
  grpc::Status ListTenants(grpc::ServerContext* context,
                           const v1::admin::ListTenantsRequest* request,
                           v1::admin::ListTenantsResponse* response) override;
  grpc::Status ListSessions(grpc::ServerContext* context,
                            const v1::admin::ListSessionsRequest* request,
                            v1::admin::ListSessionsResponse* response) override;
  grpc::Status ListLeases(grpc::ServerContext* context, const v1::admin::ListLeasesRequest* request,
                          v1::admin::ListLeasesResponse* response) override;
  grpc::Status Revoke(grpc::ServerContext* context, const v1::admin::RevokeRequest* request,
                      v1::admin::RevokeResponse* response) override;
  grpc::Status SetTenant(grpc::ServerContext* context, const v1::admin::SetTenantRequest* request,
                         v1::admin::SetTenantResponse* response) override;
  grpc::Status RemoveTenant(grpc::ServerContext* context,
                            const v1::admin::RemoveTenantRequest* request,
                            v1::admin::RemoveTenantResponse* response) override;
  grpc::Status SetCapacity(grpc::ServerContext* context,
                           const v1::admin::SetCapacityRequest* request,
                           v1::admin::SetCapacityResponse* response) override;
  grpc::Status Drain(grpc::ServerContext* context, const v1::admin::DrainRequest* request,
                     v1::admin::DrainResponse* response) override;
  grpc::Status WatchEvents(grpc::ServerContext* context,
                           const v1::admin::WatchEventsRequest* request,
                           EventWatch::Writer* writer) override;
  grpc::Status GetUsage(grpc::ServerContext* context, const v1::admin::GetUsageRequest* request,
                        v1::admin::GetUsageResponse* response) override;

 private:
  using Request = google::protobuf::Message;
  using Fill = std::function<grpc::Status(const broker::Snapshot& snapshot)>;
  /// What a change has led to, as far as someone asks.
  struct Outcome {
    broker::AskedBack asked;
    broker::ResourceRow resource;
    broker::TenantRow tenant;
  };
  /// What a change is for the audit, and how it is made.
  struct Change {
    std::string action;
    std::string target;
    std::string detail;
    /// On the broker's thread; may run when the caller has been answered already, so it has copies.
    std::function<Result<Outcome>(broker::Broker& broker, Instant now)> apply;
    /// Puts the outcome into the response.
    std::function<void(const Outcome& outcome)> fill = {};
    /// Makes it outlast the daemon.
    std::function<Status(broker::StateStore& store, const Outcome& outcome)> keep = {};
  };

  Result<broker::Peer> authorise(const grpc::ServerContext& context, const Request& request) const;
  grpc::Status read(const grpc::ServerContext& context, const Request& request, const Fill& fill);
  grpc::Status change(const grpc::ServerContext& context, const Request& request,
                      const Change& change);
  Result<Outcome> make(const Change& change);
  Status keep(const Change& change, const broker::Peer& who, const Result<Outcome>& made);

  AdminBackend& broker_;
  const Options options_;
  EventWatch watch_;
  /// Held over a whole change, the broker's part and the disk's: the store has them in the order in
  /// which the broker made them.
  std::mutex changing_;
};

}  // namespace membroker::rpc
