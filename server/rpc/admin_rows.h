#pragma once

#include <string>

#include "membroker/v1/admin.pb.h"
#include "server/broker/event_ring.h"
#include "server/broker/snapshot.h"
#include "server/broker/usage_store.h"
#include "shared/time.h"

/// \file
/// Rows of snapshots, events and usage as the messages of admin.proto. Pure.

namespace membroker::rpc {

void to_message(const broker::ResourceRow& row, v1::admin::ResourceStatus* out);
void to_message(const broker::TenantRow& row, v1::admin::Tenant* out);
void to_message(const broker::SessionRow& row, Instant now, v1::admin::Session* out);
void to_message(const broker::LeaseRow& row, Instant now, v1::admin::Lease* out);
void to_message(const broker::BrokerEvent& event, v1::admin::Event* out);
void to_message(const broker::UsageRecord& record, v1::admin::Usage* out);
void add_counts(const broker::BrokerCounters& counters, v1::admin::GetStatusResponse* out);

}  // namespace membroker::rpc
