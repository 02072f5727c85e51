#include "server/broker/small_file.h"

#include <fcntl.h>

#include <cerrno>

#include "shared/fd.h"
#include "shared/format.h"

namespace membroker::broker {

Result<std::string> read_small_file(const std::string& path, std::size_t bytes_max) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail(errno_error("open " + path, errno));
  std::string content(bytes_max + 1, '\0');
  std::size_t used = 0;
  while (used < content.size()) {
    const ssize_t got = ::read(fd.get(), content.data() + used, content.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(errno_error("read " + path, errno));
    if (got == 0) break;
    used += static_cast<std::size_t>(got);
  }
  if (used > bytes_max) {
    return fail(ErrorCode::kInvalid, strf("%s has more than %zu bytes", path.c_str(), bytes_max));
  }
  content.resize(used);
  return content;
}

}  // namespace membroker::broker
