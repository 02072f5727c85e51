#pragma once

#include <memory>
#include <vector>

#include "client/examples/external_sort/collector.h"
#include "client/examples/external_sort/output.h"

/// \file
/// The second half of the sort: runs and the segments still in memory become the output.
///
/// Every open run needs memory, which no revocation can have. So it is reserved first, by spilling
/// segments if need be; where it is not enough for all runs, the smallest are merged into one
/// before. Segments stay revocable to the end: their remaining lines can become a run at any time.

namespace membroker::external_sort {

class FinalMerge {
 public:
  /// All outlive it.
  FinalMerge(Collector& collector, WorkMemory& memory, const RunStore& store, OutputFile& output,
             SortStats& stats, Progress& progress)
      : collector_(collector),
        memory_(memory),
        store_(store),
        output_(output),
        stats_(stats),
        progress_(progress) {}

  /// Errors: of the spill files, the output, and memory's if two runs cannot be merged at a time.
  Status run();

 private:
  /// Memory for `count` runs, the smallest ones, and for what may come to them.
  Bytes memory_for(std::size_t count) const;
  Status reserve_for_runs();
  /// How many of the runs fit into what is reserved; at least 2.
  std::size_t fan_in() const;
  /// Merges the `count` smallest runs into one.
  Status merge_runs(std::size_t count);
  Status open_sources();
  /// What its reader needs beyond what is reserved.
  Bytes lacking_for(const Run& run) const;
  Status open_run(Run run);
  Status write_output();
  Status serve_revocation(Bytes bytes, std::vector<LineSource*>& alive);
  Result<Run> spill_segments(Bytes bytes, std::vector<LineSource*>& alive);
  void drop_ended(const std::vector<LineSource*>& alive);
  void show_progress(std::size_t sources);

  Collector& collector_;
  WorkMemory& memory_;
  const RunStore& store_;
  OutputFile& output_;
  SortStats& stats_;
  Progress& progress_;
  std::vector<std::unique_ptr<RunSource>> runs_;
  std::vector<std::unique_ptr<SegmentSource>> segments_;
  bool spilled_once_ = false;  // a part of the segments, during the last merge
};

}  // namespace membroker::external_sort
