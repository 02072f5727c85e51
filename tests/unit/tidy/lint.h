#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

/// \file
/// The house rules that a program can check. Pure functions of a path (from the root, with '/') and
/// a text, so that each rule is tested with a text that breaks it.

namespace membroker::tidy {

struct File {
  std::string path;
  std::string text;
};

struct Finding {
  std::string path;
  std::size_t line = 0;  // from 1; 0: the file as a whole
  std::string what;

  friend bool operator==(const Finding&, const Finding&) = default;
};

using Findings = std::vector<Finding>;

/// Every file of the tree that people write, sorted by path: no build folders, no .git.
std::vector<File> read_tree(const std::string& root);

/// Length of the file and of its lines, blanks at line ends, tabs, left-over notes, paths of one
/// machine; for C++ also the include guard and the length of functions.
Findings lint_text(const File& file);

/// Each include of a C++ file against the layer of its folder.
Findings lint_includes(const File& file);

/// "path:line: what", a line each.
std::string to_string(const Findings& findings);

/// The lines of a text, without their ends.
std::vector<std::string_view> lines_of(std::string_view text);

bool is_cpp(std::string_view path);

}  // namespace membroker::tidy
