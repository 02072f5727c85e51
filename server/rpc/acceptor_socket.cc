#include "server/rpc/acceptor_socket.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "shared/format.h"

namespace membroker::rpc {
namespace {

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return fail(ErrorCode::kInvalid,
                strf("the socket path \"%s\" has %zu bytes; Unix sockets allow 1 to %zu: set a "
                     "shorter runtime_directory",
                     path.c_str(), path.size(), sizeof address.sun_path - 1));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

Result<UniqueFd> take_lock(const std::string& path) {
  const std::string lock_path = path + ".lock";
  UniqueFd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock) return fail(errno_error("open " + lock_path, errno));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno == EWOULDBLOCK) {
    return fail(ErrorCode::kUnavailable,
                "another daemon serves " + path + " (" + lock_path +
                    " is locked); stop it, or set another runtime_directory");
  }
  return fail(errno_error("lock " + lock_path, errno));
}

// Removes a socket that nobody listens on. Runs under the lock.
Status remove_stale(const std::string& path, const sockaddr_un& address) {
  struct stat about {};
  if (::lstat(path.c_str(), &about) != 0) {
    if (errno == ENOENT) return {};
    return fail(errno_error("stat " + path, errno));
  }
  if (!S_ISSOCK(about.st_mode)) {
    return fail(ErrorCode::kInvalid, path + " exists and is not a socket; move it away");
  }
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return fail(errno_error("socket", errno));
  const int connected =
      ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  // EAGAIN: the backlog is full, so somebody listens. Only ECONNREFUSED says that nobody does.
  if (connected == 0 || errno != ECONNREFUSED) {
    return fail(ErrorCode::kUnavailable, "another program listens on " + path +
                                             "; stop it, or set another runtime_directory");
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return fail(errno_error("remove the stale socket " + path, errno));
  }
  return {};
}

}  // namespace

Result<ListeningSocket> ListeningSocket::bind(const std::string& path, unsigned mode) {
  const auto address = address_of(path);
  if (!address) return fail(address.error());
  auto lock = take_lock(path);
  if (!lock) return fail(lock.error());
  if (auto removed = remove_stale(path, *address); !removed) return fail(removed.error());

  ListeningSocket made;
  made.lock_ = std::move(*lock);
  made.fd_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made.fd_) return fail(errno_error("socket", errno));
  // Before bind, so that the path never is wider than asked; after it, to undo the umask.
  if (::fchmod(made.fd_.get(), mode) != 0) return fail(errno_error("fchmod of the socket", errno));
  if (::bind(made.fd_.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) {
    return fail(errno_error("bind " + path, errno));
  }
  struct stat about {};
  if (::lstat(path.c_str(), &about) != 0) return fail(errno_error("stat " + path, errno));
  made.path_ = path;
  made.device_ = about.st_dev;
  made.inode_ = about.st_ino;
  if (::chmod(path.c_str(), mode) != 0) return fail(errno_error("chmod " + path, errno));
  if (::listen(made.fd_.get(), SOMAXCONN) != 0)
    return fail(errno_error("listen on " + path, errno));
  return made;
}

Result<ListeningSocket> ListeningSocket::adopt(UniqueFd inherited) {
  int domain = 0;
  int type = 0;
  int listens = 0;
  socklen_t size = sizeof(int);
  const int fd = inherited.get();
  if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 ||
      ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 ||
      ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0) {
    return fail(errno_error(strf("the inherited descriptor %d", fd), errno));
  }
  if (domain != AF_UNIX || type != SOCK_STREAM || listens == 0) {
    return fail(ErrorCode::kInvalid,
                strf("the inherited descriptor %d is not a listening Unix stream socket; the "
                     ".socket unit needs ListenStream= with a path",
                     fd));
  }
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
      ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
    return fail(errno_error(strf("the inherited descriptor %d", fd), errno));
  }
  ListeningSocket made;
  made.fd_ = std::move(inherited);
  return made;
}

ListeningSocket::~ListeningSocket() {
  if (!fd_ || path_.empty()) return;
  struct stat about {};
  if (::lstat(path_.c_str(), &about) == 0 && about.st_dev == device_ && about.st_ino == inode_) {
    ::unlink(path_.c_str());
  }
}

}  // namespace membroker::rpc
