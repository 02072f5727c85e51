#include "server/rpc/acceptor_peer.h"

#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

#include "server/broker/pidfd.h"
#include "server/broker/process_facts.h"
#include "shared/format.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77  // linux 6.5; Debian 12's headers are older
#endif

namespace membroker::rpc {
namespace {

// The kernel's own answer, free of pid reuse; nothing where the kernel does not have the option.
std::optional<Result<UniqueFd>> peer_pidfd(int fd) {
  int pidfd = -1;
  socklen_t size = sizeof pidfd;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0) return UniqueFd(pidfd);
  if (errno == ENOPROTOOPT) return std::nullopt;
  return fail(ErrorCode::kNotFound, "the process at the other end has ended");
}

// The supplementary groups that the peer had when it connected.
Result<std::vector<gid_t>> peer_groups(int fd) {
  std::vector<gid_t> groups(32);
  for (;;) {
    auto size = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    const bool fits = ::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size) == 0;
    // Too little room: the kernel has said how much is needed.
    if (!fits && errno != ERANGE) return fail(errno_error("SO_PEERGROUPS", errno));
    groups.resize(size / sizeof(gid_t));
    if (fits) return groups;
  }
}

bool has_ended(const UniqueFd& pidfd) {
  pollfd asked{pidfd.get(), POLLIN, 0};
  return ::poll(&asked, 1, 0) != 0;
}

// Now, in the unit of a process's start time.
std::uint64_t ticks_since_boot() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  const auto per_second = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
  return static_cast<std::uint64_t>(now.tv_sec) * per_second +
         static_cast<std::uint64_t>(now.tv_nsec) * per_second / 1'000'000'000U;
}

}  // namespace

Result<broker::Peer> identify_peer(int fd, bool allow_unwatched, bool use_peerpidfd) {
  const std::uint64_t accepted_at = ticks_since_boot();
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return fail(errno_error("SO_PEERCRED", errno));
  }
  broker::Peer found{.pid = credentials.pid, .uid = credentials.uid, .gid = credentials.gid};
  auto groups = peer_groups(fd);
  if (!groups) return fail(groups.error());
  found.groups = std::move(*groups);
  if (credentials.pid <= 0) {
    if (allow_unwatched) return found;
    return fail(ErrorCode::kPermissionDenied,
                strf("a process of uid %u is in another pid namespace, so its end cannot be seen; "
                     "run membrokerd in the host's pid namespace or set socket.allow_unwatched",
                     credentials.uid));
  }
  auto pidfd = use_peerpidfd ? peer_pidfd(fd) : std::nullopt;
  const bool exact = pidfd.has_value();
  if (!exact) pidfd = broker::open_pidfd(credentials.pid);
  if (!*pidfd) return fail(pidfd->error());
  const auto start_time = broker::process_start_time(credentials.pid);
  if (!start_time) return fail(start_time.error());
  // An exec closes the socket: what says Hello over it runs this image.
  found.image = broker::process_image(credentials.pid).value_or(broker::kImageUnknown);
  // Start time and image are the peer's if the peer still lives after they were read; by number
  // alone, a process that started since is another one.
  if (has_ended(**pidfd) || (!exact && *start_time > accepted_at)) {
    return fail(ErrorCode::kNotFound, strf("process %d has ended", credentials.pid));
  }
  found.start_time = *start_time;
  return found;
}

}  // namespace membroker::rpc
