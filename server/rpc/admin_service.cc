#include "server/rpc/admin_service.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <optional>
#include <utility>

#include "server/broker/tenant_path.h"
#include "server/broker/translate.h"
#include "server/rpc/admin_rows.h"
#include "shared/wall_time.h"

namespace membroker::rpc {
namespace {

constexpr std::chrono::seconds kBrokerWaitMax{5};
constexpr std::size_t kRequestBytesMax = 64 * static_cast<std::size_t>(kKiB);

grpc::Status to_status(const Error& error) {
  const std::string& text = error.message();
  switch (error.code()) {
    case ErrorCode::kInvalid: return {grpc::StatusCode::INVALID_ARGUMENT, text};
    case ErrorCode::kNotFound: return {grpc::StatusCode::NOT_FOUND, text};
    case ErrorCode::kPermissionDenied: return {grpc::StatusCode::PERMISSION_DENIED, text};
    case ErrorCode::kTimeout: return {grpc::StatusCode::DEADLINE_EXCEEDED, text};
    case ErrorCode::kUnavailable: return {grpc::StatusCode::UNAVAILABLE, text};
    default: return {grpc::StatusCode::INTERNAL, text};
  }
}

bool has_resource(const broker::Snapshot& snapshot, const std::string& name) {
  return std::any_of(snapshot.resources.begin(), snapshot.resources.end(),
                     [&](const broker::ResourceRow& row) { return row.name == name; });
}

/// Names that a filter gives must exist: an empty answer would hide the typing error.
grpc::Status check_filter(const broker::Snapshot& snapshot, const std::string& tenant,
                          const std::string& resource) {
  if (!resource.empty() && !has_resource(snapshot, resource)) {
    return {grpc::StatusCode::NOT_FOUND, "there is no resource " + broker::log_text(resource)};
  }
  const bool known =
      tenant.empty() || std::any_of(snapshot.tenant_rows.begin(), snapshot.tenant_rows.end(),
                                    [&](const auto& row) { return row.view.path == tenant; });
  if (!known) {
    return {grpc::StatusCode::NOT_FOUND, "there is no tenant " + broker::log_text(tenant)};
  }
  return grpc::Status::OK;
}

}  // namespace

// ---- who may, and how ----

Result<broker::Peer> AdminService::authorise(const grpc::ServerContext& context,
                                             const Request& request) const {
  const auto peer = broker_.admin_peer(context.peer());
  if (!peer) {
    return fail(ErrorCode::kPermissionDenied,
                "the peer of this connection is not known; connect to the admin socket");
  }
  const bool may = peer->uid == ::geteuid() ||
                   std::count(options_.uids.begin(), options_.uids.end(), peer->uid) > 0 ||
                   broker::in_any_group(*peer, options_.gids);
  if (!may) {
    spdlog::warn("admin_denied pid={} uid={}", peer->pid, peer->uid);
    broker_.refuse_admin(context.peer());
    return fail(ErrorCode::kPermissionDenied,
                fmt::format("uid {} is not an admin of this daemon", peer->uid));
  }
  const std::size_t length = request.ByteSizeLong();
  if (length <= kRequestBytesMax) return *peer;
  return fail(ErrorCode::kInvalid,
              fmt::format("a request of {} bytes; the limit is {}", length, kRequestBytesMax));
}

grpc::Status AdminService::read(const grpc::ServerContext& context, const Request& request,
                                const Fill& fill) {
  const auto peer = authorise(context, request);
  return peer ? fill(*broker_.snapshot()) : to_status(peer.error());
}

grpc::Status AdminService::change(const grpc::ServerContext& context, const Request& request,
                                  const Change& change) {
  const auto peer = authorise(context, request);
  if (!peer) return to_status(peer.error());
  const std::lock_guard one_at_a_time(changing_);
  const Result<Outcome> made = make(change);
  const Status kept = keep(change, *peer, made);
  if (made && change.fill) change.fill(*made);
  return made && kept ? grpc::Status::OK : to_status(made ? kept.error() : made.error());
}

Result<AdminService::Outcome> AdminService::make(const Change& change) {
  // Shared: the job may run after nobody waits for it any more, and then must not touch `change`.
  auto promise = std::make_shared<std::promise<Result<Outcome>>>();
  auto outcome = promise->get_future();
  const bool posted =
      broker_.post([promise, apply = change.apply](broker::Broker& broker, Instant now) {
        promise->set_value(apply(broker, now));
      });
  if (!posted) return fail(ErrorCode::kUnavailable, "the daemon is going away");
  if (outcome.wait_for(kBrokerWaitMax) != std::future_status::ready) {
    return fail(ErrorCode::kTimeout,
                std::string("the broker has not applied it within 5 s; it will") +
                    (change.keep ? ", but not store it for the next start: repeat it" : ""));
  }
  return outcome.get();
}

Status AdminService::keep(const Change& change, const broker::Peer& who,
                          const Result<Outcome>& made) {
  if (options_.store == nullptr) return {};
  Status kept;
  if (made && change.keep) kept = change.keep(*options_.store, *made);
  const Status written =
      options_.store->append_audit({wall_now_ms(), who.uid, who.pid, change.action, change.target,
                                    change.detail, made ? "ok" : made.error().to_string()});
  if (!written) spdlog::error("audit_lost why={}", broker::log_text(written.error().message()));
  if (!kept) {
    return fail(ErrorCode::kIo,
                "applied, but it will not outlast this daemon: " + kept.error().message());
  }
  return {};
}

// ---- reads ----

grpc::Status AdminService::GetStatus(grpc::ServerContext* context,
                                     const v1::admin::GetStatusRequest* request,
                                     v1::admin::GetStatusResponse* response) {
  return read(*context, *request, [&](const broker::Snapshot& snapshot) {
    response->set_version(options_.version);
    response->set_epoch(snapshot.epoch.value);
    response->set_pid(::getpid());
    response->set_uptime_ms(
        static_cast<std::uint64_t>(std::max<Millis>(0, monotonic_now() - snapshot.started_at)));
    response->set_state(snapshot.state);
    response->set_sessions(static_cast<std::uint32_t>(snapshot.sessions.size()));
    response->set_sessions_suspect(snapshot.sessions_suspect);
    response->set_tenants(snapshot.tenants);
    for (const auto& row : snapshot.resources) to_message(row, response->add_resources());
    add_counts(snapshot.counters, response);
    return grpc::Status::OK;
  });
}

grpc::Status AdminService::ListTenants(grpc::ServerContext* context,
                                       const v1::admin::ListTenantsRequest* request,
                                       v1::admin::ListTenantsResponse* response) {
  return read(*context, *request, [&](const broker::Snapshot& snapshot) {
    const grpc::Status ok = check_filter(snapshot, "", request->resource());
    for (const auto& row : snapshot.tenant_rows) {
      if (!request->resource().empty() && row.resource != request->resource()) continue;
      to_message(row, response->add_tenants());
    }
    return ok;
  });
}

grpc::Status AdminService::ListSessions(grpc::ServerContext* context,
                                        const v1::admin::ListSessionsRequest* request,
                                        v1::admin::ListSessionsResponse* response) {
  return read(*context, *request, [&](const broker::Snapshot& snapshot) {
    const grpc::Status ok = check_filter(snapshot, request->tenant(), "");
    const Instant now = monotonic_now();
    for (const auto& row : snapshot.sessions) {
      if (!broker::is_within(row.tenant, request->tenant())) continue;
      to_message(row, now, response->add_sessions());
    }
    return ok;
  });
}

grpc::Status AdminService::ListLeases(grpc::ServerContext* context,
                                      const v1::admin::ListLeasesRequest* request,
                                      v1::admin::ListLeasesResponse* response) {
  return read(*context, *request, [&](const broker::Snapshot& snapshot) {
    const grpc::Status ok = check_filter(snapshot, request->tenant(), request->resource());
    const Instant now = monotonic_now();
    for (const auto& row : snapshot.leases) {
      if (!broker::is_within(row.view.path, request->tenant())) continue;
      if (!request->resource().empty() && row.resource != request->resource()) continue;
      if (request->session_id() != 0 && row.view.session.value != request->session_id()) continue;
      to_message(row, now, response->add_leases());
    }
    return ok;
  });
}

grpc::Status AdminService::WatchEvents(grpc::ServerContext* context,
                                       const v1::admin::WatchEventsRequest* request,
                                       EventWatch::Writer* writer) {
  const auto peer = authorise(*context, *request);
  if (!peer) return to_status(peer.error());
  return watch_.serve(broker_.events(), *request, *context, *writer);
}

}  // namespace membroker::rpc
