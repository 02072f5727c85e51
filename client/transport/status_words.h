#pragma once

#include <grpcpp/support/status.h>

#include "membroker/error.h"

namespace membroker::transport {

/// Why the daemon ended the stream. `final`: another attempt would get the same answer.
struct StreamEnd {
  Error error;
  bool final = false;
  bool floor_may_help = false;  // a limit was met: a session with smaller floors may fit
};

/// session.proto's list of statuses in our words. `socket` is named in the text.
StreamEnd stream_end(const grpc::Status& status, const std::string& socket);

}  // namespace membroker::transport
