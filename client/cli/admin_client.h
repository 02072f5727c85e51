#pragma once

#include <functional>
#include <memory>
#include <string>

#include "membroker/error.h"
#include "membroker/v1/admin.pb.h"
#include "shared/time.h"

/// \file
/// The Admin service as membrokerctl calls it: every call has a deadline, every error says what was
/// asked, what was wrong and what to try.
///
/// Codes: kUnavailable (nobody answers at the socket), kPermissionDenied (socket or daemon refuses
/// this user), kTimeout (a change was not confirmed in time; it may be applied all the same), else
/// what the daemon said.
///
/// Thread: one caller at a time; cancel() from any.

namespace membroker::cli {

class AdminClient {
 public:
  /// Connects with the first call, and again after a lost connection.
  AdminClient(std::string socket_path, Millis timeout);
  ~AdminClient();

  Result<v1::admin::GetStatusResponse> status();
  Result<v1::admin::ListTenantsResponse> tenants(const v1::admin::ListTenantsRequest& request);
  Result<v1::admin::ListSessionsResponse> sessions(const v1::admin::ListSessionsRequest& request);
  Result<v1::admin::ListLeasesResponse> leases(const v1::admin::ListLeasesRequest& request);
  Result<v1::admin::RevokeResponse> revoke(const v1::admin::RevokeRequest& request);
  Result<v1::admin::SetTenantResponse> set_tenant(const v1::admin::SetTenantRequest& request);
  Result<v1::admin::RemoveTenantResponse> remove_tenant(
      const v1::admin::RemoveTenantRequest& request);
  Result<v1::admin::SetCapacityResponse> set_capacity(const v1::admin::SetCapacityRequest& request);
  Result<v1::admin::DrainResponse> drain();
  Result<v1::admin::GetUsageResponse> usage(const v1::admin::GetUsageRequest& request);
  /// Hands over events until `show` says false, or with kept_only all were. The timeout holds for
  /// the daemon's first answer, and with kept_only for all of it.
  Status watch(const v1::admin::WatchEventsRequest& request,
               const std::function<bool(const v1::admin::WatchEventsResponse&)>& show);

  /// Ends the call under way, if any, with kCancelled; later calls end so at once.
  void cancel();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace membroker::cli
