#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "client/cli/cli.h"
#include "client/cli/console.h"
#include "membroker/v1/admin.grpc.pb.h"
#include "shared/bytes.h"
#include "tests/kit/temporary_folder.h"

namespace membroker::cli {

/// A console of strings.
class TextConsole final : public Console {
 public:
  void out(std::string_view text) override {
    out_text += text;
    if (on_out) on_out();
  }
  void err(std::string_view text) override { err_text += text; }
  bool terminal() const override { return is_terminal; }
  bool colour() const override { return is_terminal; }
  bool unicode() const override { return false; }
  TerminalSize size() const override { return {100, 20}; }
  bool failed() const override { return is_failed; }

  std::string out_text;
  std::string err_text;
  bool is_terminal = false;
  bool is_failed = false;
  std::function<void()> on_out;
};

/// An Admin service with one tenant tree and one session, that remembers what it was asked.
class FakeAdmin final : public v1::admin::Admin::Service {
 public:
  template <class Response>
  using Answer = std::function<grpc::Status(Response&)>;

  grpc::Status GetStatus(grpc::ServerContext* context, const v1::admin::GetStatusRequest*,
                         v1::admin::GetStatusResponse* response) override {
    if (silent) return wait_for_cancel(*context);
    response->set_version("0.1.0");
    response->set_epoch(7);
    response->set_pid(123);
    response->set_uptime_ms(3'725'000);
    response->set_state("serving");
    response->set_sessions(2);
    response->set_tenants(2);
    auto* ram = response->add_resources();
    ram->set_resource("ram");
    ram->set_capacity_bytes(256 * kMiB);
    ram->set_held_bytes(192 * kMiB);
    ram->set_free_bytes(64 * kMiB);
    ram->set_granted_count(++status_reads * 10);
    return status;
  }
  grpc::Status ListTenants(grpc::ServerContext*, const v1::admin::ListTenantsRequest* request,
                           v1::admin::ListTenantsResponse* response) override {
    asked = request->ShortDebugString();
    for (const char* path : {"acme", "acme/etl"}) {
      auto* tenant = response->add_tenants();
      tenant->set_path(path);
      tenant->set_resource("ram");
      tenant->set_held_bytes(9'007'199'254'740'993);  // above 2^53: a double would round it
      tenant->set_limit_bytes(kBytesMax);
    }
    return status;
  }
  grpc::Status ListSessions(grpc::ServerContext*, const v1::admin::ListSessionsRequest* request,
                            v1::admin::ListSessionsResponse* response) override {
    asked = request->ShortDebugString();
    auto* session = response->add_sessions();
    session->set_session_id(42);
    session->set_tenant("acme/etl");
    session->set_client_name("sort\x1b[31m");
    session->set_state("active");
    return status;
  }
  grpc::Status ListLeases(grpc::ServerContext*, const v1::admin::ListLeasesRequest* request,
                          v1::admin::ListLeasesResponse* response) override {
    asked = request->ShortDebugString();
    auto* lease = response->add_leases();
    lease->set_session_id(42);
    lease->set_tenant("acme/etl");
    lease->set_client_name("sort");
    lease->set_resource("ram");
    lease->set_held_bytes(128 * kMiB);
    return status;
  }
  grpc::Status Revoke(grpc::ServerContext* context, const v1::admin::RevokeRequest* request,
                      v1::admin::RevokeResponse* response) override {
    asked = request->ShortDebugString();
    if (silent) return wait_for_cancel(*context);
    response->set_revoking_bytes(request->bytes());
    response->set_deadline_ms(2000);
    return status;
  }
  grpc::Status SetTenant(grpc::ServerContext*, const v1::admin::SetTenantRequest* request,
                         v1::admin::SetTenantResponse* response) override {
    asked = request->ShortDebugString();
    response->mutable_tenant()->set_path(request->path());
    response->mutable_tenant()->set_limit_bytes(request->limit_bytes());
    return status;
  }
  grpc::Status RemoveTenant(grpc::ServerContext*, const v1::admin::RemoveTenantRequest* request,
                            v1::admin::RemoveTenantResponse*) override {
    asked = request->ShortDebugString();
    return status;
  }
  grpc::Status SetCapacity(grpc::ServerContext*, const v1::admin::SetCapacityRequest* request,
                           v1::admin::SetCapacityResponse* response) override {
    asked = request->ShortDebugString();
    response->mutable_resource()->set_capacity_bytes(request->capacity_bytes());
    return status;
  }
  grpc::Status Drain(grpc::ServerContext*, const v1::admin::DrainRequest*,
                     v1::admin::DrainResponse*) override {
    asked = "drain";
    return status;
  }
  grpc::Status WatchEvents(grpc::ServerContext*, const v1::admin::WatchEventsRequest* request,
                           grpc::ServerWriter<v1::admin::WatchEventsResponse>* writer) override {
    asked = request->ShortDebugString();
    for (std::uint64_t number = 5; number < 7; ++number) {
      v1::admin::WatchEventsResponse response;
      response.set_missed(number == 5 ? 4 : 0);
      response.mutable_event()->set_sequence(number);
      response.mutable_event()->set_name("session_suspect");
      response.mutable_event()->set_session_id(42);
      response.mutable_event()->set_tenant("acme/etl");
      response.mutable_event()->set_detail("why=silent\x1b[2J");
      writer->Write(response);
    }
    return status;
  }

  /// Three rows in two pages.
  grpc::Status GetUsage(grpc::ServerContext*, const v1::admin::GetUsageRequest* request,
                        v1::admin::GetUsageResponse* response) override {
    asked = request->ShortDebugString();
    const bool first = !request->has_after();
    for (const char* tenant : {"acme", "acme/etl", "zoo"}) {
      if (first == (std::string_view(tenant) == "zoo")) continue;
      auto* row = response->add_rows();
      row->set_minute_ms(1'779'192'000'000);
      row->set_tenant(tenant);
      row->set_resource("ram");
      row->set_observed_seconds(first ? 60 : 12);
      row->set_mean_held_bytes(9'007'199'254'740'993);
      row->set_peak_waiting_bytes(64 * kMiB);
      row->set_revoked_count(3);
    }
    if (first) response->mutable_next()->set_tenant("acme/etl");
    if (!first) response->set_not_recorded("usage.db: disk\x1b full");
    return status;
  }

  grpc::Status status;  // the end of every answer
  bool silent = false;  // GetStatus and Revoke: as a stopped daemon, no answer
  std::string asked;
  std::uint64_t status_reads = 0;

 private:
  // A stopped daemon, as far as a client can tell; bounded by the client's own deadline.
  static grpc::Status wait_for_cancel(const grpc::ServerContext& context) {
    while (!context.IsCancelled()) std::this_thread::yield();
    return grpc::Status::CANCELLED;
  }
};

/// FakeAdmin behind a Unix socket in a folder of its own.
class FakeDaemon {
 public:
  FakeDaemon() { start(); }
  ~FakeDaemon() { stop(); }

  std::string socket() const { return folder_.path("admin.sock"); }
  void start() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + socket(), grpc::InsecureServerCredentials());
    builder.RegisterService(&admin);
    server_ = builder.BuildAndStart();
  }
  void stop() {
    if (!server_) return;
    server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }

  FakeAdmin admin;

 private:
  const membroker::testing::TemporaryFolder folder_;
  std::unique_ptr<grpc::Server> server_;
};

/// `membrokerctl --socket SOCKET ARGUMENTS…` in this process.
inline int run_at(const FakeDaemon& daemon, std::vector<std::string> arguments, Console& console) {
  arguments.insert(arguments.begin(), {"--socket", daemon.socket()});
  return run(arguments, console);
}

}  // namespace membroker::cli
