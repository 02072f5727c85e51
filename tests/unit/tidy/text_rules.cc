#include <algorithm>
#include <array>
#include <filesystem>

#include "tests/kit/temporary_folder.h"
#include "tests/unit/tidy/lint.h"

namespace membroker::tidy {
namespace {

constexpr std::size_t kFileLinesMax = 400;
constexpr std::size_t kTestFileLinesMax = 700;
constexpr std::size_t kFunctionLinesMax = 70;
constexpr std::size_t kColumnsMax = 100;

bool ends_with_any(std::string_view path, std::initializer_list<std::string_view> ends) {
  return std::any_of(ends.begin(), ends.end(),
                     [&](std::string_view end) { return path.ends_with(end); });
}

bool is_code(std::string_view path) {
  return is_cpp(path) || ends_with_any(path, {".proto", ".py", ".sh", ".rs"});
}

// Code points: what an editor shows as columns.
std::size_t columns(std::string_view line) {
  return static_cast<std::size_t>(std::count_if(line.begin(), line.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
  }));
}

bool is_word_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

bool has_word(std::string_view line, std::string_view word) {
  for (std::size_t at = line.find(word); at != std::string_view::npos;
       at = line.find(word, at + 1)) {
    const std::size_t end = at + word.size();
    const bool open = at == 0 || !is_word_char(line[at - 1]);
    if (open && (end == line.size() || !is_word_char(line[end]))) return true;
  }
  return false;
}

std::size_t indent_of(std::string_view line) {
  return std::min(line.find_first_not_of(' '), line.size());
}

// A line that opens a block which is no function: a type, a namespace, an initialiser.
bool opens_other_block(std::string_view line) {
  const std::string_view text = line.substr(indent_of(line));
  for (const std::string_view word : {"namespace", "struct", "class", "enum", "union", "extern",
                                      "typedef", "template <class T> struct"}) {
    if (text.starts_with(word)) return true;
  }
  return text.ends_with("= {") || text.ends_with("return {");
}

// The indent of the statement that line `i` ends: its first line, not a continuation's.
std::size_t statement_indent(const std::vector<std::string_view>& lines, std::size_t i) {
  while (i > 0 && !lines[i - 1].empty() && lines[i - 1][0] != '#' &&
         std::string_view(";{}:").find(lines[i - 1].back()) == std::string_view::npos &&
         !lines[i - 1].substr(indent_of(lines[i - 1])).starts_with("//")) {
    --i;
  }
  return indent_of(lines[i]);
}

// Relies on the repository's clang-format: a function's last line is its opening line's indent and
// "}". Only functions of a namespace or of a class are measured, not lambdas within them.
void check_functions(const File& file, const std::vector<std::string_view>& lines,
                     Findings& findings) {
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (!lines[i].ends_with("{") || opens_other_block(lines[i])) continue;
    const std::string close = std::string(statement_indent(lines, i), ' ') + "}";
    std::size_t end = i + 1;
    while (end < lines.size() && lines[end] != close && !lines[end].starts_with(close + ";")) ++end;
    if (end == lines.size() || lines[end] != close) continue;
    const std::size_t size = end - i + 1;
    if (size > kFunctionLinesMax) {
      findings.push_back({file.path, i + 1,
                          "a function of " + std::to_string(size) + " lines; at most " +
                              std::to_string(kFunctionLinesMax)});
    }
    i = end;
  }
}

void check_line(const File& file, std::size_t number, std::string_view line, Findings& findings) {
  const auto find = [&](const std::string& what) { findings.push_back({file.path, number, what}); };
  // Written in two parts, so that this file passes.
  constexpr std::array<std::string_view, 2> kNotes = {
      "TO"
      "DO",
      "FIX"
      "ME"};
  for (const std::string_view note : kNotes) {
    if (has_word(line, note)) find("a left-over " + std::string(note));
  }
  if (!line.empty() && (line.back() == ' ' || line.back() == '\t'))
    find("blanks at the line's end");
  if (line.find('\r') != std::string_view::npos) find("a carriage return");
  if (line.find("/wo"
                "rk/") != std::string_view::npos)
    find("a path of one machine");
  if (!is_code(file.path)) return;
  if (columns(line) > kColumnsMax) {
    find(std::to_string(columns(line)) + " columns; at most " + std::to_string(kColumnsMax));
  }
  if (is_cpp(file.path) && line.find('\t') != std::string_view::npos) find("a tab");
  if (is_cpp(file.path) && line.starts_with("using namespace std;")) find("using namespace std");
}

}  // namespace

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

bool is_cpp(std::string_view path) { return ends_with_any(path, {".h", ".cc", ".c", ".cpp"}); }

Findings lint_text(const File& file) {
  Findings findings;
  if (file.text.find('\0') != std::string::npos) return findings;  // binary
  const std::vector<std::string_view> lines = lines_of(file.text);
  const bool test = file.path.starts_with("tests/");
  const std::size_t most = test ? kTestFileLinesMax : kFileLinesMax;
  if (is_code(file.path) && lines.size() > most) {
    findings.push_back(
        {file.path, 0, std::to_string(lines.size()) + " lines; at most " + std::to_string(most)});
  }
  if (!file.text.empty() && file.text.back() != '\n') {
    findings.push_back({file.path, lines.size(), "no line break at the end of the file"});
  }
  if (file.path.ends_with(".h") && file.text.find("#pragma once\n") == std::string::npos) {
    findings.push_back({file.path, 0, "a header without #pragma once"});
  }
  for (std::size_t i = 0; i < lines.size(); ++i) check_line(file, i + 1, lines[i], findings);
  if (is_cpp(file.path)) check_functions(file, lines, findings);
  return findings;
}

std::string to_string(const Findings& findings) {
  std::string text;
  for (const Finding& finding : findings) {
    text += finding.path + ":" + std::to_string(finding.line) + ": " + finding.what + "\n";
  }
  return text;
}

std::vector<File> read_tree(const std::string& root) {
  namespace fs = std::filesystem;
  std::vector<File> files;
  for (auto entry = fs::recursive_directory_iterator(root); entry != fs::end(entry); ++entry) {
    const std::string path = fs::relative(entry->path(), root).generic_string();
    // Corpora are what fuzzers read, not people.
    const std::string name = entry->path().filename();
    const bool skipped = path == "build" || path == ".git" || path == ".cache" ||
                         name == "target" || name == "corpus";
    if (entry->is_directory()) {
      if (skipped) entry.disable_recursion_pending();
      continue;
    }
    // Symbolic links point at files that are read under their own names.
    if (skipped || entry->is_symlink() || !entry->is_regular_file()) continue;
    files.push_back({path, membroker::testing::read_file(entry->path())});
  }
  std::sort(files.begin(), files.end(),
            [](const File& a, const File& b) { return a.path < b.path; });
  return files;
}

}  // namespace membroker::tidy
