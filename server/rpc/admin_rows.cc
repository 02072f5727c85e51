#include "server/rpc/admin_rows.h"

#include <algorithm>

#include "server/broker/translate.h"

namespace membroker::rpc {
namespace {

std::uint64_t since(Instant then, Instant now) {
  return static_cast<std::uint64_t>(std::max<Millis>(0, now - then));
}

}  // namespace

void to_message(const broker::ResourceRow& row, v1::admin::ResourceStatus* out) {
  out->set_resource(row.name);
  out->set_capacity_bytes(row.capacity);
  out->set_held_bytes(row.root.held);
  out->set_free_bytes(std::max<Bytes>(0, row.capacity - row.root.held));
  out->set_revoking_bytes(row.root.revoking);
  out->set_overdue_bytes(row.root.overdue);
  out->set_debt_bytes(row.root.debt);
  out->set_waiting_bytes(row.root.waiting);
  out->set_waiting_requests(row.root.waiting_requests);
  out->set_granted_count(row.counters.granted);
  out->set_denied_count(row.counters.denied);
  out->set_revoked_count(row.counters.revoked);
  out->set_revoke_answered_count(row.counters.revoke_answered);
  out->set_revoke_late_count(row.counters.revoke_late);
  out->set_revoke_withdrawn_count(row.counters.revoke_withdrawn);
  out->set_peak_held_bytes(row.counters.peak_held);
  out->set_peak_debt_bytes(row.counters.peak_debt);
  out->set_chunk_bytes(row.chunk);
  out->set_withheld_bytes(row.withheld);
  out->set_tenants_over_debt_cap(row.tenants_over_debt_cap);
}

void add_counts(const broker::BrokerCounters& counters, v1::admin::GetStatusResponse* out) {
  auto& counts = *out->mutable_counts();
  counts["sessions_opened"] = counters.sessions_opened;
  counts["sessions_resumed"] = counters.sessions_resumed;
  counts["sessions_recovered"] = counters.sessions_recovered;
  counts["sessions_suspected"] = counters.sessions_suspected;
  counts["sessions_fenced"] = counters.sessions_fenced;
  counts["sessions_gone"] = counters.sessions_gone;
  counts["streams_refused"] = counters.streams_refused;
  counts["stale_frames"] = counters.stale_frames;
  counts["odd_inventories"] = counters.odd_inventories;
  counts["debt_alarms"] = counters.debt_alarms;
  counts["processes_execed"] = counters.processes_execed;
  counts["orphans_left"] = counters.orphans_left;
  counts["orphans_unmeasured"] = counters.orphans_unmeasured;
}

void to_message(const broker::TenantRow& row, v1::admin::Tenant* out) {
  const arbiter::TenantView& view = row.view;
  out->set_path(view.path);
  out->set_resource(row.resource);
  out->set_guarantee_bytes(view.policy.guarantee);
  out->set_guarantee_mode(broker::name_of(view.policy.mode));
  out->set_limit_bytes(view.policy.limit);
  out->set_weight(static_cast<std::uint32_t>(view.policy.weight));
  out->set_priority(view.policy.priority);
  out->set_priority_max(view.policy.priority_max);
  out->set_on_overdue(broker::name_of(view.policy.on_overdue));
  out->set_held_bytes(view.held);
  out->set_revoking_bytes(view.revoking);
  out->set_overdue_bytes(view.overdue);
  out->set_debt_bytes(view.debt);
  out->set_waiting_bytes(view.waiting);
  out->set_sessions(view.sessions);
  out->set_removed(view.removed);
  out->set_orphaned_bytes(row.orphaned);
  out->set_debt_cap_bytes(view.debt_cap);
  out->set_debt_over_cap(row.debt_over_cap());
}

void to_message(const broker::SessionRow& row, Instant now, v1::admin::Session* out) {
  out->set_session_id(row.id.value);
  out->set_tenant(row.tenant);
  out->set_client_name(row.client_name);
  out->set_pid(row.peer.pid);
  out->set_uid(row.peer.uid);
  out->set_state(row.state);
  out->set_attach(row.attach.value);
  out->set_age_ms(since(row.opened_at, now));
  out->set_silent_ms(since(row.last_frame, now));
  out->set_priority(row.priority);
  for (const auto& [key, value] : row.labels) (*out->mutable_labels())[key] = value;
  out->set_held_bytes(row.held);
}

void to_message(const broker::LeaseRow& row, Instant now, v1::admin::Lease* out) {
  const arbiter::LeaseView& view = row.view;
  out->set_session_id(view.session.value);
  out->set_tenant(view.path);
  out->set_resource(row.resource);
  out->set_client_name(row.client_name);
  out->set_held_bytes(view.held);
  out->set_floor_bytes(view.floor);
  out->set_granted_total(row.totals.granted);
  out->set_overdrawn_total(row.totals.overdrawn);
  out->set_returned_total(row.totals.returned);
  out->set_debt_bytes(view.debt);
  out->set_overdue_bytes(view.overdue);
  out->set_waiting_bytes(view.waiting);
  out->set_waiting_requests(view.waiting_requests);
  out->set_reserved_bytes(row.use.reserved);
  out->set_slack_bytes(row.use.slack);
  out->set_reclaimable_bytes(row.use.reclaimable);
  out->set_allocated_bytes(row.use.allocated);
  out->set_spilled_bytes(row.use.spilled);
  out->set_orphan_pid(row.orphan_pid);
  if (view.revoking > 0) {
    out->set_revoking_bytes(view.revoking);
    out->set_revoke_stage(broker::name_of(view.stage));
    out->set_revoke_reason(broker::name_of(view.reason));
    out->set_revoke_deadline_ms(since(now, view.deadline));
  }
}

void to_message(const broker::BrokerEvent& event, v1::admin::Event* out) {
  out->set_sequence(event.sequence);
  out->set_wall_ms(event.wall_ms);
  out->set_name(event.name);
  out->set_tenant(event.tenant);
  out->set_session_id(event.session.value);
  out->set_resource(event.resource);
  out->set_bytes(event.bytes);
  out->set_detail(event.detail);
}

void to_message(const broker::UsageRecord& record, v1::admin::Usage* out) {
  constexpr std::int64_t kSecondsMax = 60;  // a clock that was set back makes more
  out->set_minute_ms(record.minute_ms);
  out->set_tenant(record.row.tenant);
  out->set_resource(record.row.resource);
  out->set_observed_seconds(static_cast<std::uint32_t>(std::min(record.looks, kSecondsMax)));
  out->set_mean_held_bytes(record.mean_held());
  out->set_peak_held_bytes(record.row.peak_held);
  out->set_peak_waiting_bytes(record.row.peak_waiting);
  out->set_spilled_bytes(record.row.spilled);
  out->set_revoked_count(static_cast<std::uint64_t>(record.row.revoked));
}

}  // namespace membroker::rpc
