#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "server/arbiter/rules.h"
#include "server/broker/broker.h"
#include "server/broker/guarantees.h"
#include "server/broker/tenant_path.h"

namespace membroker::broker {
namespace {

Status check_policy(const std::string& path, const arbiter::TenantPolicy& policy) {
  if (policy.guarantee < 0 || policy.limit < 0) {
    return fail(ErrorCode::kInvalid, fmt::format("tenant {}: a negative size", path));
  }
  if (policy.guarantee > policy.limit) {
    return fail(ErrorCode::kInvalid, fmt::format("tenant {}: guarantee {} is above limit {}", path,
                                                 policy.guarantee, policy.limit));
  }
  if (policy.weight < 1 || policy.weight > arbiter::kWeightMax) {
    return fail(ErrorCode::kInvalid, fmt::format("tenant {}: weight {} is not in 1 to {}", path,
                                                 policy.weight, arbiter::kWeightMax));
  }
  if (policy.priority > policy.priority_max) {
    return fail(ErrorCode::kInvalid, fmt::format("tenant {}: priority {} is above priority_max {}",
                                                 path, policy.priority, policy.priority_max));
  }
  return {};
}

}  // namespace

Result<AskedBack> Broker::ask(SessionId id, const std::string& resource, Bytes bytes, Instant now) {
  begin(now);
  const auto index = resource_named(resource);
  if (!index) return fail(index.error());
  Session* session = find(id);
  SessionLease* lease = session == nullptr ? nullptr : session->lease_of(*index);
  if (lease == nullptr) {
    return fail(ErrorCode::kNotFound,
                fmt::format("there is no session {} with a lease of {}", id.value, resource));
  }
  if (bytes <= 0) {
    return fail(ErrorCode::kInvalid, fmt::format("cannot ask for {} bytes", bytes));
  }
  spdlog::info("admin_revoke session={} tenant={} resource={} bytes={}", id.value, session->tenant,
               resource, bytes);
  note("admin_revoke", *session, *index, bytes);
  refused_.reset();
  feed(*index, arbiter::Ask{id, bytes});
  commit();
  if (refused_) return fail(ErrorCode::kInvalid, *refused_);
  const arbiter::LeaseView view = view_of(*session, *lease);
  return AskedBack{view.revoking, view.revoking > 0 ? view.deadline : now_};
}

Status Broker::set_tenant(const std::string& path, const std::string& resource,
                          const TenantChange& change, Instant now) {
  begin(now);
  if (auto good = check_tenant_path(path); !good) {
    return fail(ErrorCode::kInvalid,
                fmt::format("{} is no tenant path: {}", log_text(path), good.error().message()));
  }
  const auto index = resource_named(resource);
  if (!index) return fail(index.error());
  arbiter::TenantPolicy policy = policy_of(path, *index);
  policy.guarantee = change.guarantee.value_or(policy.guarantee);
  policy.mode = change.mode.value_or(policy.mode);
  policy.limit = change.limit.value_or(policy.limit);
  policy.weight = change.weight.value_or(policy.weight);
  policy.priority = change.priority.value_or(policy.priority);
  policy.priority_max = change.priority_max.value_or(policy.priority_max);
  policy.on_overdue = change.on_overdue.value_or(policy.on_overdue);
  if (auto ok = check_policy(path, policy); !ok) return ok;
  if (auto ok = guarantee(path, *index, policy); !ok) return ok;
  // A new tenant, and its parents, exist for every resource.
  for (std::string_view at = path;;) {
    const std::string name(at);
    if (!tenants_.contains(name)) {
      tenants_[name].path = name;
      for (std::size_t i = 0; i < resources_.size(); ++i) {
        if (i != *index) feed(i, arbiter::SetTenant{name, {}});
      }
    }
    const std::size_t slash = at.rfind('/');
    if (slash == std::string_view::npos) break;
    at = at.substr(0, slash);
  }
  tenants_[path].policies[resources_[*index].config.name] = policy;
  lend(*index);
  spdlog::info(
      "tenant_set tenant={} resource={} guarantee={} mode={} limit={} weight={} "
      "priority={} priority_max={} on_overdue={}",
      path, resource, policy.guarantee, name_of(policy.mode), policy.limit, policy.weight,
      policy.priority, policy.priority_max, name_of(policy.on_overdue));
  note({.name = "tenant_set",
        .tenant = path,
        .resource = resource,
        .detail = fmt::format("guarantee={} mode={} limit={} weight={} priority={} on_overdue={}",
                              policy.guarantee, name_of(policy.mode), policy.limit, policy.weight,
                              policy.priority, name_of(policy.on_overdue))});
  commit();
  return {};
}

/// Sets the policy in the arbiter if the guarantees then fit under the limits above them and under
/// the capacity as set: what is withheld of it gives way.
Status Broker::guarantee(const std::string& path, std::size_t resource,
                         const arbiter::TenantPolicy& policy) {
  Resource& r = resources_[resource];
  auto policies = policies_of(resource);
  policies[path] = policy;
  const Guarantees wanted = add_up(policies);
  if (!wanted.above_limit.empty()) {
    return fail(ErrorCode::kInvalid,
                fmt::format("tenant {}: {}", path, wanted.above_limit.front().complaint));
  }
  // After a cut of the capacity the sum may be too large already; it may then be lowered in steps.
  if (wanted.sum > r.config.capacity && wanted.sum > r.guaranteed) {
    return fail(ErrorCode::kInvalid,
                fmt::format("tenant {}: all guarantees together would be {} bytes, above the "
                            "capacity of {}",
                            path, wanted.sum, r.config.capacity));
  }
  const Bytes had = std::exchange(r.guaranteed, std::max(r.guaranteed, wanted.sum));
  lend(resource);
  refused_.reset();
  feed(resource, arbiter::SetTenant{path, policy});
  r.guaranteed = refused_ ? had : wanted.sum;
  if (!refused_) return {};
  lend(resource);
  commit();
  return fail(ErrorCode::kInvalid, fmt::format("tenant {}: {}", path, *refused_));
}

Status Broker::remove_tenant(const std::string& path, Instant now) {
  begin(now);
  if (!tenants_.contains(path)) {
    return fail(ErrorCode::kNotFound, "there is no tenant " + log_text(path));
  }
  std::erase_if(tenants_, [&](const auto& tenant) { return is_within(tenant.first, path); });
  for (std::size_t i = 0; i < resources_.size(); ++i) {
    feed(i, arbiter::RemoveTenant{path});
    resources_[i].guaranteed = add_up(policies_of(i)).sum;
    lend(i);
  }
  drop_counters();
  spdlog::info("tenant_removed tenant={}", path);
  note({.name = "tenant_removed", .tenant = path});
  commit();
  return {};
}

Status Broker::set_access(const std::string& path, std::vector<uid_t> uids, std::vector<gid_t> gids,
                          Instant now) {
  begin(now);
  const auto tenant = tenants_.find(path);
  if (tenant == tenants_.end()) {
    return fail(ErrorCode::kNotFound, "there is no tenant " + log_text(path));
  }
  tenant->second.uids = std::move(uids);
  tenant->second.gids = std::move(gids);
  return {};
}

Status Broker::set_capacity(const std::string& resource, Bytes capacity, Instant now) {
  begin(now);
  const auto index = resource_named(resource);
  if (!index) return fail(index.error());
  if (capacity < 0 || capacity > arbiter::kCapacityMax) {
    return fail(ErrorCode::kInvalid, fmt::format("resource {}: a capacity of {} bytes is not in 0 "
                                                 "to {}",
                                                 resource, capacity, arbiter::kCapacityMax));
  }
  resources_[*index].config.capacity = capacity;
  lend(*index);
  commit();
  spdlog::info("capacity_set resource={} capacity={}", resource, capacity);
  note({.name = "capacity_set", .resource = resource, .bytes = capacity});
  return {};
}

Status Broker::withhold(const std::string& resource, Bytes bytes, Instant now) {
  begin(now);
  const auto index = resource_named(resource);
  if (!index) return fail(index.error());
  if (bytes < 0) {
    return fail(ErrorCode::kInvalid,
                fmt::format("resource {}: {} bytes withheld", resource, bytes));
  }
  resources_[*index].withheld = bytes;
  lend(*index);
  commit();
  note({.name = "pressure_capacity",
        .resource = resource,
        .bytes = resources_[*index].arbiter.capacity(),
        .detail = fmt::format("withheld={}", bytes)});
  return {};
}

/// What there is, but for what is withheld; what is guaranteed is never withheld.
void Broker::lend(std::size_t resource) {
  const Resource& r = resources_[resource];
  const Bytes withheld = std::min(r.withheld, std::max<Bytes>(0, r.config.capacity - r.guaranteed));
  const Bytes lent = r.config.capacity - withheld;
  if (lent != r.arbiter.capacity()) feed(resource, arbiter::SetCapacity{lent});
}

void Broker::drain(Instant now) {
  begin(now);
  if (!draining_) spdlog::info("draining sessions={}", sessions_.size());
  if (!draining_) {
    note({.name = "draining", .detail = fmt::format("sessions={}", sessions_.size())});
  }
  draining_ = true;
  for (std::size_t i = 0; i < resources_.size(); ++i) feed(i, arbiter::Drain{});
  for (const auto& [id, session] : sessions_) {
    if (!session->connection) continue;
    session->outbox.draining = v1::DRAIN_MODE_DRAIN;
    mark_ready(*session);
  }
  commit();
}

void Broker::announce_restart(Instant now) {
  begin(now);
  restarting_ = true;
  note({.name = "daemon_stopping"});
  for (const auto& [id, session] : sessions_) {
    if (!session->connection) continue;
    session->outbox.draining = v1::DRAIN_MODE_RESTART;
    session->outbox.draining_grace = config_.times.shutdown_grace;
    mark_ready(*session);
  }
  std::vector<ConnectionId> nameless;
  for (const auto& [connection, record] : connections_) {
    if (!record.session) nameless.push_back(connection);
  }
  for (const ConnectionId connection : nameless) {
    end_stream(connection, EndCode::kUnavailable, kGoingAway);
  }
  commit();
}

Result<std::size_t> Broker::resource_named(const std::string& name) const {
  for (std::size_t i = 0; i < resources_.size(); ++i) {
    if (resources_[i].config.name == name) return i;
  }
  return fail(ErrorCode::kNotFound, "there is no resource " + log_text(name));
}

std::map<std::string, arbiter::TenantPolicy> Broker::policies_of(std::size_t resource) const {
  std::map<std::string, arbiter::TenantPolicy> policies;
  for (const auto& [path, tenant] : tenants_) policies[path] = policy_of(path, resource);
  return policies;
}

arbiter::TenantPolicy Broker::policy_of(const std::string& tenant, std::size_t resource) const {
  const auto found = tenants_.find(tenant);
  if (found == tenants_.end()) return {};
  const auto policy = found->second.policies.find(resources_[resource].config.name);
  return policy == found->second.policies.end() ? arbiter::TenantPolicy{} : policy->second;
}

}  // namespace membroker::broker
