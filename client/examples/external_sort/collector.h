#pragma once

#include <memory>
#include <vector>

#include "client/examples/external_sort/memory.h"
#include "client/examples/external_sort/progress.h"
#include "client/examples/external_sort/run.h"
#include "client/examples/external_sort/segment.h"
#include "client/examples/external_sort/stats.h"
#include "membroker/buffer.h"

/// \file
/// The first half of the sort: input lines become sorted segments in memory, and segments become
/// runs on disk when memory is refused or asked back.
///
/// A segment is small and sorted as soon as it is full. So at every few milliseconds there is a
/// point at which any part of the memory can be given up by merging some segments into a run.

namespace membroker::external_sort {

class Collector {
 public:
  /// All outlive it. `batch` is memory for writing a run.
  Collector(WorkMemory& memory, const RunStore& store, MutableBuffer& batch, SortStats& stats,
            Progress& progress)
      : memory_(memory), store_(store), batch_(batch), stats_(stats), progress_(progress) {}

  /// Reads all of it. Errors: of the input, the spill files, and memory's if not even a block is
  /// to be had, or a line is longer than what is.
  Status read(const InputFile& input);

  /// If blocks are asked back: frees as many, spilling no more than that takes.
  Status serve_revocation();
  /// Frees at least `bytes` of blocks, or all there are, by spilling.
  Status free_blocks(Bytes bytes);
  Bytes block_bytes() const;

  std::vector<Run>& runs() { return runs_; }
  /// The segments still in memory; they are the caller's now.
  std::vector<std::unique_ptr<SegmentSource>> take_segments();

  /// Merges the segments of `sources`, each on its first remaining line, into a run.
  Result<Run> spill(const std::vector<LineSource*>& sources);

 private:
  Result<MutableBuffer> take_block(Bytes min_bytes);
  Bytes next_block_bytes(Bytes min_bytes) const;
  /// Turns the last `count` segments into a run and their blocks into spare ones.
  Status spill_segments(std::size_t count);

  WorkMemory& memory_;
  const RunStore& store_;
  MutableBuffer& batch_;
  SortStats& stats_;
  Progress& progress_;
  std::vector<std::unique_ptr<SegmentSource>> segments_;
  std::vector<MutableBuffer> spares_;  // blocks without lines
  std::vector<Run> runs_;
};

}  // namespace membroker::external_sort
