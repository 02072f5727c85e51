#pragma once

#include <grpcpp/grpcpp.h>
#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "membroker/v1/admin.grpc.pb.h"
#include "server/broker/state_store.h"
#include "server/rpc/acceptor.h"
#include "server/rpc/broker_server.h"
#include "server/rpc/clerk.h"

namespace membroker::rpc {

/// The methods of Admin; see AdminServer.
///
/// Thread-safe: gRPC's threads call it.
class AdminService final : public v1::admin::Admin::CallbackService {
 public:
  struct Rights {
    std::vector<uid_t> uids;
    std::vector<gid_t> gids;
  };

  AdminService(BrokerServer& broker, Rights rights, std::string version, broker::StateStore* store);

  /// Before the first RPC; the acceptor outlives the last one.
  void set_acceptor(Acceptor* acceptor) { acceptor_ = acceptor; }

  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context,
                                      const v1::admin::GetStatusRequest* request,
                                      v1::admin::GetStatusResponse* response) override;
  grpc::ServerUnaryReactor* ListTenants(grpc::CallbackServerContext* context,
                                        const v1::admin::ListTenantsRequest* request,
                                        v1::admin::ListTenantsResponse* response) override;
  grpc::ServerUnaryReactor* ListSessions(grpc::CallbackServerContext* context,
                                         const v1::admin::ListSessionsRequest* request,
                                         v1::admin::ListSessionsResponse* response) override;
  grpc::ServerUnaryReactor* ListLeases(grpc::CallbackServerContext* context,
                                       const v1::admin::ListLeasesRequest* request,
                                       v1::admin::ListLeasesResponse* response) override;
  grpc::ServerUnaryReactor* Revoke(grpc::CallbackServerContext* context,
                                   const v1::admin::RevokeRequest* request,
                                   v1::admin::RevokeResponse* response) override;
  grpc::ServerUnaryReactor* SetTenant(grpc::CallbackServerContext* context,
                                      const v1::admin::SetTenantRequest* request,
                                      v1::admin::SetTenantResponse* response) override;
  grpc::ServerUnaryReactor* RemoveTenant(grpc::CallbackServerContext* context,
                                         const v1::admin::RemoveTenantRequest* request,
                                         v1::admin::RemoveTenantResponse* response) override;
  grpc::ServerUnaryReactor* SetCapacity(grpc::CallbackServerContext* context,
                                        const v1::admin::SetCapacityRequest* request,
                                        v1::admin::SetCapacityResponse* response) override;
  grpc::ServerUnaryReactor* Drain(grpc::CallbackServerContext* context,
                                  const v1::admin::DrainRequest* request,
                                  v1::admin::DrainResponse* response) override;

 private:
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
    /// On the broker's thread; may run when the caller has been answered already.
    std::function<Result<Outcome>(broker::Broker& broker, Instant now)> apply;
    /// Puts the outcome into the response.
    std::function<void(const Outcome& outcome)> fill = {};
    /// Makes it outlast the daemon.
    std::function<Status(broker::StateStore& store, const Outcome& outcome)> keep = {};
  };

  Result<broker::Peer> authorise(const grpc::CallbackServerContext& context) const;
  grpc::ServerUnaryReactor* read(grpc::CallbackServerContext* context, const Fill& fill);
  grpc::ServerUnaryReactor* change(grpc::CallbackServerContext* context, Change change);
  Result<Outcome> make(const Change& change);
  Status keep(const Change& change, const broker::Peer& who, const Result<Outcome>& made);

  BrokerServer& broker_;
  const Rights rights_;
  const std::string version_;
  broker::StateStore* const store_;
  Acceptor* acceptor_ = nullptr;
  Clerk clerk_;  // last: its errands use the others
};

}  // namespace membroker::rpc
