#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "client/examples/external_sort/memory.h"
#include "client/examples/external_sort/merge.h"
#include "membroker/buffer.h"
#include "membroker/spill.h"

/// \file
/// Runs: sorted lines in spill files, one channel each, in batches of whole lines.

namespace membroker::external_sort {

/// Where runs are spilled to and how.
struct RunStore {
  std::shared_ptr<SpillDirectories> directories;
  const WorkMemory* memory = nullptr;
};

/// A run on disk, not read yet.
struct Run {
  SpillReader reader;
  Bytes bytes = 0;          // of lines
  Bytes longest_batch = 0;  // what its reader's buffer has to hold
};

/// Writes one run. Lines must come in order.
class RunWriter {
 public:
  /// `batch` is memory to collect lines in; it is the writer's until the run is finished.
  static Result<RunWriter> create(const RunStore& store, MutableBuffer& batch);

  /// `line` with its newline. One longer than a batch is a batch of its own.
  Status append(std::string_view line) {
    if (static_cast<Bytes>(line.size()) > batch_->size() - used_) [[unlikely]] {
      return append_to_next(line);
    }
    std::memcpy(batch_->data() + used_, line.data(), line.size());
    used_ += static_cast<Bytes>(line.size());
    return {};
  }
  /// All is on disk, or an error.
  Result<Run> finish();

 private:
  RunWriter() = default;
  Status append_to_next(std::string_view line);
  Status push(std::string_view lines);

  SpillWriter writer_;
  Run run_;
  MutableBuffer* batch_ = nullptr;
  Bytes used_ = 0;
};

/// Memory that reading a run takes.
Bytes run_memory(const Sizes& sizes, Bytes longest_batch);

/// The lines of a run in order.
class RunSource final : public LineSource {
 public:
  /// Memory comes from `memory.buffers()`: run_memory() of it, best reserved before.
  static Result<std::unique_ptr<RunSource>> open(Run run, const WorkMemory& memory);

  Result<bool> next() override;

 private:
  RunSource(Run run, MutableBuffer batch) : run_(std::move(run)), batch_(std::move(batch)) {}

  Run run_;
  MutableBuffer batch_;
  const char* at_ = nullptr;
  const char* end_ = nullptr;
};

}  // namespace membroker::external_sort
