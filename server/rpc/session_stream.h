#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <optional>
#include <string>

#include "membroker/v1/session.grpc.pb.h"
#include "server/broker/session.h"
#include "server/rpc/acceptor.h"

namespace membroker::rpc {

class SessionStream;

/// What comes back from the completion queue.
class CqEvent {
 public:
  virtual void on_event(bool ok) = 0;

 protected:
  ~CqEvent() = default;
};

/// Whoever owns the streams and knows what they are about.
class StreamOwner {
 public:
  /// A client has begun the RPC. The owner arms the next stream and answers with begin() or end().
  virtual void stream_started(SessionStream& stream) = 0;
  virtual void stream_read(SessionStream& stream, grpc::ByteBuffer& message) = 0;
  /// The client has closed, gone or cancelled; told at most once, and not after end().
  virtual void stream_lost(SessionStream& stream) = 0;
  /// The last write has ended.
  virtual void stream_writable(SessionStream& stream) = 0;
  /// No tag is outstanding any more: the stream may be deleted, and must not be used.
  virtual void stream_done(SessionStream& stream) = 0;

 protected:
  ~StreamOwner() = default;
};

/// One `Session` RPC on a completion queue. Keeps what gRPC demands: one read and one write in
/// flight, Finish exactly once and never with a write outstanding, no deletion before every tag
/// has come back. Messages are raw bytes, so that a malformed one can be told from a lost stream.
///
/// Thread: the broker's, which drains the queue.
class SessionStream {
 public:
  using Service = v1::Broker::WithRawMethod_Session<v1::Broker::Service>;

  SessionStream(broker::ConnectionId id, StreamOwner& owner) : id_(id), owner_(owner) {}

  /// Waits for a client.
  void listen(Service& service, grpc::ServerCompletionQueue& queue);
  /// Starts to read.
  void begin(const Connection& connection);
  bool can_write() const { return begun_ && !writing_ && !end_ && !lost_; }
  void write(grpc::ByteBuffer message);
  /// Sends the status, once what is being written has been; if the client does not take that, the
  /// stream is cancelled a second later. The first call counts.
  void end(grpc::Status status);

  broker::ConnectionId id() const { return id_; }
  const std::optional<Connection>& connection() const { return connection_; }
  std::string peer() const { return context_.peer(); }

 private:
  struct Tag final : CqEvent {
    Tag(SessionStream& s, void (SessionStream::*h)(bool)) : stream(s), handler(h) {}
    void on_event(bool ok) override { stream.tag_returned(handler, ok); }
    SessionStream& stream;
    void (SessionStream::*handler)(bool);
  };

  void tag_returned(void (SessionStream::*handler)(bool), bool ok);
  void on_started(bool ok);
  void on_read(bool ok);
  void on_written(bool ok);
  void on_finished(bool ok);
  void on_cancelled_or_done(bool ok);
  void on_lingered(bool ok);
  void read();
  void lose();
  void finish_if_possible();

  const broker::ConnectionId id_;
  StreamOwner& owner_;
  grpc::ServerContext context_;
  grpc::ServerAsyncReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer> rpc_{&context_};
  grpc::ByteBuffer incoming_;
  grpc::ByteBuffer outgoing_;  // lives until its write has ended
  std::optional<Connection> connection_;
  std::optional<grpc::Status> end_;
  grpc::ServerCompletionQueue* queue_ = nullptr;
  grpc::Alarm linger_;   // bounds the write that end() waits for
  int outstanding_ = 0;  // tags that have not come back
  bool begun_ = false;
  bool writing_ = false;
  bool lost_ = false;
  bool finishing_ = false;

  Tag started_{*this, &SessionStream::on_started};
  Tag read_{*this, &SessionStream::on_read};
  Tag written_{*this, &SessionStream::on_written};
  Tag finished_{*this, &SessionStream::on_finished};
  Tag done_{*this, &SessionStream::on_cancelled_or_done};
  Tag lingered_{*this, &SessionStream::on_lingered};
};

}  // namespace membroker::rpc
