#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <utility>

#include "server/broker/translate.h"
#include "server/rpc/admin_rows.h"
#include "server/rpc/admin_service.h"

namespace membroker::rpc {
namespace {

std::string resource_or_ram(const std::string& resource) {
  return resource.empty() ? "ram" : resource;
}

Result<broker::TenantChange> to_change(const v1::admin::SetTenantRequest& request) {
  broker::TenantChange change;
  if (request.has_guarantee_bytes()) change.guarantee = request.guarantee_bytes();
  if (request.has_limit_bytes()) change.limit = request.limit_bytes();
  if (request.has_weight()) {
    change.weight = static_cast<std::int32_t>(std::min<std::uint32_t>(request.weight(), INT32_MAX));
  }
  if (request.has_priority()) change.priority = request.priority();
  if (request.has_priority_max()) change.priority_max = request.priority_max();
  if (request.has_guarantee_mode()) {
    if (request.guarantee_mode() == "lent") {
      change.mode = arbiter::GuaranteeMode::kLent;
    } else if (request.guarantee_mode() == "reserved") {
      change.mode = arbiter::GuaranteeMode::kReserved;
    } else {
      return fail(ErrorCode::kInvalid, "guarantee_mode " +
                                           broker::log_text(request.guarantee_mode()) +
                                           " is neither lent nor reserved");
    }
  }
  if (request.has_on_overdue()) {
    if (request.on_overdue() == "warn") {
      change.on_overdue = arbiter::OnOverdue::kWarn;
    } else if (request.on_overdue() == "fence") {
      change.on_overdue = arbiter::OnOverdue::kFence;
    } else {
      return fail(ErrorCode::kInvalid, "on_overdue " + broker::log_text(request.on_overdue()) +
                                           " is neither warn nor fence");
    }
  }
  return change;
}

/// For the audit: only what was given.
std::string detail_of(const v1::admin::SetTenantRequest& request) {
  std::string text = "resource=" + resource_or_ram(request.resource());
  if (request.has_guarantee_bytes())
    text += fmt::format(" guarantee={}", request.guarantee_bytes());
  if (request.has_guarantee_mode()) text += " mode=" + broker::log_text(request.guarantee_mode());
  if (request.has_limit_bytes()) text += fmt::format(" limit={}", request.limit_bytes());
  if (request.has_weight()) text += fmt::format(" weight={}", request.weight());
  if (request.has_priority()) text += fmt::format(" priority={}", request.priority());
  if (request.has_priority_max()) text += fmt::format(" priority_max={}", request.priority_max());
  if (request.has_on_overdue()) text += " on_overdue=" + broker::log_text(request.on_overdue());
  return text;
}

}  // namespace

grpc::Status AdminService::Revoke(grpc::ServerContext* context,
                                  const v1::admin::RevokeRequest* request,
                                  v1::admin::RevokeResponse* response) {
  const SessionId session{request->session_id()};
  const std::string resource = resource_or_ram(request->resource());
  const Bytes bytes = request->bytes();
  Change wanted;
  wanted.action = "revoke";
  wanted.target = fmt::format("session={} resource={}", session.value, broker::log_text(resource));
  wanted.detail = fmt::format("bytes={}", bytes);
  wanted.apply = [=](broker::Broker& broker, Instant now) -> Result<Outcome> {
    auto asked = broker.ask(session, resource, bytes, now);
    if (!asked) return fail(asked.error());
    return Outcome{*asked, {}, {}};
  };
  wanted.fill = [response](const Outcome& outcome) {
    response->set_revoking_bytes(outcome.asked.revoking);
    response->set_deadline_ms(
        static_cast<std::uint64_t>(std::max<Millis>(0, outcome.asked.deadline - monotonic_now())));
  };
  return change(*context, *request, wanted);
}

grpc::Status AdminService::SetTenant(grpc::ServerContext* context,
                                     const v1::admin::SetTenantRequest* request,
                                     v1::admin::SetTenantResponse* response) {
  const std::string path = request->path();
  const std::string resource = resource_or_ram(request->resource());
  Change wanted;
  wanted.action = "set_tenant";
  wanted.target = path;
  wanted.detail = detail_of(*request);
  wanted.apply = [=, change = to_change(*request)](broker::Broker& broker,
                                                   Instant now) -> Result<Outcome> {
    if (!change) return fail(change.error());
    if (auto ok = broker.set_tenant(path, resource, *change, now); !ok) return fail(ok.error());
    Outcome outcome;
    for (broker::TenantRow& row : broker.accounts(resource).tenant_rows) {
      if (row.view.path == path) outcome.tenant = std::move(row);
    }
    return outcome;
  };
  wanted.fill = [response](const Outcome& outcome) {
    to_message(outcome.tenant, response->mutable_tenant());
  };
  wanted.keep = [=](broker::StateStore& store, const Outcome& outcome) {
    return store.put_tenant({path, resource, outcome.tenant.view.policy});
  };
  return change(*context, *request, wanted);
}

grpc::Status AdminService::RemoveTenant(grpc::ServerContext* context,
                                        const v1::admin::RemoveTenantRequest* request,
                                        v1::admin::RemoveTenantResponse*) {
  const std::string path = request->path();
  Change wanted;
  wanted.action = "remove_tenant";
  wanted.target = path;
  wanted.apply = [=](broker::Broker& broker, Instant now) -> Result<Outcome> {
    if (auto ok = broker.remove_tenant(path, now); !ok) return fail(ok.error());
    return Outcome{};
  };
  wanted.keep = [=](broker::StateStore& store, const Outcome&) {
    return store.remove_tenant(path);
  };
  return change(*context, *request, wanted);
}

grpc::Status AdminService::SetCapacity(grpc::ServerContext* context,
                                       const v1::admin::SetCapacityRequest* request,
                                       v1::admin::SetCapacityResponse* response) {
  const std::string resource = resource_or_ram(request->resource());
  const Bytes capacity = request->capacity_bytes();
  Change wanted;
  wanted.action = "set_capacity";
  wanted.target = resource;
  wanted.detail = fmt::format("capacity={}", capacity);
  wanted.apply = [=](broker::Broker& broker, Instant now) -> Result<Outcome> {
    if (auto ok = broker.set_capacity(resource, capacity, now); !ok) return fail(ok.error());
    Outcome outcome;
    outcome.resource = std::move(broker.accounts(resource).resources.front());
    return outcome;
  };
  wanted.fill = [response](const Outcome& outcome) {
    to_message(outcome.resource, response->mutable_resource());
  };
  return change(*context, *request, wanted);
}

grpc::Status AdminService::Drain(grpc::ServerContext* context,
                                 const v1::admin::DrainRequest* request,
                                 v1::admin::DrainResponse*) {
  Change wanted;
  wanted.action = "drain";
  wanted.apply = [](broker::Broker& broker, Instant now) -> Result<Outcome> {
    broker.drain(now);
    return Outcome{};
  };
  return change(*context, *request, wanted);
}

}  // namespace membroker::rpc
