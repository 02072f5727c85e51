#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "shared/fd.h"

/// \file
/// A program of the build, run as a user would.

namespace membroker::testing {

struct Outcome {
  int exit_code = -1;  // 128 + the signal's number, as a shell would say
  std::string out;
  std::string err;
};

struct RunOptions {
  std::optional<uid_t> uid;              // become this user first; the test must be root
  std::vector<std::string> environment;  // "NAME=value", added
};

/// Runs it to its end; kills it after 30 s (then the exit code is 137).
Outcome run_program(const std::vector<std::string>& words, const RunOptions& options = {});

/// A program on a terminal of its own, 100 x 30.
class TerminalProgram {
 public:
  explicit TerminalProgram(const std::vector<std::string>& words);
  TerminalProgram(const TerminalProgram&) = delete;
  TerminalProgram& operator=(const TerminalProgram&) = delete;
  ~TerminalProgram();

  /// Reads until `text` has been shown; false after 20 s or at the program's end.
  bool wait_for(const std::string& text);
  void type(const std::string& keys);
  void resize(int width, int height);
  /// Echo and line mode are on: what a shell expects to find again.
  bool in_line_mode() const;
  /// Reads to the end; kills it after 20 s.
  Outcome finish();

 private:
  bool read_some();  // false at the end or after 20 s

  pid_t pid_ = -1;
  UniqueFd terminal_;  // our side
  UniqueFd keeper_;    // the program's side, so that its modes can be read after its end
  std::string shown_;
};

}  // namespace membroker::testing
