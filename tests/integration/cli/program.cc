#include "tests/integration/cli/program.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utmp.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>

namespace membroker::testing {
namespace {

constexpr int kRunMostMs = 30'000;
constexpr int kShowMostMs = 20'000;

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

int wait_exit(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> result;
  for (std::string& word : words) result.push_back(word.data());
  result.push_back(nullptr);
  return result;
}

// Appends what can be read; false at the end.
bool take(int fd, std::string& text) {
  std::array<char, 4096> block;
  const ssize_t size = ::read(fd, block.data(), block.size());
  if (size > 0) text.append(block.data(), static_cast<std::size_t>(size));
  return size > 0 || (size < 0 && errno == EINTR);
}

}  // namespace

Outcome run_program(const std::vector<std::string>& words, const RunOptions& options) {
  std::vector<std::string> copy = words;
  std::vector<char*> argv = pointers(copy);
  std::array<int, 2> out{};
  std::array<int, 2> err{};
  Outcome outcome;
  if (::pipe2(out.data(), O_CLOEXEC) != 0 || ::pipe2(err.data(), O_CLOEXEC) != 0) return outcome;
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(out[1], STDOUT_FILENO);
    ::dup2(err[1], STDERR_FILENO);
    for (const std::string& variable : options.environment) {
      ::putenv(const_cast<char*>(variable.c_str()));
    }
    if (options.uid) {
      const bool dropped = ::setgroups(0, nullptr) == 0 && ::setgid(*options.uid) == 0 &&
                           ::setuid(*options.uid) == 0;
      if (!dropped) ::_exit(126);
    }
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  ::close(out[1]);
  ::close(err[1]);
  std::array<pollfd, 2> waits = {pollfd{out[0], POLLIN, 0}, pollfd{err[0], POLLIN, 0}};
  const std::int64_t end = now_ms() + kRunMostMs;
  while (waits[0].fd >= 0 || waits[1].fd >= 0) {
    const auto left = static_cast<int>(end - now_ms());
    if (left <= 0 || ::poll(waits.data(), waits.size(), left) == 0) {
      ::kill(pid, SIGKILL);
      break;
    }
    if (waits[0].revents != 0 && !take(out[0], outcome.out)) waits[0].fd = -1;
    if (waits[1].revents != 0 && !take(err[0], outcome.err)) waits[1].fd = -1;
  }
  ::close(out[0]);
  ::close(err[0]);
  outcome.exit_code = wait_exit(pid);
  return outcome;
}

TerminalProgram::TerminalProgram(const std::vector<std::string>& words) {
  std::vector<std::string> copy = words;
  std::vector<char*> argv = pointers(copy);
  int ours = -1;
  int theirs = -1;
  winsize size{};
  size.ws_col = 100;
  size.ws_row = 30;
  if (::openpty(&ours, &theirs, nullptr, nullptr, &size) != 0) return;
  ::fcntl(ours, F_SETFD, FD_CLOEXEC);
  ::fcntl(theirs, F_SETFD, FD_CLOEXEC);
  terminal_ = UniqueFd(ours);
  keeper_ = UniqueFd(theirs);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::login_tty(theirs);
    ::setenv("TERM", "xterm", 1);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
}

TerminalProgram::~TerminalProgram() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    wait_exit(pid_);
  }
}

bool TerminalProgram::read_some() {
  pollfd wait = {terminal_.get(), POLLIN, 0};
  if (::poll(&wait, 1, kShowMostMs) <= 0) return false;
  return take(terminal_.get(), shown_);
}

bool TerminalProgram::wait_for(const std::string& text) {
  const std::int64_t end = now_ms() + kShowMostMs;
  while (shown_.find(text) == std::string::npos) {
    if (now_ms() > end || !read_some()) return false;
  }
  return true;
}

void TerminalProgram::type(const std::string& keys) {
  static_cast<void>(!::write(terminal_.get(), keys.data(), keys.size()));
}

void TerminalProgram::resize(int width, int height) {
  winsize size{};
  size.ws_col = static_cast<unsigned short>(width);
  size.ws_row = static_cast<unsigned short>(height);
  ::ioctl(terminal_.get(), TIOCSWINSZ, &size);
  shown_.clear();
}

bool TerminalProgram::in_line_mode() const {
  termios modes{};
  if (::tcgetattr(keeper_.get(), &modes) != 0) return false;
  return (modes.c_lflag & ICANON) != 0 && (modes.c_lflag & ECHO) != 0;
}

Outcome TerminalProgram::finish() {
  Outcome outcome;
  const std::int64_t end = now_ms() + kShowMostMs;
  pid_t ended = 0;
  while ((ended = ::waitpid(pid_, &outcome.exit_code, WNOHANG)) == 0) {
    if (now_ms() > end) ::kill(pid_, SIGKILL);
    pollfd wait = {terminal_.get(), POLLIN, 0};
    if (::poll(&wait, 1, 5) > 0) take(terminal_.get(), shown_);
  }
  const int status = outcome.exit_code;
  outcome.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  pid_ = -1;
  pollfd wait = {terminal_.get(), POLLIN, 0};
  while (::poll(&wait, 1, 0) > 0 && take(terminal_.get(), shown_)) {
  }
  outcome.out = shown_;
  return outcome;
}

}  // namespace membroker::testing
