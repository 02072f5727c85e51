#include "tests/integration/raw_session.h"

#include <algorithm>
#include <utility>

namespace membroker::testing {
namespace {

std::shared_ptr<grpc::Channel> open_channel(const std::string& socket) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5'000);  // also the patience of a connect
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  return grpc::CreateCustomChannel("unix:" + socket, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

RawSession::RawSession(const std::string& broker_socket, bool reads)
    : channel_(open_channel(broker_socket)), stub_(v1::Broker::NewStub(channel_)) {
  stream_ = stub_->Session(&context_);
  if (reads) reader_ = std::thread([this] { read(); });
}

RawSession::~RawSession() {
  context_.TryCancel();
  if (reader_.joinable()) {
    reader_.join();
  } else {
    static_cast<void>(stream_->Finish());
  }
}

void RawSession::read() {
  v1::ServerFrame frame;
  while (stream_->Read(&frame)) {
    const std::lock_guard lock(mutex_);
    messages_.insert(messages_.end(), frame.messages().begin(), frame.messages().end());
    changed_.notify_all();
  }
  const grpc::Status status = stream_->Finish();
  const std::lock_guard lock(mutex_);
  end_ = status;
  changed_.notify_all();
}

bool RawSession::attach(const v1::Hello& hello, std::uint64_t attach) {
  attach_ = attach;
  v1::ClientFrame frame;
  frame.set_attach(attach);
  *frame.add_messages()->mutable_hello() = hello;
  if (!send_frame(frame)) return false;
  const auto found = take([](const v1::ServerMessage& message) { return message.has_welcome(); });
  if (!found) return false;
  welcome_ = found->welcome();
  return true;
}

bool RawSession::send(std::initializer_list<v1::ClientMessage> messages) {
  v1::ClientFrame frame;
  frame.set_epoch(welcome_.epoch());
  frame.set_attach(attach_);
  for (const v1::ClientMessage& message : messages) *frame.add_messages() = message;
  return send_frame(frame);
}

void RawSession::set_fences(std::uint64_t epoch, std::uint64_t attach) {
  welcome_.set_epoch(epoch);
  attach_ = attach;
}

bool RawSession::send_frame(const v1::ClientFrame& frame) { return stream_->Write(frame); }

std::optional<v1::ServerMessage> RawSession::take(const Match& match,
                                                  std::chrono::milliseconds most) {
  std::unique_lock lock(mutex_);
  std::optional<v1::ServerMessage> found;
  changed_.wait_for(lock, most, [&] {
    const auto at = std::find_if(messages_.begin(), messages_.end(), match);
    if (at == messages_.end()) return end_.has_value();
    found = std::move(*at);
    messages_.erase(at);
    return true;
  });
  return found;
}

std::optional<v1::Granted> RawSession::granted(std::uint64_t request,
                                               std::chrono::milliseconds most) {
  const auto found = take(
      [&](const v1::ServerMessage& message) {
        return message.has_granted() && message.granted().request_id() == request;
      },
      most);
  return found ? std::optional(found->granted()) : std::nullopt;
}

std::optional<v1::Denied> RawSession::denied(std::uint64_t request,
                                             std::chrono::milliseconds most) {
  const auto found = take(
      [&](const v1::ServerMessage& message) {
        return message.has_denied() && message.denied().request_id() == request;
      },
      most);
  return found ? std::optional(found->denied()) : std::nullopt;
}

std::optional<v1::Revoke> RawSession::revoke(std::chrono::milliseconds most) {
  const auto found =
      take([](const v1::ServerMessage& message) { return message.has_revoke(); }, most);
  return found ? std::optional(found->revoke()) : std::nullopt;
}

std::optional<v1::LeaseSet> RawSession::lease_set(std::chrono::milliseconds most) {
  const auto found =
      take([](const v1::ServerMessage& message) { return message.has_lease_set(); }, most);
  return found ? std::optional(found->lease_set()) : std::nullopt;
}

grpc::Status RawSession::end(std::chrono::milliseconds most) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, most, [&] { return end_.has_value(); })) {
    return {grpc::StatusCode::DEADLINE_EXCEEDED, "the stream goes on"};
  }
  return *end_;
}

bool RawSession::ended() const {
  const std::lock_guard lock(mutex_);
  return end_.has_value();
}

void set_deadline(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + kWaitMax);
}

RawAdmin::RawAdmin(const std::string& admin_socket)
    : stub_(v1::admin::Admin::NewStub(open_channel(admin_socket))) {}

v1::admin::GetStatusResponse RawAdmin::status() {
  grpc::ClientContext context;
  set_deadline(context);
  v1::admin::GetStatusResponse response;
  static_cast<void>(stub_->GetStatus(&context, {}, &response));
  return response;
}

v1::admin::ListSessionsResponse RawAdmin::sessions() {
  grpc::ClientContext context;
  set_deadline(context);
  v1::admin::ListSessionsResponse response;
  static_cast<void>(stub_->ListSessions(&context, {}, &response));
  return response;
}

v1::admin::ListLeasesResponse RawAdmin::leases() {
  grpc::ClientContext context;
  set_deadline(context);
  v1::admin::ListLeasesResponse response;
  static_cast<void>(stub_->ListLeases(&context, {}, &response));
  return response;
}

bool RawAdmin::held_becomes(std::int64_t bytes, std::chrono::milliseconds most) {
  return comes_true(
      [&] {
        const auto now = status();
        return now.resources_size() > 0 && now.resources(0).held_bytes() == bytes;
      },
      most);
}

bool RawAdmin::session_becomes(std::uint64_t session, const std::string& state,
                               std::chrono::milliseconds most) {
  return comes_true(
      [&] {
        const auto now = sessions();
        return std::any_of(now.sessions().begin(), now.sessions().end(), [&](const auto& row) {
          return row.session_id() == session && row.state() == state;
        });
      },
      most);
}

}  // namespace membroker::testing
