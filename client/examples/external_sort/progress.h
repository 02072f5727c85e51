#pragma once

#include <chrono>
#include <string>

#include "shared/bytes.h"

/// \file
/// One line on a terminal that says how far the sort is. Writes nothing where there is no terminal.

namespace membroker::external_sort {

class Progress {
 public:
  /// Writes to `fd` if that is a terminal.
  explicit Progress(int fd);
  ~Progress();  // leaves a clean line behind

  /// Cheap enough to be called every few milliseconds. `note` follows the bar.
  void show(const char* phase, Bytes done, Bytes total, const std::string& note);
  bool visible() const { return visible_; }

 private:
  int fd_;
  bool visible_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point next_{};
};

}  // namespace membroker::external_sort
