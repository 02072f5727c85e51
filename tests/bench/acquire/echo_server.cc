// bench_echo_server SOCKET: echoes empty frames, as membrokerd would: one thread that owns the
// completion queue, one read always outstanding per stream. Ends with SIGTERM.

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <cstdio>
#include <string>

#include "tests/bench/acquire/echo.grpc.pb.h"

namespace membroker::bench {
namespace {

class Call {
 public:
  enum class Operation { kAccept, kRead, kWrite, kFinish };
  struct Tag {
    Call* call = nullptr;
    Operation operation = Operation::kAccept;
  };

  Call(Echo::AsyncService& service, grpc::ServerCompletionQueue& queue)
      : service_(service), queue_(queue), stream_(&context_) {
    start(accept_);
    service_.RequestRun(&context_, &stream_, &queue_, &queue_, &accept_);
  }

  // False: nothing is outstanding any more; the call may be deleted.
  bool on_tag(Operation operation, bool ok) {
    --outstanding_;
    if (operation == Operation::kAccept && ok) {
      new Call(service_, queue_);  // the next stream's; deletes itself by the loop
      read();
    } else if (operation == Operation::kRead && ok) {
      // The next frame may come before the end of the last echo's write.
      ++owed_;
      read();
    } else if (operation == Operation::kWrite) {
      writing_ = false;
    }
    if (owed_ > 0 && ok && !writing_ && !failed_) write();
    if (!ok && operation != Operation::kFinish) failed_ = true;
    if (failed_ && !finishing_ && outstanding_ == 0 && operation != Operation::kAccept) {
      finishing_ = true;
      start(finish_);
      stream_.Finish(grpc::Status::OK, &finish_);
    }
    return outstanding_ > 0;
  }

 private:
  void start(Tag&) { ++outstanding_; }
  void read() {
    start(read_);
    stream_.Read(&frame_, &read_);
  }
  void write() {
    writing_ = true;
    --owed_;
    start(write_);
    stream_.Write(EchoFrame(), &write_);
  }

  Echo::AsyncService& service_;
  grpc::ServerCompletionQueue& queue_;
  grpc::ServerContext context_;
  grpc::ServerAsyncReaderWriter<EchoFrame, EchoFrame> stream_;
  EchoFrame frame_;
  Tag accept_{this, Operation::kAccept};
  Tag read_{this, Operation::kRead};
  Tag write_{this, Operation::kWrite};
  Tag finish_{this, Operation::kFinish};
  int outstanding_ = 0;
  int owed_ = 0;  // echoes not yet written
  bool writing_ = false;
  bool failed_ = false;
  bool finishing_ = false;
};

int serve(const std::string& socket) {
  Echo::AsyncService service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + socket, grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  const auto queue = builder.AddCompletionQueue();
  const auto server = builder.BuildAndStart();
  if (!server) {
    std::fprintf(stderr, "bench_echo_server: cannot listen on %s\n", socket.c_str());
    return 1;
  }
  new Call(service, *queue);
  void* tag = nullptr;
  bool ok = false;
  while (queue->Next(&tag, &ok)) {
    const Call::Tag event = *static_cast<Call::Tag*>(tag);
    if (!event.call->on_tag(event.operation, ok)) delete event.call;
  }
  return 0;
}

}  // namespace
}  // namespace membroker::bench

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: bench_echo_server SOCKET\n");
    return 2;
  }
  return membroker::bench::serve(argv[1]);
}
