#include <algorithm>
#include <utility>

#include "server/rpc/admin_rows.h"
#include "server/rpc/admin_service.h"

namespace membroker::rpc {
namespace {

// A row is at most two names of 255 bytes and some 60 bytes of numbers: 4,000 are below gRPC's
// 4 MiB for an answer.
constexpr std::uint32_t kPageDefault = 1'000;
constexpr std::uint32_t kPageMax = 4'000;

broker::UsageQuery to_query(const v1::admin::GetUsageRequest& request) {
  broker::UsageQuery query;
  query.tenant = request.tenant();
  query.resource = request.resource();
  query.since_ms = request.since_ms();
  if (request.until_ms() != 0) query.until_ms = request.until_ms();
  if (request.has_after()) {
    const v1::admin::UsageCursor& after = request.after();
    query.after = broker::UsageKey{after.minute_ms(), after.tenant(), after.resource()};
  }
  query.rows_max =
      request.page_size() == 0 ? kPageDefault : std::min(request.page_size(), kPageMax);
  return query;
}

}  // namespace

/// On gRPC's thread: only the usage history waits for this file, the broker never.
grpc::Status AdminService::GetUsage(grpc::ServerContext* context,
                                    const v1::admin::GetUsageRequest* request,
                                    v1::admin::GetUsageResponse* response) {
  return read(*context, *request, [&](const broker::Snapshot&) -> grpc::Status {
    if (request->since_ms() < 0 || request->until_ms() < 0) {
      return {grpc::StatusCode::INVALID_ARGUMENT, "since_ms and until_ms count from 1970"};
    }
    if (options_.usage == nullptr) {
      return {grpc::StatusCode::FAILED_PRECONDITION, "this daemon keeps no usage history"};
    }
    const auto page = options_.usage->read(to_query(*request));
    if (!page) {
      return {grpc::StatusCode::FAILED_PRECONDITION,
              "the usage history cannot be read: " + page.error().message()};
    }
    for (const broker::UsageRecord& record : page->records) {
      to_message(record, response->add_rows());
    }
    if (page->next) {
      response->mutable_next()->set_minute_ms(page->next->minute_ms);
      response->mutable_next()->set_tenant(page->next->tenant);
      response->mutable_next()->set_resource(page->next->resource);
    }
    response->set_not_recorded(page->not_recorded);
    return grpc::Status::OK;
  });
}

}  // namespace membroker::rpc
