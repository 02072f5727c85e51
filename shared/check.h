#pragma once

/// \file
/// MB_CHECK(condition): a broken invariant of our own aborts, with file, line and condition, in
/// every build. Never for what a peer, a file or an operator can cause.

namespace membroker::detail {
[[noreturn]] void check_failed(const char* file, int line, const char* condition) noexcept;
}  // namespace membroker::detail

#define MB_CHECK(condition)                                                  \
  (__builtin_expect(static_cast<bool>(condition), 1)                         \
       ? static_cast<void>(0)                                                \
       : ::membroker::detail::check_failed(__FILE__, __LINE__, #condition))
