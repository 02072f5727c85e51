#include "client/transport/session_stream.h"

#include <fcntl.h>
#include <grpcpp/create_channel_posix.h>
#include <sys/socket.h>

#include <utility>

#include "shared/check.h"

namespace membroker::transport {
namespace {

constexpr int kFrameBytesMax = 256 * 1024;

void* as_pointer(SessionStream::Tag tag) {
  return reinterpret_cast<void*>(static_cast<std::uintptr_t>(tag));
}

std::shared_ptr<grpc::Channel> make_channel(int fd) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);  // small frames over a Unix socket: pings only
  arguments.SetMaxReceiveMessageSize(kFrameBytesMax);
  return grpc::CreateCustomInsecureChannelFromFd("membroker", fd, arguments);
}

}  // namespace

SessionStream::SessionStream(UniqueFd fd, grpc::CompletionQueue& queue)
    : connection_(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0)),
      grpc_fd_closed_in_child_(fd.get()),
      connection_closed_in_child_(connection_.get()),
      queue_(queue),
      stub_(make_channel(fd.release())) {}

void SessionStream::start(const v1::ClientFrame& hello) {
  hello_ = hello;
  call_ = stub_.PrepareAsyncSession(&context_, &queue_);
  ++pending_;
  call_->StartCall(as_pointer(kStart));
}

std::optional<v1::ServerFrame> SessionStream::on_tag(Tag tag, bool ok) {
  --pending_;
  std::optional<v1::ServerFrame> frame;
  switch (tag) {
    case kStart:
      if (ok) {
        started_ = true;
        write(hello_);
        read_on();
      }
      break;
    case kRead:
      if (ok) frame = std::exchange(incoming_, {});
      break;
    case kWrite: writing_ = false; break;
    case kFinish: finished_ = true; break;
    case kTagsEnd: MB_CHECK(false);
  }
  failed_ = failed_ || !ok;
  finish_if_due();
  return frame;
}

void SessionStream::read_on() {
  if (failed_) return;  // a write has ended meanwhile
  ++pending_;
  call_->Read(&incoming_, as_pointer(kRead));
}

void SessionStream::write(const v1::ClientFrame& frame) {
  MB_CHECK(may_write());
  writing_ = true;
  ++pending_;
  call_->Write(frame, as_pointer(kWrite));
}

void SessionStream::finish_if_due() {
  if (!failed_ || finishing_ || pending_ > 0) return;
  finishing_ = true;
  ++pending_;
  call_->Finish(&status_, as_pointer(kFinish));
}

void SessionStream::cut() {
  context_.TryCancel();
  if (connection_) ::shutdown(connection_.get(), SHUT_RDWR);
}

}  // namespace membroker::transport
