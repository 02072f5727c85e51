#pragma once

#include <cstdint>
#include <random>
#include <string>

/// \file
/// Files of lines, and the sort they are compared with.

namespace membroker::e2e {

/// Sanitizers are ten times slower: the same tests, with less.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

/// Lines like those of a package index: field names, words, numbers; many begin alike. At least
/// `bytes` of them.
std::string package_lines(std::int64_t bytes, std::uint64_t seed);

/// LC_ALL=C sort; false if it fails.
bool gnu_sort(const std::string& input, const std::string& output);
bool same_files(const std::string& a, const std::string& b);

}  // namespace membroker::e2e
