#include "server/broker/snapshot.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "server/broker/broker.h"
#include "shared/check.h"

namespace membroker::broker {
namespace {

SessionRow row_of(const Session& session) {
  SessionRow row;
  row.id = session.id;
  row.peer = session.peer;
  row.tenant = session.tenant;
  row.client_name = session.client_name;
  row.labels = session.labels;
  row.state = session.recovered && session.state == SessionState::kSuspect
                  ? "recovered"
                  : session_state_name(session.state);
  row.priority = session.priority;
  row.attach = session.attach;
  row.opened_at = session.opened_at;
  row.last_frame = session.last_frame;
  if (const SessionLease* first = session.lease_of(0)) row.held = first->totals.held();
  return row;
}

}  // namespace

/// The resource's row, and one of each tenant.
void Broker::add_accounts(const Resource& resource, Snapshot* out) const {
  const Bytes capacity = resource.arbiter.capacity();
  ResourceRow row{resource.config.name,    capacity,          resource.arbiter.chunk(),
                  resource.arbiter.root(), resource.counters, resource.config.capacity - capacity};
  for (arbiter::TenantView& view : resource.arbiter.tenants()) {
    TenantRow tenant{resource.config.name, std::move(view)};
    const auto counted = resource.tenant_counters.find(tenant.view.path);
    if (counted != resource.tenant_counters.end()) tenant.counters = counted->second;
    row.tenants_over_debt_cap += tenant.debt_over_cap() ? 1 : 0;
    out->tenant_rows.push_back(std::move(tenant));
  }
  row.guaranteed = resource.guaranteed;
  out->resources.push_back(std::move(row));
}

Snapshot Broker::accounts(const std::string& resource) const {
  Snapshot out;
  const auto index = resource_named(resource);
  if (index) add_accounts(resources_[*index], &out);
  if (index && *index == 0) add_orphans(&out);  // pages are of the first resource only
  return out;
}

Snapshot Broker::snapshot() const {
  Snapshot out;
  out.epoch = epoch_;
  out.started_at = started_at_;
  out.state = draining_ ? "draining" : recovering() ? "recovering" : "serving";
  out.tenants = static_cast<std::uint32_t>(tenants_.size());
  out.counters = counters_;
  for (const Resource& resource : resources_) add_accounts(resource, &out);
  out.sessions.reserve(sessions_.size());
  for (const auto& [id, session] : sessions_) {
    if (session->state != SessionState::kActive) ++out.sessions_suspect;
    out.sessions.push_back(row_of(*session));
    for (const SessionLease& lease : session->leases) {
      const Resource& resource = resources_[lease.resource];
      out.leases.push_back({resource.config.name, session->client_name, view_of(*session, lease),
                            lease.totals, lease.use, 0});
    }
  }
  add_orphans(&out);
  return out;
}

/// A row each among the leases, and their bytes among those of their tenants.
void Broker::add_orphans(Snapshot* out) const {
  const Resource& ram = resources_.front();
  std::map<std::string_view, Bytes> by_path;
  for (const auto& [process, orphan] : orphans_) {
    auto view = ram.arbiter.lease(orphan.id);
    MB_CHECK(view.has_value());
    out->leases.push_back(
        {ram.config.name, orphan.client_name, std::move(*view), orphan.totals, {}, process.first});
    std::string_view path = orphan.tenant;
    by_path[path] += orphan.totals.held();
    for (std::size_t end = path.rfind('/'); end != path.npos; end = path.rfind('/')) {
      path = path.substr(0, end);
      by_path[path] += orphan.totals.held();
    }
  }
  if (by_path.empty()) return;
  for (TenantRow& row : out->tenant_rows) {
    const auto found = by_path.find(row.view.path);
    if (found != by_path.end() && row.resource == ram.config.name) row.orphaned = found->second;
  }
}

}  // namespace membroker::broker
