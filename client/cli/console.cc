#include "client/cli/console.h"

#include <langinfo.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cstdlib>
#include <cstring>

namespace membroker::cli {
namespace {

// False if the descriptor takes no more.
bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

std::string_view variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view() : std::string_view(value);
}

}  // namespace

ProcessConsole::ProcessConsole() {
  std::setlocale(LC_CTYPE, "");
  const std::string_view term = variable("TERM");
  terminal_ = ::isatty(STDOUT_FILENO) == 1 && !term.empty() && term != "dumb";
  colour_ = terminal_ && variable("NO_COLOR").empty();
  unicode_ = std::strcmp(::nl_langinfo(CODESET), "UTF-8") == 0;
}

void ProcessConsole::out(std::string_view text) {
  if (!write_all(STDOUT_FILENO, text)) failed_ = true;
}

void ProcessConsole::err(std::string_view text) {
  // Nobody is left to be told if this fails.
  static_cast<void>(write_all(STDERR_FILENO, text));
}

TerminalSize ProcessConsole::size() const {
  winsize window{};
  TerminalSize size;
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) != 0) return size;
  if (window.ws_col > 0) size.width = window.ws_col;
  if (window.ws_row > 0) size.height = window.ws_row;
  return size;
}

}  // namespace membroker::cli
