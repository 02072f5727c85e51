#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "client/examples/external_sort/memory.h"
#include "client/examples/external_sort/stats.h"
#include "membroker/memory_pool.h"

/// \file
/// Sorts a file through libmembroker: see README.md.

namespace membroker::external_sort {

struct SortOptions {
  std::string input;
  std::string output = "-";
  std::vector<std::string> temp_dirs = {"/var/tmp"};
  Sizes sizes;
  /// Must be set. Called before any memory is taken, once the files are found good; may wait.
  std::function<Result<std::shared_ptr<SpillWorkspace>>()> workspace;
};

/// The lines of `input`, sorted by bytes, to `output`, in memory reserved in `pool`.
Result<SortStats> sort_file(const std::shared_ptr<MemoryPool>& pool, const SortOptions& options);

}  // namespace membroker::external_sort
