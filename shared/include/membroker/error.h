#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

/// \file
/// Errors are values. A function that can fail returns `Result<T>`; its `Error` carries a code to
/// branch on and one sentence for people: what was asked, what was wrong, where, what to do.
/// Thread safety: values; distinct objects may be used from distinct threads.

namespace membroker {

enum class ErrorCode {
  kInvalid,             ///< An argument is malformed or out of range.
  kNotFound,            ///< The thing named does not exist (tenant, resource, file).
  kPermissionDenied,    ///< The caller may not do this.
  kResourcesExhausted,  ///< The bytes asked for are not to be had now; see `Error::denial()`.
  kTimeout,             ///< The deadline passed.
  kCancelled,           ///< The caller withdrew the request.
  kUnavailable,         ///< The daemon cannot be reached, or is going away.
  kGrowInSpill,         ///< `try_grow` or `acquire` was called from inside a spill call-back.
  kForked,              ///< The process is a fork of the one that opened the client.
  kClosed,              ///< The client, channel or file was closed.
  kIo,                  ///< A system call on a file or socket failed.
  kDiskFull,            ///< The spill disk or its quota is full.
  kCorrupt,             ///< Data read back is not what was written.
  kOutOfMemory,         ///< The allocator has no memory although the accounting has.
  kUnsupported,         ///< Not available on this machine or in this build.
};

/// A stable lower-case name, e.g. "resources_exhausted". Static storage.
std::string_view error_code_name(ErrorCode code) noexcept;

/// What the daemon advises after a refusal.
enum class DenialHint { kNone, kSpill, kRollback, kSmaller, kWait };

/// One consumer or lease holder named by a refusal.
struct HolderUse {
  std::string name;
  std::int64_t held_bytes = 0;
  bool can_spill = false;
};

/// The fields of a refused request (`kResourcesExhausted`).
struct Denial {
  std::int64_t requested_bytes = 0;
  std::int64_t available_bytes = 0;    ///< What could have been had at that moment.
  std::int64_t self_spill_bytes = 0;   ///< What the asker should spill itself, if the hint says so.
  std::int64_t attainable_bytes = 0;   ///< The largest request that can ever be met; 0 if unknown.
  std::int64_t retry_after_ms = 0;     ///< 0: do not retry unchanged.
  DenialHint hint = DenialHint::kNone;
  std::string reason;                  ///< The daemon's or pool's reason, e.g. "self_spill".
  std::string pool;                    ///< The pool that refused.
  std::vector<HolderUse> holders;      ///< Largest first.
};

class [[nodiscard]] Error {
 public:
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}
  Error(ErrorCode code, std::string message, Denial denial)
      : code_(code),
        message_(std::move(message)),
        denial_(std::make_shared<const Denial>(std::move(denial))) {}

  ErrorCode code() const noexcept { return code_; }
  /// One sentence for people.
  const std::string& message() const noexcept { return message_; }
  /// The fields of a refusal; null for every other error. Lives as long as this Error.
  const Denial* denial() const noexcept { return denial_.get(); }
  /// "resources_exhausted: …", for logs.
  std::string to_string() const;

 private:
  ErrorCode code_;
  std::string message_;
  std::shared_ptr<const Denial> denial_;  // shared so that an Error is cheap to copy
};

template <class T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

/// `return fail(ErrorCode::kInvalid, "…")` from any function that returns a Result.
inline tl::unexpected<Error> fail(ErrorCode code, std::string message) {
  return tl::unexpected<Error>(Error(code, std::move(message)));
}
inline tl::unexpected<Error> fail(Error error) { return tl::unexpected<Error>(std::move(error)); }

}  // namespace membroker
