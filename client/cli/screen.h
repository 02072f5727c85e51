#pragma once

#include <signal.h>
#include <termios.h>

#include <string_view>

#include "client/cli/console.h"
#include "membroker/error.h"
#include "shared/fd.h"
#include "shared/time.h"

/// \file
/// A live screen that always gives the terminal back, and the signals that end or resize it.

namespace membroker::cli {

/// Takes SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGWINCH and SIGTSTP as events. Make it before any other
/// thread starts: threads inherit the blocked signals. Destruction restores the mask.
class SignalWait {
 public:
  enum class Event { kTimeout, kReady, kKey, kStop, kResize, kSuspend };

  static Result<SignalWait> make();
  SignalWait(SignalWait&& other) noexcept;
  SignalWait& operator=(SignalWait&&) = delete;
  ~SignalWait();

  /// Waits for a signal, for `ready_fd` to be readable (kReady), for a key on `key_fd` (kKey; 'q'
  /// and Ctrl-D are kStop), or until `until`. Pass -1 for a descriptor that is not wanted.
  Event wait(Instant until, int ready_fd, int key_fd);

 private:
  SignalWait(UniqueFd fd, const sigset_t& before) : fd_(std::move(fd)), before_(before) {}
  Event read_signal();

  UniqueFd fd_;
  sigset_t before_{};
  bool owns_mask_ = true;
  bool keys_ended_ = false;
};

/// The alternate screen without cursor and echo. Destruction puts everything back; so do leave()
/// and enter() around a suspension.
class Screen {
 public:
  explicit Screen(Console& console);
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;
  ~Screen();

  void enter();
  void leave();
  /// Shows the frame (lines separated by '\n', none wider or more than the terminal has).
  void show(std::string_view frame);

 private:
  Console& console_;
  termios before_{};
  bool keyboard_ = false;  // standard input is a terminal whose mode was changed
  bool entered_ = false;
};

}  // namespace membroker::cli
