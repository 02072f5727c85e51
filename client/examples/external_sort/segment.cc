#include "client/examples/external_sort/segment.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace membroker::external_sort {
namespace {

// Indexed while still in the processor's cache.
constexpr Bytes kReadBytes = 256 * kKiB;
// The text of the lines to come is fetched this many lines ahead, since sorted lines lie anywhere,
// and their index before that.
constexpr std::ptrdiff_t kPrefetchLines = 4;
constexpr std::ptrdiff_t kPrefetchIndex = 16;
constexpr std::uint32_t kCacheLine = 64;

/// Text from the front, index from the back.
class Filler {
 public:
  explicit Filler(MutableBuffer& block)
      : text_(reinterpret_cast<char*>(block.data())),
        usable_(block.size() / kEntry * kEntry),
        index_end_(reinterpret_cast<Line*>(block.data() + usable_)),
        index_(index_end_) {}

  /// Bytes that could be read, with room for one more line.
  Bytes room() const { return index_begin() - kEntry - read_; }
  char* read_to() { return text_ + read_; }
  Bytes read_bytes() const { return read_; }
  void add_read(Bytes bytes) { read_ += bytes; }

  /// Indexes the whole lines read so far. False: the index has met the text.
  bool index_lines() {
    while (scanned_ < read_) {
      const void* newline =
          std::memchr(text_ + scanned_, '\n', static_cast<std::size_t>(read_ - scanned_));
      if (newline == nullptr) {
        scanned_ = read_;
        return true;
      }
      if (room() < 0) return false;
      const Bytes end = static_cast<const char*>(newline) - text_;
      const auto length = static_cast<std::uint32_t>(end - indexed_);
      *--index_ = Line{.key = key_at(text_ + indexed_, length, 0),
                       .offset = static_cast<std::uint32_t>(indexed_),
                       .length = length};
      indexed_ = scanned_ = end + 1;
    }
    return true;
  }

  /// At the end of the input: gives its last line a newline if it has none. False: no room.
  bool end_last_line() {
    if (indexed_ == read_) return true;
    if (room() < 1) return false;
    text_[read_++] = '\n';
    newline_added_ = true;
    return index_lines();
  }

  Filled result(bool end) const {
    return {{index_, index_end_}, indexed_ - (newline_added_ ? 1 : 0), indexed_, end};
  }

 private:
  static constexpr Bytes kEntry = sizeof(Line);

  Bytes index_begin() const { return usable_ - (index_end_ - index_) * kEntry; }

  char* text_;
  Bytes usable_;  // of the block, a multiple of an entry
  Line* index_end_;
  Line* index_;        // grows downwards
  Bytes read_ = 0;     // text read
  Bytes scanned_ = 0;  // no newline between indexed_ and here
  Bytes indexed_ = 0;  // text whose lines are in the index
  bool newline_added_ = false;
};

}  // namespace

Result<InputFile> InputFile::open(const std::string& path) {
  InputFile input;
  input.path_ = path;
  input.file_ = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!input.file_) return fail(errno_error("open " + path, errno));
  struct stat status {};
  if (::fstat(input.file_.get(), &status) != 0) return fail(errno_error("stat " + path, errno));
  if (!S_ISREG(status.st_mode)) {
    return fail(ErrorCode::kInvalid, path + " is not a regular file; write its lines to one first");
  }
  input.size_ = status.st_size;
  ::posix_fadvise(input.file_.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  return input;
}

Result<Bytes> InputFile::read(char* to, Bytes size, Bytes offset) const {
  Bytes done = 0;
  while (done < size) {
    const ssize_t n = ::pread(file_.get(), to + done, static_cast<std::size_t>(size - done),
                              static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(errno_error("read " + path_, errno));
    if (n == 0) break;
    done += n;
  }
  return done;
}

Result<Filled> fill_block(const InputFile& input, Bytes offset, MutableBuffer& block) {
  Filler filler(block);
  while (filler.room() > 0) {
    // Half of what is left, since the index needs a part: the two meet in a few steps.
    const Bytes room = filler.room();
    const Bytes ask = std::min(kReadBytes, room <= 2 * kKiB ? room : room / 2);
    const auto got = input.read(filler.read_to(), ask, offset + filler.read_bytes());
    if (!got) return fail(got.error());
    filler.add_read(*got);
    if (*got == 0) return filler.result(filler.end_last_line());
    if (!filler.index_lines()) break;
  }
  return filler.result(false);
}

Result<bool> SegmentSource::next() {
  if (at_ == end_) return false;
  line_ = {text_ + at_->offset, std::size_t{at_->length} + 1};
  if (end_ - at_ > kPrefetchIndex) {
    __builtin_prefetch(at_ + kPrefetchIndex);
    // Of long lines the processor fetches the rest itself.
    const char* const text = text_ + at_[kPrefetchLines].offset;
    __builtin_prefetch(text);
    __builtin_prefetch(text + std::min(at_[kPrefetchLines].length, kCacheLine));
  }
  ++at_;
  return true;
}

}  // namespace membroker::external_sort
