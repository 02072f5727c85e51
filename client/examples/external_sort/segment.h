#pragma once

#include <span>
#include <string>
#include <utility>

#include "client/examples/external_sort/line_sort.h"
#include "client/examples/external_sort/merge.h"
#include "membroker/buffer.h"
#include "membroker/error.h"
#include "shared/bytes.h"
#include "shared/fd.h"

/// \file
/// Input lines in memory: a block is filled from the front with text and from the back with the
/// index of its lines, until the two meet; so its size is exact, whatever the lines are.

namespace membroker::external_sort {

/// The file to sort. Read with pread: what did not fit into a block is read again into the next.
class InputFile {
 public:
  /// Errors: of opening, and kInvalid for what is no regular file.
  static Result<InputFile> open(const std::string& path);

  /// Reads up to `size` bytes at `offset`; fewer only at the end of the file.
  Result<Bytes> read(char* to, Bytes size, Bytes offset) const;
  Bytes size() const { return size_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  UniqueFd file_;
  Bytes size_ = 0;
};

/// Lines in a block of memory, sorted.
class Segment {
 public:
  Segment(MutableBuffer block, std::span<Line> lines, Bytes text_bytes)
      : block_(std::move(block)), lines_(lines), text_bytes_(text_bytes) {}

  const char* text() const { return reinterpret_cast<const char*>(block_.data()); }
  std::span<const Line> lines() const { return lines_; }
  Bytes text_bytes() const { return text_bytes_; }
  Bytes block_bytes() const { return block_.size(); }
  /// Ends the segment and gives its memory out for another.
  MutableBuffer take_block() && { return std::move(block_); }

 private:
  MutableBuffer block_;
  std::span<Line> lines_;  // inside block_
  Bytes text_bytes_;
};

/// What reading into a block gave.
struct Filled {
  std::span<Line> lines;  // not sorted; empty: the end, or the block is too small for a line
  Bytes input_bytes = 0;  // how far to go on in the input
  Bytes text_bytes = 0;   // with the newline that the last line may lack
  bool end = false;       // all of the input has been read
};

/// Smallest block that fill_block() can do anything with.
inline constexpr Bytes kBlockBytesMin = 4 * kKiB;
/// Largest: offsets of lines are of 32 bits.
inline constexpr Bytes kBlockBytesMax = 2 * kGiB;

/// Fills `block` with whole lines of `input` from `offset` on, and gives the last line of the file
/// the newline it may lack.
Result<Filled> fill_block(const InputFile& input, Bytes offset, MutableBuffer& block);

/// The lines of a segment in order; the segment goes with it.
class SegmentSource final : public LineSource {
 public:
  explicit SegmentSource(Segment segment)
      : segment_(std::move(segment)),
        text_(segment_.text()),
        at_(segment_.lines().data()),
        end_(at_ + segment_.lines().size()) {}

  Result<bool> next() override;

  Bytes block_bytes() const { return segment_.block_bytes(); }
  /// Ends the source and gives its memory out for another segment.
  MutableBuffer take_block() { return std::move(segment_).take_block(); }

 private:
  Segment segment_;
  const char* text_;
  const Line* at_;
  const Line* end_;
};

}  // namespace membroker::external_sort
