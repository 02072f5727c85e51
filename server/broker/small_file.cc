#include "server/broker/small_file.h"

#include <fcntl.h>

#include <cerrno>

#include "shared/fd.h"
#include "shared/format.h"

namespace membroker::broker {
namespace {

// /proc gives ESRCH for a process that ends just then.
Error failed(const char* what, const std::string& path) {
  const int error = errno;
  if (error == ESRCH) return {ErrorCode::kNotFound, what + path + ": the process has ended"};
  return errno_error(what + path, error);
}

}  // namespace

Result<std::string> read_small_file(const std::string& path, std::size_t bytes_max) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail(failed("open ", path));
  std::string content(bytes_max + 1, '\0');
  std::size_t used = 0;
  while (used < content.size()) {
    const ssize_t got = ::read(fd.get(), content.data() + used, content.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(failed("read ", path));
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
