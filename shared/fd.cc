#include "shared/fd.h"

#include <cerrno>
#include <string>
#include <system_error>

namespace membroker {

Error errno_error(std::string_view what, int error_number) {
  ErrorCode code = ErrorCode::kIo;
  if (error_number == ENOSPC || error_number == EDQUOT) code = ErrorCode::kDiskFull;
  if (error_number == EACCES || error_number == EPERM) code = ErrorCode::kPermissionDenied;
  if (error_number == ENOENT) code = ErrorCode::kNotFound;
  return Error(code, std::string(what) + ": " + std::generic_category().message(error_number));
}

}  // namespace membroker
