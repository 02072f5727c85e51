#include "client/cli/admin_client.h"

#include <grpcpp/create_channel_posix.h>
#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <mutex>
#include <system_error>

#include "client/cli/text.h"
#include "membroker/v1/admin.grpc.pb.h"
#include "shared/fd.h"
#include "shared/format.h"

namespace membroker::cli {
namespace {

using v1::admin::Admin;

// A snapshot of thousands of sessions is below 1 MiB; the default of 4 MiB would do as well, but
// the bound is ours to state.
constexpr int kAnswerBytesMax = 64 << 20;

// Our own connect: its errno tells a missing socket from a forbidden one, where gRPC's "failed to
// connect to all addresses" does not.
Result<UniqueFd> connect_to(const std::string& path, const std::string& asked) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return fail(ErrorCode::kInvalid,
                strf("cannot %s: \"%s\" is not a socket path (1 to %zu bytes)", asked.c_str(),
                     clean(path).c_str(), sizeof(address.sun_path) - 1));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return fail(errno_error("cannot " + asked + ": socket", errno));
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  if (::connect(fd.get(), generic, sizeof(address)) == 0) return fd;
  const int error = errno;
  const bool denied = error == EACCES || error == EPERM;
  const char* advice = denied ? "run it as root or as a user that the daemon's socket admits"
                              : "is membrokerd running? name its admin socket with --socket";
  return fail(denied ? ErrorCode::kPermissionDenied : ErrorCode::kUnavailable,
              strf("cannot %s: connect %s: %s; %s", asked.c_str(), clean(path).c_str(),
                   std::generic_category().message(error).c_str(), advice));
}

ErrorCode error_code(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED: return ErrorCode::kPermissionDenied;
    case grpc::StatusCode::UNAVAILABLE: return ErrorCode::kUnavailable;
    case grpc::StatusCode::NOT_FOUND: return ErrorCode::kNotFound;
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::OUT_OF_RANGE: return ErrorCode::kInvalid;
    case grpc::StatusCode::RESOURCE_EXHAUSTED: return ErrorCode::kResourcesExhausted;
    case grpc::StatusCode::CANCELLED: return ErrorCode::kCancelled;
    case grpc::StatusCode::UNIMPLEMENTED: return ErrorCode::kUnsupported;
    default: return ErrorCode::kIo;
  }
}

const char* advice(ErrorCode code, const std::string& said) {
  switch (code) {
    case ErrorCode::kPermissionDenied: return "; run it as root or as an admin of the daemon";
    case ErrorCode::kUnavailable: return "; is membrokerd going away? try again";
    case ErrorCode::kUnsupported: return "; the daemon is older than this membrokerctl";
    case ErrorCode::kResourcesExhausted:
      // gRPC's own words say nothing; the daemon's say what to do.
      if (said.find(';') != std::string::npos) return "";
      return "; the daemon answers many calls just now: try again";
    default: return "";
  }
}

}  // namespace

struct AdminClient::Impl {
  std::string path;
  Millis timeout = 0;
  std::unique_ptr<Admin::Stub> stub;

  std::mutex mutex;  // guards the two below, nothing else
  grpc::ClientContext* running = nullptr;
  bool cancelled = false;

  Status ensure_connected(const std::string& asked) {
    if (stub) return {};
    Result<UniqueFd> fd = connect_to(path, asked);
    if (!fd) return fail(fd.error());
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(kAnswerBytesMax);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    stub = Admin::NewStub(
        grpc::CreateCustomInsecureChannelFromFd("membrokerd", fd->release(), arguments));
    return {};
  }

  Error failure(const grpc::Status& status, const std::string& asked, bool change) {
    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
      const std::string wait = format_duration(timeout);
      if (change) {
        return Error(
            ErrorCode::kTimeout,
            strf("cannot %s: not confirmed within %s; it may be applied all the same, look "
                 "with `membrokerctl status`",
                 asked.c_str(), wait.c_str()));
      }
      return Error(
          ErrorCode::kUnavailable,
          strf("cannot %s: no answer from %s within %s; is the daemon stopped? see --timeout",
               asked.c_str(), clean(path).c_str(), wait.c_str()));
    }
    const ErrorCode code = error_code(status.error_code());
    return Error(code, strf("cannot %s: %s%s", asked.c_str(), clean(status.error_message()).c_str(),
                            advice(code, status.error_message())));
  }

  template <class Response, class Request>
  Result<Response> call(grpc::Status (Admin::Stub::*method)(grpc::ClientContext*, const Request&,
                                                            Response*),
                        const Request& request, const std::string& asked, bool change) {
    if (Status connected = ensure_connected(asked); !connected) return fail(connected.error());
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(timeout));
    if (Status begun = begin(context, asked); !begun) return fail(begun.error());
    Response response;
    if (Status done = end(((*stub).*method)(&context, request, &response), asked, change); !done) {
      return fail(done.error());
    }
    return response;
  }

  Status begin(grpc::ClientContext& context, const std::string& asked) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (cancelled) return fail(ErrorCode::kCancelled, "cannot " + asked + ": interrupted");
    running = &context;
    return {};
  }

  Status end(const grpc::Status& status, const std::string& asked, bool change) {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      running = nullptr;
    }
    if (status.ok()) return {};
    // A channel made from a descriptor cannot reconnect by itself.
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE) stub.reset();
    return fail(failure(status, asked, change));
  }
};

AdminClient::AdminClient(std::string socket_path, Millis timeout)
    : impl_(std::make_unique<Impl>()) {
  impl_->path = std::move(socket_path);
  impl_->timeout = timeout;
}

AdminClient::~AdminClient() = default;

Result<v1::admin::GetStatusResponse> AdminClient::status() {
  return impl_->call(&Admin::Stub::GetStatus, v1::admin::GetStatusRequest(), "read the status",
                     false);
}

Result<v1::admin::ListTenantsResponse> AdminClient::tenants(
    const v1::admin::ListTenantsRequest& request) {
  return impl_->call(&Admin::Stub::ListTenants, request, "list the tenants", false);
}

Result<v1::admin::ListSessionsResponse> AdminClient::sessions(
    const v1::admin::ListSessionsRequest& request) {
  return impl_->call(&Admin::Stub::ListSessions, request, "list the sessions", false);
}

Result<v1::admin::ListLeasesResponse> AdminClient::leases(
    const v1::admin::ListLeasesRequest& request) {
  return impl_->call(&Admin::Stub::ListLeases, request, "list the leases", false);
}

Result<v1::admin::RevokeResponse> AdminClient::revoke(const v1::admin::RevokeRequest& request) {
  const std::string asked =
      strf("revoke %s from session %llu", format_bytes(request.bytes()).c_str(),
           static_cast<unsigned long long>(request.session_id()));
  return impl_->call(&Admin::Stub::Revoke, request, asked, true);
}

Result<v1::admin::SetTenantResponse> AdminClient::set_tenant(
    const v1::admin::SetTenantRequest& request) {
  return impl_->call(&Admin::Stub::SetTenant, request, "set tenant " + clean(request.path()), true);
}

Result<v1::admin::RemoveTenantResponse> AdminClient::remove_tenant(
    const v1::admin::RemoveTenantRequest& request) {
  return impl_->call(&Admin::Stub::RemoveTenant, request, "remove tenant " + clean(request.path()),
                     true);
}

Result<v1::admin::SetCapacityResponse> AdminClient::set_capacity(
    const v1::admin::SetCapacityRequest& request) {
  return impl_->call(&Admin::Stub::SetCapacity, request,
                     "set the capacity to " + format_bytes(request.capacity_bytes()), true);
}

Result<v1::admin::DrainResponse> AdminClient::drain() {
  return impl_->call(&Admin::Stub::Drain, v1::admin::DrainRequest(), "drain", true);
}

Result<v1::admin::GetUsageResponse> AdminClient::usage(const v1::admin::GetUsageRequest& request) {
  return impl_->call(&Admin::Stub::GetUsage, request, "show the usage", false);
}

Status AdminClient::watch(const v1::admin::WatchEventsRequest& request,
                          const std::function<bool(const v1::admin::WatchEventsResponse&)>& show) {
  const std::string asked = "watch the events";
  grpc::ClientContext context;
  if (request.kept_only()) {
    if (Status connected = impl_->ensure_connected(asked); !connected) return connected;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::milliseconds(impl_->timeout));
  } else {
    // The stream has no deadline: whether anyone answers is asked beforehand.
    const auto answers =
        impl_->call(&Admin::Stub::GetStatus, v1::admin::GetStatusRequest(), asked, false);
    if (!answers) return fail(answers.error());
  }
  if (Status begun = impl_->begin(context, asked); !begun) return begun;
  const auto stream = impl_->stub->WatchEvents(&context, request);
  v1::admin::WatchEventsResponse response;
  bool wanted = true;
  while (wanted && stream->Read(&response)) wanted = show(response);
  if (!wanted) context.TryCancel();
  const grpc::Status status = stream->Finish();
  return impl_->end(wanted ? status : grpc::Status::OK, asked, false);
}

void AdminClient::cancel() {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->cancelled = true;
  if (impl_->running != nullptr) impl_->running->TryCancel();
}

}  // namespace membroker::cli
