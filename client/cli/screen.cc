#include "client/cli/screen.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>

namespace membroker::cli {

Result<SignalWait> SignalWait::make() {
  sigset_t wanted;
  ::sigemptyset(&wanted);
  for (const int number : {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGWINCH, SIGTSTP}) {
    ::sigaddset(&wanted, number);
  }
  sigset_t before;
  if (const int error = ::pthread_sigmask(SIG_BLOCK, &wanted, &before); error != 0) {
    return fail(errno_error("block signals", error));
  }
  UniqueFd fd(::signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd) {
    const int error = errno;
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return fail(errno_error("signalfd", error));
  }
  return SignalWait(std::move(fd), before);
}

SignalWait::SignalWait(SignalWait&& other) noexcept
    : fd_(std::move(other.fd_)),
      before_(other.before_),
      owns_mask_(std::exchange(other.owns_mask_, false)),
      keys_ended_(other.keys_ended_) {}

SignalWait::~SignalWait() {
  if (owns_mask_) ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

SignalWait::Event SignalWait::read_signal() {
  signalfd_siginfo info{};
  if (::read(fd_.get(), &info, sizeof(info)) != static_cast<ssize_t>(sizeof(info))) {
    return Event::kTimeout;
  }
  if (info.ssi_signo == SIGWINCH) return Event::kResize;
  if (info.ssi_signo == SIGTSTP) return Event::kSuspend;
  return Event::kStop;
}

SignalWait::Event SignalWait::wait(Instant until, int ready_fd, int key_fd) {
  for (;;) {
    std::array<pollfd, 3> waits = {
        pollfd{fd_.get(), POLLIN, 0},
        pollfd{ready_fd, POLLIN, 0},
        pollfd{keys_ended_ ? -1 : key_fd, POLLIN, 0},
    };
    const Millis left = std::clamp<Millis>(until - monotonic_now(), 0, 3'600'000);
    const int count = ::poll(waits.data(), waits.size(), static_cast<int>(left));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return Event::kTimeout;
    if (waits[0].revents != 0) return read_signal();
    if (waits[1].revents != 0) return Event::kReady;
    char key = 0;
    if (::read(key_fd, &key, 1) != 1) {
      keys_ended_ = true;  // nobody types any more; go on without
      continue;
    }
    constexpr char kEndOfTransmission = 4;
    return key == 'q' || key == 'Q' || key == kEndOfTransmission ? Event::kStop : Event::kKey;
  }
}

Screen::Screen(Console& console) : console_(console) { enter(); }

Screen::~Screen() { leave(); }

void Screen::enter() {
  if (entered_) return;
  entered_ = true;
  keyboard_ = ::isatty(STDIN_FILENO) == 1 && ::tcgetattr(STDIN_FILENO, &before_) == 0;
  if (keyboard_) {
    termios raw = before_;
    // Signals stay on: Ctrl-C and Ctrl-Z arrive as such.
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  }
  console_.out("\x1b[?1049h\x1b[?25l");
}

void Screen::leave() {
  if (!entered_) return;
  entered_ = false;
  console_.out("\x1b[?25h\x1b[?1049l");
  if (keyboard_) ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
}

void Screen::show(std::string_view frame) {
  // Each line is cleared behind its text, and all below the last: no flicker of a full clear.
  std::string text = "\x1b[H";
  for (const char c : frame) {
    if (c == '\n') {
      text += "\x1b[K\r\n";
    } else {
      text += c;
    }
  }
  console_.out(text + "\x1b[K\x1b[J");
}

}  // namespace membroker::cli
