#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "membroker/spill.h"
#include "shared/bytes.h"
#include "shared/fd.h"

namespace membroker::spill {

/// A new file without a name.
struct NewFile {
  UniqueFd fd;
  std::string directory;
  Bytes allocated = 0;       // disk space it has been given from its start on
  bool direct = false;       // opened past the page cache
  bool preallocates = true;  // the file system can be asked for space beforehand
};

/// Thread-safe: immutable once open.
class Directories final : public SpillDirectories {
 public:
  static Result<std::shared_ptr<Directories>> make(std::vector<std::string> paths);

  const std::vector<std::string>& paths() const noexcept override { return paths_; }

  /// A file in the directory with the most free space that can give it `allocate` bytes, or if
  /// none can, `needed` bytes. Errors: what each directory said; kDiskFull if that was the reason
  /// of any of them.
  Result<NewFile> create_file(Bytes needed, Bytes allocate, SpillDirectIo direct_io) const;

 private:
  std::vector<std::string> paths_;
};

enum class Allocated { kYes, kFull, kUnsupported };

/// Gives the file disk space up to `end`, from `from` on. Errors: kIo.
Result<Allocated> allocate_space(int fd, Bytes from, Bytes end, const std::string& directory);

}  // namespace membroker::spill
