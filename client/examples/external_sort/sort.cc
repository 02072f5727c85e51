#include "client/examples/external_sort/sort.h"

#include <unistd.h>

#include <chrono>
#include <utility>

#include "client/examples/external_sort/collector.h"
#include "client/examples/external_sort/final_merge.h"
#include "client/examples/external_sort/output.h"
#include "client/examples/external_sort/progress.h"
#include "membroker/spill.h"

namespace membroker::external_sort {
namespace {

constexpr std::chrono::seconds kPatience{60};

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

Result<SortStats> sort_file(const std::shared_ptr<MemoryPool>& pool, const SortOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  // Everything that can be wrong with the arguments is found before memory is asked for.
  const auto input = InputFile::open(options.input);
  if (!input) return fail(input.error());
  auto directories = SpillDirectories::open(options.temp_dirs);
  if (!directories) return fail(directories.error());

  auto workspace = options.workspace();
  if (!workspace) return fail(workspace.error());
  WorkMemory memory(pool, options.sizes, *std::move(workspace));
  // The output's buffer and the one in which runs are collected are held from here to the end.
  const Bytes buffers = options.sizes.output + options.sizes.batch;
  if (auto got = memory.reserve_buffers(buffers, buffers, kPatience); !got) {
    return fail(got.error());
  }
  auto output_buffer = allocate_buffer(options.sizes.output, memory.buffers());
  if (!output_buffer) return fail(output_buffer.error());
  auto batch = allocate_buffer(options.sizes.batch, memory.buffers());
  if (!batch) return fail(batch.error());
  auto output = OutputFile::create(options.output, *output_buffer);
  if (!output) return fail(output.error());

  const RunStore store{*directories, &memory};
  SortStats stats;
  Progress progress(STDERR_FILENO);
  Collector collector(memory, store, *batch, stats, progress);
  if (auto collected = collector.read(*input); !collected) return fail(collected.error());
  stats.read_seconds = seconds_since(begin);
  FinalMerge merge(collector, memory, store, *output, stats, progress);
  if (auto merged = merge.run(); !merged) return fail(merged.error());
  stats.seconds = seconds_since(begin);
  return stats;
}

}  // namespace membroker::external_sort
