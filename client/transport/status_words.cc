#include "client/transport/status_words.h"

namespace membroker::transport {

StreamEnd stream_end(const grpc::Status& status, const std::string& socket) {
  const std::string from = "membrokerd at " + socket;
  const std::string& text = status.error_message();
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      return {Error(ErrorCode::kUnavailable, from + " ended the stream"), false, false};
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
      return {Error(ErrorCode::kPermissionDenied, from + " refused the session: " + text), true,
              false};
    case grpc::StatusCode::NOT_FOUND:
      return {Error(ErrorCode::kNotFound, from + " refused the session: " + text), true, false};
    case grpc::StatusCode::INVALID_ARGUMENT:
      return {Error(ErrorCode::kInvalid, from + " refused the session: " + text), true, false};
    case grpc::StatusCode::UNIMPLEMENTED:
      return {Error(ErrorCode::kUnsupported,
                    from + " does not speak membroker.v1 sessions (admin socket?): " + text),
              true, false};
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return {Error(ErrorCode::kResourcesExhausted, from + " refused the session: " + text), true,
              true};
    default:
      return {Error(ErrorCode::kUnavailable, "the session with " + from + " was lost: " +
                                                 (text.empty() ? "the stream ended" : text)),
              false, false};
  }
}

}  // namespace membroker::transport
