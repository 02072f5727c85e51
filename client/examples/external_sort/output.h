#pragma once

#include <cstring>
#include <string>
#include <string_view>

#include "membroker/buffer.h"
#include "membroker/error.h"
#include "shared/bytes.h"
#include "shared/fd.h"

/// \file
/// The sorted file: written under another name beside its place and renamed when it is whole, so
/// that nobody sees half a result and input and output may be the same file.

namespace membroker::external_sort {

class OutputFile {
 public:
  /// "-" is the standard output. What exists and is no regular file is written to as it is.
  /// `buffer` collects lines and outlives this.
  static Result<OutputFile> create(const std::string& path, MutableBuffer& buffer);

  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();  // removes what was not finished

  Status append(std::string_view text) {
    if (static_cast<Bytes>(text.size()) > buffer_->size() - used_) [[unlikely]] {
      return append_slowly(text);
    }
    std::memcpy(buffer_->data() + used_, text.data(), text.size());
    used_ += static_cast<Bytes>(text.size());
    return {};
  }
  Status finish();

  /// Appended so far.
  Bytes bytes() const { return written_ + used_; }

 private:
  OutputFile() = default;
  Status append_slowly(std::string_view text);
  Status write_all(const char* data, Bytes size);
  Status flush();

  std::string path_;
  std::string temporary_;  // empty: written in place
  UniqueFd file_;
  MutableBuffer* buffer_ = nullptr;
  Bytes used_ = 0;
  Bytes written_ = 0;
};

}  // namespace membroker::external_sort
