#include <dlfcn.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "membroker/membroker.h"
#include "membroker/v1/admin.grpc.pb.h"
#include "membroker/v1/session.pb.h"

/// \file
/// A program that has gRPC and the full protobuf runtime of its own, and loads libmembroker:
///
///   dlopen_host LIBRARY BROKER_SOCKET ADMIN_SOCKET local|global host_first|library_first
///               close|leave_open
///
/// Exit status 0: the host's messages and calls work before, while and after the library is used.

namespace {

namespace admin = membroker::v1::admin;

constexpr std::int64_t kMiB = std::int64_t{1} << 20;

[[noreturn]] void end(const std::string& why) {
  std::fprintf(stderr, "dlopen_host: %s\n", why.c_str());
  std::exit(1);
}

struct Library {
  void* handle = nullptr;

  template <class Function>
  Function* find(const char* name) const {
    void* const symbol = dlsym(handle, name);
    if (symbol == nullptr) end(std::string("no symbol ") + name);
    return reinterpret_cast<Function*>(symbol);
  }
};
#define FIND(library, name) (library).find<decltype(name)>(#name)

// The host's own use of protobuf: a message of the very name that the library has too.
void use_messages() {
  membroker::v1::Hello hello;
  hello.set_tenant("host");
  const std::string bytes = hello.SerializeAsString();
  membroker::v1::Hello read;
  if (!read.ParseFromString(bytes) || read.tenant() != "host") end("a message was not read back");
  if (read.GetDescriptor()->full_name() != "membroker.v1.Hello") end("a descriptor is wrong");
  if (read.DebugString().find("host") == std::string::npos) end("reflection does not work");
}

// The host's own use of gRPC: what is lent, or -1 while there is nobody to lend to.
std::int64_t held_bytes(admin::Admin::Stub& stub) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  admin::GetStatusResponse status;
  const grpc::Status answer = stub.GetStatus(&context, admin::GetStatusRequest(), &status);
  if (!answer.ok()) end("the host's call failed: " + answer.error_message());
  return status.resources_size() > 0 ? status.resources(0).held_bytes() : -1;
}

// The daemon's figures are up to 100 ms old: asks until they are right, or it is too late.
template <class Condition>
bool comes_true(admin::Admin::Stub& stub, Condition condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (std::chrono::steady_clock::now() < end) {
    if (condition(held_bytes(stub))) return true;
  }
  return false;
}

Library load(const char* path, bool global) {
  Library library;
  library.handle = dlopen(path, RTLD_NOW | (global ? RTLD_GLOBAL : RTLD_LOCAL));
  if (library.handle == nullptr) end(dlerror());
  return library;
}

struct Session {
  mb_client* client = nullptr;
  mb_pool* pool = nullptr;
  mb_consumer* consumer = nullptr;
  mb_reservation* reservation = nullptr;
};

void must(const Library& library, mb_status status, mb_error* error, const char* what) {
  if (status != MB_OK) end(std::string(what) + ": " + FIND(library, mb_error_message)(error));
}

Session reserve(const Library& library, const char* socket) {
  Session session;
  mb_error* error = nullptr;
  mb_client_options options = MB_CLIENT_OPTIONS_INIT;
  options.tenant = "a";
  options.socket = socket;
  must(library, FIND(library, mb_client_open)(&options, &session.client, &error), error, "open");
  must(library, FIND(library, mb_client_wait_connected)(session.client, 20'000, &error), error,
       "wait_connected");
  must(library, FIND(library, mb_client_pool)(session.client, "ram", &session.pool, &error), error,
       "pool");
  mb_consumer_options sort = MB_CONSUMER_OPTIONS_INIT;
  sort.name = "sort";
  must(library, FIND(library, mb_consumer_new)(&sort, &session.consumer, &error), error,
       "consumer");
  must(library,
       FIND(library, mb_consumer_register)(session.consumer, session.pool, &session.reservation,
                                           &error),
       error, "register");
  std::int64_t granted = 0;
  must(library,
       FIND(library, mb_reservation_acquire)(session.reservation, 20 * kMiB, 20 * kMiB, 20'000,
                                             nullptr, &granted, &error),
       error, "acquire");
  if (granted != 20 * kMiB) end("granted " + std::to_string(granted));
  mb_spill_workspace* workspace = nullptr;
  must(library,
       FIND(library, mb_client_spill_workspace)(session.client, 20'000, &workspace, &error), error,
       "spill workspace");
  if (FIND(library, mb_spill_workspace_bytes)(workspace) < kMiB) end("a workspace of nothing");
  FIND(library, mb_spill_workspace_drop)(workspace);
  return session;
}

void give_back(const Library& library, const Session& session) {
  mb_error* error = nullptr;
  FIND(library, mb_reservation_drop)(session.reservation);
  FIND(library, mb_consumer_drop)(session.consumer);
  FIND(library, mb_pool_drop)(session.pool);
  mb_close_report* report = nullptr;
  must(library, FIND(library, mb_client_close)(session.client, &report, &error), error, "close");
  if (FIND(library, mb_close_report_ended)(report) != 1) end("the session has not ended");
  FIND(library, mb_close_report_drop)(report);
  FIND(library, mb_client_drop)(session.client);
}

// Without a daemon: an error, and no harm to the host.
void fail_to_connect(const Library& library) {
  mb_client_options options = MB_CLIENT_OPTIONS_INIT;
  options.tenant = "a";
  options.socket = "/nowhere/broker.sock";
  mb_client* client = nullptr;
  mb_error* error = nullptr;
  must(library, FIND(library, mb_client_open)(&options, &client, &error), error, "open");
  if (FIND(library, mb_client_wait_connected)(client, 50, nullptr) != MB_TIMEOUT) {
    end("a daemon that is not there has answered");
  }
  FIND(library, mb_client_drop)(client);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) end("six arguments are needed");
  const bool global = std::string_view(argv[4]) == "global";
  const bool host_first = std::string_view(argv[5]) == "host_first";
  const bool close = std::string_view(argv[6]) == "close";

  Library library;
  if (!host_first) library = load(argv[1], global);
  use_messages();
  const auto stub = admin::Admin::NewStub(
      grpc::CreateChannel(std::string("unix:") + argv[3], grpc::InsecureChannelCredentials()));
  if (host_first) {
    if (held_bytes(*stub) != 0) end("something is lent before anybody asked");
    library = load(argv[1], global);
  }
  fail_to_connect(library);
  static const Session session = reserve(library, argv[2]);  // static: what stays open is no leak
  use_messages();
  if (!comes_true(*stub, [](std::int64_t held) { return held >= 20 * kMiB; })) {
    end("the daemon does not know of the lease");
  }
  if (!close) return 0;  // everything is still open while the process's objects are destroyed
  give_back(library, session);
  if (dlclose(library.handle) != 0) end(dlerror());
  use_messages();
  if (!comes_true(*stub, [](std::int64_t held) { return held == 0; })) {
    end("something is lent after everything was given back");
  }
  return 0;
}
