#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <cstddef>
#include <functional>
#include <string>

#include "server/rpc/session_stream.h"

namespace membroker::rpc {

/// Answers calls of methods that no service has, on the broker's queue. Left to gRPC they would
/// take the threads of the admins, as long as the caller does not read.
///
/// Thread: the broker's, which drains the queue.
class UnknownCalls {
 public:
  /// `on_call` is told who calls.
  explicit UnknownCalls(std::function<void(const std::string& grpc_peer)> on_call)
      : on_call_(std::move(on_call)) {}

  grpc::AsyncGenericService& service() { return service_; }
  /// Waits for a call.
  void listen(grpc::ServerCompletionQueue& queue);
  /// No call is awaited or under way: the queue may be shut down.
  bool done() const { return calls_ == 0; }

 private:
  struct Call;

  const std::function<void(const std::string& grpc_peer)> on_call_;
  grpc::AsyncGenericService service_;
  std::size_t calls_ = 0;
};

}  // namespace membroker::rpc
