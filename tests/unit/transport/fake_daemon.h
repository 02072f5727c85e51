#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "membroker/v1/session.grpc.pb.h"

namespace membroker::testing {

using SessionCall = grpc::ServerReaderWriter<v1::ServerFrame, v1::ClientFrame>;

/// Answers sessions on a Unix socket by a script.
class FakeDaemon final : public v1::Broker::Service {
 public:
  using Script = std::function<grpc::Status(grpc::ServerContext&, SessionCall&)>;

  FakeDaemon(const std::string& socket, Script script) : script_(std::move(script)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + socket, grpc::InsecureServerCredentials());
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FakeDaemon() override { server_->Shutdown(std::chrono::system_clock::now()); }

  grpc::Status Session(grpc::ServerContext* context, SessionCall* call) override {
    ++calls;
    return script_(*context, *call);
  }

  /// The usual answer to a Hello: everything the client claims, at least the floor.
  static v1::ServerFrame welcome(const v1::ClientFrame& hello, std::uint64_t epoch,
                                 bool resumed = false) {
    v1::ServerFrame frame;
    frame.set_epoch(epoch);
    frame.set_attach(hello.attach());
    v1::Welcome& welcome = *frame.add_messages()->mutable_welcome();
    welcome.set_protocol_version(1);
    welcome.set_session_id(7);
    welcome.set_epoch(epoch);
    welcome.set_attach(hello.attach());
    welcome.set_heartbeat_ms(100);
    welcome.set_session_ttl_ms(1'000);
    welcome.set_resumed(resumed);
    for (const v1::LeaseClaim& claim : hello.messages(0).hello().leases()) {
      v1::LeaseSet& set = *frame.add_messages()->mutable_lease_set();
      set.set_resource(claim.resource());
      set.set_granted_total(std::max(claim.granted_total(), claim.floor_bytes()));
      set.set_overdrawn_total(claim.overdrawn_total());
      set.set_returned_total(claim.returned_total());
      set.set_floor_bytes(claim.floor_bytes());
    }
    return frame;
  }

  std::atomic<int> calls{0};

 private:
  Script script_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace membroker::testing
