#include "server/app/service.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "server/app/log.h"
#include "shared/format.h"

namespace membroker::app {
namespace {

void notify(const std::string& state) { ::sd_notify(0, state.c_str()); }

bool listens_on(int fd, const std::string& name, std::string_view wanted) {
  if (name == wanted) return true;
  sockaddr_un address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      address.sun_family != AF_UNIX) {
    return false;
  }
  const std::string_view path(address.sun_path,
                              ::strnlen(address.sun_path, sizeof address.sun_path));
  return path.ends_with("/" + std::string(wanted) + ".sock");
}

}  // namespace

void notify_ready(const std::string& status) { notify("READY=1\nSTATUS=" + one_line(status)); }
void notify_status(const std::string& status) { notify("STATUS=" + one_line(status)); }
void notify_reloading() { notify("RELOADING=1"); }
void notify_stopping() { notify("STOPPING=1"); }
void notify_watchdog() { notify("WATCHDOG=1"); }

std::optional<std::chrono::milliseconds> watchdog_interval() {
  std::uint64_t microseconds = 0;
  if (::sd_watchdog_enabled(0, &microseconds) <= 0) return std::nullopt;
  return std::chrono::milliseconds(std::max<std::uint64_t>(microseconds / 2'000, 1));
}

Result<InheritedSockets> inherited_sockets() {
  char** names = nullptr;
  const int count = ::sd_listen_fds_with_names(1, &names);
  if (count < 0) return fail(errno_error("sockets inherited from systemd", -count));
  InheritedSockets result;
  Status status;
  for (int i = 0; i < count; ++i) {
    UniqueFd fd(SD_LISTEN_FDS_START + i);
    const std::string name = names == nullptr ? "" : names[i];
    if (listens_on(fd.get(), name, "broker") && !result.broker) {
      result.broker = std::move(fd);
    } else if (listens_on(fd.get(), name, "admin") && !result.admin) {
      result.admin = std::move(fd);
    } else {
      status = fail(ErrorCode::kInvalid,
                    "an inherited socket is named \"" + name +
                        "\"; the .socket unit needs FileDescriptorName=broker or admin");
    }
  }
  for (int i = 0; names != nullptr && names[i] != nullptr; ++i) std::free(names[i]);
  std::free(names);
  if (!status) return fail(status.error());
  return result;
}

std::uint64_t raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  return ::setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : before;
}

std::uint32_t connections_for(std::uint64_t descriptors) {
  constexpr std::uint64_t kOwn = 128;
  constexpr std::uint64_t kEach = 3;
  constexpr std::uint64_t kMost = 100'000;
  if (descriptors <= kOwn + kEach) return 1;
  return static_cast<std::uint32_t>(std::min((descriptors - kOwn) / kEach, kMost));
}

}  // namespace membroker::app
