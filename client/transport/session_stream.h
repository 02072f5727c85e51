#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>

#include <memory>
#include <optional>

#include "client/lease/fork_guard.h"
#include "membroker/v1/session.grpc.pb.h"
#include "shared/fd.h"

namespace membroker::transport {

/// One connection and its one Session call: never reused, so that nothing of an old stream can be
/// taken for the new one's. One read and one write in flight (gRPC aborts the process on a second).
///
/// Its operations end as tags of the owner's completion queue, which hands them to on_tag(). It may
/// be destroyed once drained(). Thread: the owner's one.
class SessionStream {
 public:
  /// Tags are small numbers: at most one stream uses a queue at a time.
  enum Tag : std::uintptr_t { kStart = 1, kRead, kWrite, kFinish, kTagsEnd };

  /// `fd`: connected; gRPC closes it.
  SessionStream(UniqueFd fd, grpc::CompletionQueue& queue);

  /// Opens the call; `hello` is written first.
  void start(const v1::ClientFrame& hello);
  /// The frame that was read, if this tag brought one; read_on() is due then.
  std::optional<v1::ServerFrame> on_tag(Tag tag, bool ok);
  /// Reads the next frame. Apart from on_tag() because it writes to the socket first, to tell that
  /// there is room again: whoever waits for this frame need not wait for that.
  void read_on();
  bool may_write() const { return started_ && !writing_ && !failed_; }
  void write(const v1::ClientFrame& frame);
  /// Cuts the connection: what is unread stays unread, what is unsent is never sent.
  void cut();
  bool drained() const { return pending_ == 0 && finished_; }
  /// Once drained.
  const grpc::Status& status() const { return status_; }

 private:
  void finish_if_due();

  UniqueFd connection_;  // ours, to shut the socket down whoever else holds it
  lease::ForkClosedFd grpc_fd_closed_in_child_;
  lease::ForkClosedFd connection_closed_in_child_;
  grpc::CompletionQueue& queue_;
  v1::Broker::Stub stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<v1::ClientFrame, v1::ServerFrame>> call_;
  v1::ClientFrame hello_;
  v1::ServerFrame incoming_;
  grpc::Status status_;
  int pending_ = 0;  // tags that have not come back
  bool started_ = false;
  bool writing_ = false;
  bool failed_ = false;  // an operation failed: only the status is still wanted
  bool finishing_ = false;
  bool finished_ = false;
};

}  // namespace membroker::transport
