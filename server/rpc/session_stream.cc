#include "server/rpc/session_stream.h"

#include <chrono>
#include <utility>

#include "shared/check.h"

namespace membroker::rpc {
namespace {

constexpr std::chrono::seconds kLinger{1};

}  // namespace

void SessionStream::listen(Service& service, grpc::ServerCompletionQueue& queue) {
  // Delivered only for a call that has started; counted there.
  context_.AsyncNotifyWhenDone(&done_);
  queue_ = &queue;
  ++outstanding_;
  service.RequestSession(&context_, &rpc_, &queue, &queue, &started_);
}

void SessionStream::tag_returned(void (SessionStream::*handler)(bool), bool ok) {
  --outstanding_;
  MB_CHECK(outstanding_ >= 0);
  (this->*handler)(ok);
  if (outstanding_ == 0) owner_.stream_done(*this);
}

void SessionStream::on_started(bool ok) {
  if (!ok) return;  // the server is shutting down: no call, no other tag
  ++outstanding_;   // done_
  owner_.stream_started(*this);
}

void SessionStream::begin(const Connection& connection) {
  connection_ = connection;
  begun_ = true;
  read();
}

void SessionStream::read() {
  ++outstanding_;
  rpc_.Read(&incoming_, &read_);
}

void SessionStream::on_read(bool ok) {
  if (!ok) return lose();
  if (end_) return;
  owner_.stream_read(*this, incoming_);
  if (!end_ && !lost_) read();
}

void SessionStream::write(grpc::ByteBuffer message) {
  MB_CHECK(can_write());
  outgoing_.Swap(&message);
  writing_ = true;
  ++outstanding_;
  rpc_.Write(outgoing_, &written_);
}

void SessionStream::on_written(bool ok) {
  writing_ = false;
  outgoing_.Clear();
  if (!ok) lose();
  finish_if_possible();
  if (can_write()) owner_.stream_writable(*this);
}

void SessionStream::on_finished(bool) {}

void SessionStream::on_cancelled_or_done(bool) {
  if (context_.IsCancelled() || !finishing_) lose();
}

/// The client is gone, or has half-closed, which no client of ours does. gRPC wants its Finish all
/// the same.
void SessionStream::lose() {
  if (!end_ && !lost_) {
    lost_ = true;
    owner_.stream_lost(*this);
    end(grpc::Status::OK);
  }
}

void SessionStream::end(grpc::Status status) {
  if (end_) return;
  end_ = std::move(status);
  if (writing_) {
    ++outstanding_;
    linger_.Set(queue_, std::chrono::system_clock::now() + kLinger, &lingered_);
  }
  finish_if_possible();
}

void SessionStream::finish_if_possible() {
  if (!end_ || writing_ || finishing_) return;
  finishing_ = true;
  linger_.Cancel();
  ++outstanding_;
  rpc_.Finish(*end_, &finished_);
}

void SessionStream::on_lingered(bool) {
  if (!finishing_) context_.TryCancel();
}

}  // namespace membroker::rpc
