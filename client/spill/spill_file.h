#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "client/spill/directories.h"
#include "client/spill/quota.h"
#include "shared/bytes.h"
#include "shared/fd.h"

namespace membroker::spill {

/// One file of a channel. When the last owner (queue, appender, a request under way) lets go, the
/// descriptor is closed, and with it the file and its share of the quota are gone.
struct SpillFile {
  SpillFile(NewFile made, std::uint64_t number_in_channel, std::shared_ptr<Quota> charged_quota)
      : fd(std::move(made.fd)),
        directory(std::move(made.directory)),
        number(number_in_channel),
        direct(made.direct),
        preallocates(made.preallocates),
        quota(std::move(charged_quota)),
        allocated_end(made.allocated) {}
  ~SpillFile() {
    if (quota) quota->credit(charged);
  }
  SpillFile(const SpillFile&) = delete;
  SpillFile& operator=(const SpillFile&) = delete;

  /// "spill file 3 in /var/tmp, offset 4096".
  std::string at(Bytes offset) const;

  UniqueFd fd;
  const std::string directory;
  const std::uint64_t number;
  const bool direct;
  const bool preallocates;
  const std::shared_ptr<Quota> quota;

  // Of the appender, until the file is finished.
  Bytes append_end = 0;     // where the next batch begins
  Bytes allocated_end = 0;  // disk space is there up to here
  Bytes charged = 0;        // to the quota

  // Guarded by the queue's mutex.
  Bytes written_end = 0;                 // everything before is on disk
  std::map<Bytes, Bytes> written_ahead;  // begin -> end of what is beyond a gap
  int writes_pending = 0;
  bool write_failed = false;
  bool finished = false;      // nothing will be appended
  Bytes committed_bytes = 0;  // of complete batches
  std::int64_t batches_committed = 0;
  std::int64_t batches_read = 0;
};

}  // namespace membroker::spill
