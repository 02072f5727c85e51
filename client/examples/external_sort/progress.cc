#include "client/examples/external_sort/progress.h"

#include <unistd.h>

#include <algorithm>

#include "shared/format.h"

namespace membroker::external_sort {
namespace {

constexpr auto kInterval = std::chrono::milliseconds(100);
constexpr int kBarWidth = 30;

void write_text(int fd, const std::string& text) {
  // A terminal that is gone is no reason to stop sorting.
  [[maybe_unused]] const ssize_t n = ::write(fd, text.data(), text.size());
}

}  // namespace

Progress::Progress(int fd) : fd_(fd), visible_(::isatty(fd) == 1) {}

Progress::~Progress() {
  if (drawn_) write_text(fd_, "\r\x1b[K");
}

void Progress::show(const char* phase, Bytes done, Bytes total, const std::string& note) {
  if (!visible_) return;
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return;
  next_ = now + kInterval;
  const double part =
      total > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0) : 1;
  const int filled = static_cast<int>(part * kBarWidth);
  std::string bar(static_cast<std::size_t>(filled), '#');
  bar.append(static_cast<std::size_t>(kBarWidth - filled), '.');
  write_text(fd_, strf("\r%-8s [%s] %3d%%  %s\x1b[K", phase, bar.c_str(),
                       static_cast<int>(part * 100), note.c_str()));
  drawn_ = true;
}

}  // namespace membroker::external_sort
