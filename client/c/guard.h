#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "membroker/c/client.h"
#include "membroker/deadline.h"
#include "membroker/error.h"

/// \file
/// What every function of the C ABI is wrapped in: required pointers are checked, errors become a
/// status and an object, structures of other versions are read and filled in, and no exception
/// passes.

struct mb_error {
  mb_status status;
  membroker::Error value;
};

namespace membroker::c {

/// A pointer that the caller must give.
struct Required {
  const void* pointer;
  const char* name;
};

mb_status status_of(ErrorCode code) noexcept;
/// Of what a call-back of the caller's returned; kResourcesExhausted for what is no failure.
ErrorCode code_of(mb_status status) noexcept;

mb_status report(mb_error** out, Error error);
mb_status report_null(mb_error** out, const char* function, const char* name);
/// What is reported when there is no memory to report in; shared, never freed.
mb_error* out_of_memory_error() noexcept;
/// Within a catch block: of the exception that was caught.
mb_status report_exception(mb_error** out, const char* function) noexcept;

/// Runs `body`, which returns Status, and gives its outcome to the C caller.
template <class Body>
mb_status guarded(const char* function, std::initializer_list<Required> required, mb_error** error,
                  Body&& body) noexcept {
  try {
    for (const Required& one : required) {
      if (one.pointer == nullptr) return report_null(error, function, one.name);
    }
    Status done = body();
    if (!done) return report(error, std::move(done).error());
    if (error != nullptr) *error = nullptr;
    return MB_OK;
  } catch (...) {
    return report_exception(error, function);
  }
}

/// For functions that return a value: `fallback` for a null handle and where `body` throws.
template <class T, class Body>
T value_or(const void* handle, T fallback, Body&& body) noexcept {
  try {
    return handle == nullptr ? fallback : static_cast<T>(body());
  } catch (...) {
    return fallback;
  }
}

template <class Handle>
void drop(Handle* handle) noexcept {
  try {
    delete handle;
  } catch (...) {  // a call-back of the caller's threw while its context ended
  }
}

/// Whether a structure of `size` bytes can be ours of `known` bytes, in another version: kInvalid
/// if not, or if it has a tail that must be zero and is not.
Status check_struct(const char* name, const void* given, std::size_t size, std::size_t known,
                    std::size_t alignment, bool tail_is_read);

// Structures without padding: what is added to one later cannot fall into bytes that older callers
// leave undefined.
template <class T>
inline constexpr bool kStableStruct =
    std::is_trivially_copyable_v<T>&& std::has_unique_object_representations_v<T>&& offsetof(
        T, struct_size) == 0;

/// The options given, with defaults for what the caller's version does not have. Null: all
/// defaults.
template <class T>
Result<T> read_options(const char* name, const T* given, const T& defaults) {
  static_assert(kStableStruct<T>);
  T options = defaults;
  if (given == nullptr) return options;
  const std::size_t size = given->struct_size;
  if (Status ok = check_struct(name, given, size, sizeof(T), alignof(T), true); !ok) {
    return fail(ok.error());
  }
  std::memcpy(&options, given, size < sizeof(T) ? size : sizeof(T));
  options.struct_size = sizeof(T);
  return options;
}

/// Fills in as much of `out` as the caller's version has.
template <class T>
Status fill_in(const char* name, T* out, T value) {
  static_assert(kStableStruct<T>);
  const std::size_t size = out->struct_size;
  if (Status ok = check_struct(name, out, size, sizeof(T), alignof(T), false); !ok) return ok;
  value.struct_size = size;
  if (size > sizeof(T)) {
    std::memset(reinterpret_cast<char*>(out) + sizeof(T), 0, size - sizeof(T));
  }
  std::memcpy(out, &value, size < sizeof(T) ? size : sizeof(T));
  return {};
}

/// A caller's context and what ends it. Shared by all that may still call with it.
class Context {
 public:
  Context(void* pointer, mb_context_drop drop) : pointer_(pointer), drop_(drop) {}
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() {
    if (armed_ && drop_ != nullptr) drop_(pointer_);
  }
  void* get() const noexcept { return pointer_; }
  /// From now on the library owns it: before, a failure leaves it to the caller.
  void arm() noexcept { armed_ = true; }

 private:
  void* pointer_;
  mb_context_drop drop_;
  bool armed_ = false;
};

/// kInvalid for a time that is negative and not MB_FOREVER.
Result<Deadline> deadline_of(std::int64_t timeout_ms);
/// The same for calls that take a duration; a year for MB_FOREVER and for what is longer.
Result<std::chrono::milliseconds> duration_of(std::int64_t timeout_ms);
/// Milliseconds from now; MB_FOREVER for no deadline.
std::int64_t remaining_ms(Deadline deadline) noexcept;

/// To be ended by mb_string_drop.
char* copy_text(const std::string& text);

Error beyond_end(const char* what, std::int64_t index, std::size_t count);

/// The index-th of `all`, or kNotFound.
template <class All>
Result<const typename All::value_type*> at(const All& all, const char* what, std::int64_t index) {
  if (index < 0 || static_cast<std::uint64_t>(index) >= all.size()) {
    return fail(beyond_end(what, index, all.size()));
  }
  return &all[static_cast<std::size_t>(index)];
}

}  // namespace membroker::c
