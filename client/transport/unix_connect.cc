#include "client/transport/unix_connect.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

namespace membroker::transport {
namespace {

Error connect_error(const std::string& path, int error) {
  const std::string what = "connect to membrokerd at " + path + ": " + std::strerror(error);
  switch (error) {
    case EACCES:
    case EPERM:
      return Error(ErrorCode::kPermissionDenied,
                   what + "; the socket's mode does not let this user in");
    case ENOENT:
    case ECONNREFUSED:
      return Error(ErrorCode::kUnavailable,
                   what + "; is membrokerd running, and is this its socket (MEMBROKER_SOCKET)?");
    case EAGAIN:
      return Error(ErrorCode::kUnavailable, what + "; it accepts no connections at present");
    case EPROTOTYPE:
    case ENOTSOCK:
    case ENOTDIR: return Error(ErrorCode::kInvalid, what + "; this is not a stream socket");
    default: return Error(ErrorCode::kUnavailable, what);
  }
}

}  // namespace

Result<UniqueFd> connect_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return fail(ErrorCode::kInvalid, "socket path \"" + path +
                                         "\": a Unix socket's path has 1 to " +
                                         std::to_string(sizeof(address.sun_path) - 1) + " bytes");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail(errno_error("socket", errno));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return fail(connect_error(path, errno));
  }
  return fd;
}

}  // namespace membroker::transport
