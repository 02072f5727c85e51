#pragma once

#include <cstddef>
#include <string_view>

/// \file
/// Where the commands write: the process's own streams, or a test's strings.

namespace membroker::cli {

struct TerminalSize {
  std::size_t width = 80;
  std::size_t height = 24;
};

class Console {
 public:
  virtual ~Console() = default;
  virtual void out(std::string_view text) = 0;
  virtual void err(std::string_view text) = 0;

  /// Standard output is a terminal that understands ANSI sequences.
  virtual bool terminal() const = 0;
  virtual bool colour() const = 0;
  /// The terminal shows UTF-8.
  virtual bool unicode() const = 0;
  virtual TerminalSize size() const = 0;
  /// Something written to out() was lost (a full disk).
  virtual bool failed() const = 0;
};

/// Standard output and error of the process. Colour and live screens only on a terminal with TERM
/// other than "dumb"; no colour where NO_COLOR is set to anything.
class ProcessConsole final : public Console {
 public:
  ProcessConsole();
  void out(std::string_view text) override;
  void err(std::string_view text) override;
  bool terminal() const override { return terminal_; }
  bool colour() const override { return colour_; }
  bool unicode() const override { return unicode_; }
  TerminalSize size() const override;
  bool failed() const override { return failed_; }

 private:
  bool terminal_ = false;
  bool colour_ = false;
  bool unicode_ = false;
  bool failed_ = false;
};

}  // namespace membroker::cli
