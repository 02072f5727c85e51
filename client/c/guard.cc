#include "client/c/guard.h"

#include <cstdlib>
#include <exception>
#include <new>
#include <system_error>

#include "shared/format.h"

namespace membroker::c {
namespace {

// A structure beyond this has garbage for its size.
constexpr std::size_t kStructBytesMax = 4096;
// A wait this long is one without end.
constexpr std::chrono::hours kYear{24 * 365};

constexpr int number(ErrorCode code) { return static_cast<int>(code) + 1; }

static_assert(number(ErrorCode::kInvalid) == MB_INVALID);
static_assert(number(ErrorCode::kNotFound) == MB_NOT_FOUND);
static_assert(number(ErrorCode::kPermissionDenied) == MB_PERMISSION_DENIED);
static_assert(number(ErrorCode::kResourcesExhausted) == MB_RESOURCES_EXHAUSTED);
static_assert(number(ErrorCode::kTimeout) == MB_TIMEOUT);
static_assert(number(ErrorCode::kCancelled) == MB_CANCELLED);
static_assert(number(ErrorCode::kUnavailable) == MB_UNAVAILABLE);
static_assert(number(ErrorCode::kGrowInSpill) == MB_GROW_IN_SPILL);
static_assert(number(ErrorCode::kForked) == MB_FORKED);
static_assert(number(ErrorCode::kClosed) == MB_CLOSED);
static_assert(number(ErrorCode::kIo) == MB_IO);
static_assert(number(ErrorCode::kDiskFull) == MB_DISK_FULL);
static_assert(number(ErrorCode::kCorrupt) == MB_CORRUPT);
static_assert(number(ErrorCode::kOutOfMemory) == MB_OUT_OF_MEMORY);
static_assert(number(ErrorCode::kUnsupported) == MB_UNSUPPORTED);

mb_status report_as(mb_status status, mb_error** out, Error error) {
  if (out != nullptr) *out = new mb_error{status, std::move(error)};
  return status;
}

mb_status report_unexpected(mb_error** out, const char* function, const char* what) {
  return report_as(MB_INTERNAL, out,
                   Error(ErrorCode::kUnsupported,
                         strf("%s met an exception that it did not expect: %s", function, what)));
}

}  // namespace

/// Made without memory and never freed: text this short is inside the object.
mb_error* out_of_memory_error() noexcept {
  alignas(mb_error) static unsigned char place[sizeof(mb_error)];
  static mb_error* const error =
      new (place) mb_error{MB_OUT_OF_MEMORY, Error(ErrorCode::kOutOfMemory, "out of memory")};
  return error;
}

mb_status status_of(ErrorCode code) noexcept { return static_cast<mb_status>(number(code)); }

ErrorCode code_of(mb_status status) noexcept {
  if (status < MB_INVALID || status > MB_UNSUPPORTED) return ErrorCode::kResourcesExhausted;
  return static_cast<ErrorCode>(static_cast<int>(status) - 1);
}

mb_status report(mb_error** out, Error error) {
  const mb_status status = status_of(error.code());
  return report_as(status, out, std::move(error));
}

mb_status report_null(mb_error** out, const char* function, const char* name) {
  return report(out, Error(ErrorCode::kInvalid, strf("%s: %s is NULL", function, name)));
}

mb_status report_exception(mb_error** out, const char* function) noexcept {
  try {
    try {
      throw;
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::system_error& error) {  // e.g. no more threads
      return report(out, Error(ErrorCode::kIo, strf("%s: %s", function, error.what())));
    } catch (const std::exception& error) {
      return report_unexpected(out, function, error.what());
    } catch (...) {
      return report_unexpected(out, function, "of an unknown type");
    }
  } catch (...) {
    if (out != nullptr) *out = out_of_memory_error();
    return MB_OUT_OF_MEMORY;
  }
}

Status check_struct(const char* name, const void* given, std::size_t size, std::size_t known,
                    std::size_t alignment, bool tail_is_read) {
  if (size < sizeof(std::size_t) || size > kStructBytesMax || size % alignment != 0) {
    return fail(ErrorCode::kInvalid,
                strf("%s.struct_size is %zu; set it to sizeof(%s), as the INIT macro does", name,
                     size, name));
  }
  const auto* bytes = static_cast<const unsigned char*>(given);
  for (std::size_t i = known; tail_is_read && i < size; ++i) {
    if (bytes[i] == 0) continue;
    return fail(ErrorCode::kUnsupported,
                strf("%s has an option at byte %zu that this library, %s, does not know", name, i,
                     mb_version()));
  }
  return {};
}

Result<Deadline> deadline_of(std::int64_t timeout_ms) {
  if (timeout_ms == MB_FOREVER) return Deadline::never();
  if (timeout_ms < 0) {
    return fail(ErrorCode::kInvalid,
                strf("a timeout of %lld ms; give 0 or more, or MB_FOREVER (-1)",
                     static_cast<long long>(timeout_ms)));
  }
  return Deadline(std::chrono::milliseconds(timeout_ms));
}

Result<std::chrono::milliseconds> duration_of(std::int64_t timeout_ms) {
  if (Result<Deadline> valid = deadline_of(timeout_ms); !valid) return fail(valid.error());
  const std::chrono::milliseconds given(timeout_ms);
  return timeout_ms == MB_FOREVER || given > kYear ? kYear : given;
}

std::int64_t remaining_ms(Deadline deadline) noexcept {
  if (deadline.at == Deadline::Clock::time_point::max()) return MB_FOREVER;
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline.at - Deadline::Clock::now());
  return left.count() > 0 ? left.count() : 0;
}

char* copy_text(const std::string& text) {
  auto* copy = static_cast<char*>(std::malloc(text.size() + 1));
  if (copy == nullptr) throw std::bad_alloc();
  std::memcpy(copy, text.c_str(), text.size() + 1);
  return copy;
}

Error beyond_end(const char* what, std::int64_t index, std::size_t count) {
  return Error(ErrorCode::kNotFound,
               strf("there is no %s %lld: they are numbered from 0, and there are %zu", what,
                    static_cast<long long>(index), count));
}

}  // namespace membroker::c
