#include "client/examples/external_sort/output.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

namespace membroker::external_sort {

Result<OutputFile> OutputFile::create(const std::string& path, MutableBuffer& buffer) {
  OutputFile output;
  output.path_ = path;
  output.buffer_ = &buffer;
  struct stat status {};
  int fd = -1;
  if (path == "-") {
    output.path_ = "standard output";
    fd = ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
  } else if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  } else {
    const std::string temporary = path + ".part-" + std::to_string(::getpid());
    fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd >= 0) output.temporary_ = temporary;
  }
  if (fd < 0) return fail(errno_error("open " + output.path_ + " for writing", errno));
  output.file_ = UniqueFd(fd);
  return output;
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})),
      file_(std::move(other.file_)),
      buffer_(other.buffer_),
      used_(other.used_),
      written_(other.written_) {}

OutputFile::~OutputFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Status OutputFile::append_slowly(std::string_view text) {
  if (auto flushed = flush(); !flushed) return flushed;
  if (static_cast<Bytes>(text.size()) <= buffer_->size()) return append(text);
  return write_all(text.data(), static_cast<Bytes>(text.size()));
}

Status OutputFile::flush() {
  const Bytes size = std::exchange(used_, 0);
  return write_all(reinterpret_cast<const char*>(buffer_->data()), size);
}

Status OutputFile::write_all(const char* data, Bytes size) {
  while (size > 0) {
    const ssize_t n = ::write(file_.get(), data, static_cast<std::size_t>(size));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(errno_error("write " + path_, errno));
    data += n;
    size -= n;
    written_ += n;
  }
  return {};
}

Status OutputFile::finish() {
  if (auto flushed = flush(); !flushed) return flushed;
  // close() is where some file systems say that the disk was full.
  if (::close(file_.release()) != 0) return fail(errno_error("close " + path_, errno));
  if (temporary_.empty()) return {};
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return fail(errno_error("rename " + temporary_ + " to " + path_, errno));
  }
  temporary_.clear();
  return {};
}

}  // namespace membroker::external_sort
