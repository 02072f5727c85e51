#include "server/rpc/unknown_calls.h"

#include "server/broker/translate.h"

namespace membroker::rpc {

/// Deletes itself with its last event.
struct UnknownCalls::Call final : CqEvent {
  Call(UnknownCalls& o, grpc::ServerCompletionQueue& q) : owner(o), queue(q) { ++owner.calls_; }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call() { --owner.calls_; }

  void on_event(bool ok) override {
    if (begun || !ok) {
      delete this;
      return;
    }
    begun = true;
    owner.listen(queue);
    owner.on_call_(context.peer());
    stream.Finish({grpc::StatusCode::UNIMPLEMENTED,
                   "there is no method " + broker::log_text(context.method())},
                  this);
  }

  UnknownCalls& owner;
  grpc::ServerCompletionQueue& queue;
  grpc::GenericServerContext context;
  grpc::GenericServerAsyncReaderWriter stream{&context};
  bool begun = false;
};

void UnknownCalls::listen(grpc::ServerCompletionQueue& queue) {
  auto* const call = new Call(*this, queue);
  service_.RequestCall(&call->context, &call->stream, &queue, &queue, call);
}

}  // namespace membroker::rpc
