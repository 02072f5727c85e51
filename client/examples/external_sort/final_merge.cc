#include "client/examples/external_sort/final_merge.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "shared/format.h"

namespace membroker::external_sort {
namespace {

using std::chrono::milliseconds;

// Runs that segments may become during the last merge: one when first asked, one with all the rest.
constexpr Bytes kRunsToCome = 2;
// More at a time gains nothing, and this part of the lease cannot be revoked.
constexpr std::size_t kFanInMax = 128;
// Between two looks at the progress and at revocations: a millisecond's work or two.
constexpr Bytes kLookBytes = kMiB;
// Without memory for two runs nothing can be done but to wait.
constexpr milliseconds kPatience{60'000};

bool fewer_bytes(const Run& a, const Run& b) { return a.bytes < b.bytes; }

template <class Source>
void keep_only(std::vector<std::unique_ptr<Source>>& sources,
               const std::vector<LineSource*>& alive) {
  std::erase_if(sources, [&](const auto& source) {
    return std::find(alive.begin(), alive.end(), source.get()) == alive.end();
  });
}

}  // namespace

Status FinalMerge::run() {
  // From one merge to the next the memory is kept: it might not be to be had again.
  memory_.buffers()->keep_freed(true);
  if (auto reserved = reserve_for_runs(); !reserved) return reserved;
  std::vector<Run>& runs = collector_.runs();
  while (runs.size() > fan_in()) {
    // As few as bring the rest into one merge, and the smallest: least is written twice.
    const std::size_t fit = fan_in();
    if (auto merged = merge_runs(std::min(fit, runs.size() - fit + 1)); !merged) return merged;
  }
  if (!runs.empty()) ++stats_.merge_passes;
  memory_.buffers()->keep_freed(false);
  if (auto opened = open_sources(); !opened) return opened;
  if (auto written = write_output(); !written) return written;
  return output_.finish();
}

Bytes FinalMerge::memory_for(std::size_t count) const {
  const Sizes& sizes = memory_.sizes();
  Bytes sum = kRunsToCome * run_memory(sizes, sizes.batch);
  for (std::size_t i = 0; i < count; ++i) {
    sum = saturating_add(sum, run_memory(sizes, collector_.runs()[i].longest_batch));
  }
  return sum;
}

Status FinalMerge::reserve_for_runs() {
  std::vector<Run>& runs = collector_.runs();
  const auto missing = [&](std::size_t count) {
    std::sort(runs.begin(), runs.end(), fewer_bytes);
    count = std::min({count, runs.size(), kFanInMax});
    return std::max<Bytes>(memory_for(count) - memory_.buffers()->prepaid(), 0);
  };
  if (runs.empty()) {
    // All is in memory, and may be asked back later; what is to be had for that is taken now.
    const auto got = memory_.reserve_buffers(0, missing(0), milliseconds(0));
    if (!got && !is_refusal(got.error())) return fail(got.error());
    return {};
  }
  for (;;) {
    const Bytes want = missing(kFanInMax);
    if (want == 0) return {};
    if (auto got = memory_.reserve_buffers(0, want, milliseconds(0)); !got) {
      if (!is_refusal(got.error())) return fail(got.error());
    }
    const Bytes still = missing(kFanInMax);
    if (still == 0 || collector_.block_bytes() == 0) break;
    if (auto freed = collector_.free_blocks(still); !freed) return freed;
  }
  const Bytes least = missing(2);
  if (least == 0) return {};
  const auto got = memory_.reserve_buffers(least, least, kPatience);
  if (!got) return fail(got.error());
  return {};
}

std::size_t FinalMerge::fan_in() const {
  const Bytes have = memory_.buffers()->prepaid();
  const std::size_t most = std::min(collector_.runs().size(), kFanInMax);
  std::size_t count = std::min<std::size_t>(2, most);
  while (count < most && memory_for(count + 1) <= have) ++count;
  return std::max<std::size_t>(count, 2);
}

Status FinalMerge::merge_runs(std::size_t count) {
  std::vector<Run>& runs = collector_.runs();
  std::vector<LineSource*> sources;
  for (std::size_t i = 0; i < count; ++i) {
    if (auto opened = open_run(std::move(runs[i])); !opened) return opened;
    sources.push_back(runs_.back().get());
  }
  runs.erase(runs.begin(), runs.begin() + static_cast<std::ptrdiff_t>(count));
  auto started = start_all(sources);
  if (!started) return fail(started.error());
  auto batch = allocate_buffer(memory_.sizes().batch, memory_.buffers());
  if (!batch) return fail(batch.error());
  auto writer = RunWriter::create(store_, *batch);
  if (!writer) return fail(writer.error());
  Bytes since_look = 0;
  for (Merger merger(*started); !merger.empty();) {
    const std::string_view line = merger.top()->line();
    since_look += static_cast<Bytes>(line.size());
    if (auto written = writer->append(line); !written) return written;
    if (auto moved = merger.pop(); !moved) return moved;
    if (since_look < kLookBytes) continue;
    since_look = 0;
    show_progress(count);
    if (auto served = collector_.serve_revocation(); !served) return served;
  }
  auto merged = writer->finish();
  if (!merged) return fail(merged.error());
  ++stats_.merge_passes;
  ++stats_.runs;
  stats_.spilled_bytes += merged->bytes;
  runs.push_back(*std::move(merged));
  runs_.clear();
  std::sort(runs.begin(), runs.end(), fewer_bytes);
  return {};
}

Bytes FinalMerge::lacking_for(const Run& run) const {
  return run_memory(memory_.sizes(), run.longest_batch) - memory_.buffers()->prepaid();
}

Status FinalMerge::open_run(Run run) {
  if (const Bytes lack = lacking_for(run); lack > 0) {
    if (auto got = memory_.reserve_buffers(lack, lack, kPatience); !got) return fail(got.error());
  }
  auto source = RunSource::open(std::move(run), memory_);
  if (!source) return fail(source.error());
  runs_.push_back(*std::move(source));
  return {};
}

Status FinalMerge::open_sources() {
  for (Run& run : collector_.runs()) {
    if (auto opened = open_run(std::move(run)); !opened) return opened;
  }
  collector_.runs().clear();
  segments_ = collector_.take_segments();
  return {};
}

Status FinalMerge::write_output() {
  std::vector<LineSource*> sources;
  for (const auto& run : runs_) sources.push_back(run.get());
  for (const auto& segment : segments_) sources.push_back(segment.get());
  auto alive = start_all(sources);
  if (!alive) return fail(alive.error());
  Bytes look_at = kLookBytes;
  std::size_t count = alive->size();
  Merger merger(*alive);
  while (!merger.empty()) {
    if (auto written = output_.append(merger.top()->line()); !written) return written;
    if (auto moved = merger.pop(); !moved) return moved;
    if (output_.bytes() < look_at) continue;
    look_at = output_.bytes() + kLookBytes;
    show_progress(count);
    const Bytes asked = segments_.empty() ? 0 : memory_.spill_requested();
    if (asked == 0 && merger.size() == count) continue;
    *alive = merger.sources();
    drop_ended(*alive);
    if (asked > 0) {
      if (auto served = serve_revocation(asked, *alive); !served) return served;
      merger = Merger(*alive);
    }
    count = merger.size();
  }
  stats_.output_bytes = output_.bytes();
  return {};
}

Status FinalMerge::serve_revocation(Bytes bytes, std::vector<LineSource*>& alive) {
  // What ended since has been given back by now, and may be all that was asked for.
  if (segments_.empty() || memory_.spill_requested() == 0) return {};
  ++stats_.revocations_served;
  const bool all = std::exchange(spilled_once_, true);
  std::vector<Run> runs;
  auto run = spill_segments(all ? kBytesMax : bytes, alive);
  if (!run) return fail(run.error());
  runs.push_back(*std::move(run));
  // A sort that still holds what it could spill is told to, instead of getting the memory to read
  // the run by.
  const Bytes lack = lacking_for(runs.back());
  if (!segments_.empty() && lack > 0 && !memory_.reserve_buffers(lack, lack, milliseconds(0))) {
    auto rest = spill_segments(kBytesMax, alive);
    if (!rest) return fail(rest.error());
    runs.push_back(*std::move(rest));
  }
  for (Run& spilled : runs) {
    if (auto opened = open_run(std::move(spilled)); !opened) return opened;
    const auto started = runs_.back()->next();
    if (!started) return fail(started.error());
    alive.push_back(runs_.back().get());
  }
  return {};
}

// Into one run, from the last segment on until it is `bytes` or more.
Result<Run> FinalMerge::spill_segments(Bytes bytes, std::vector<LineSource*>& alive) {
  std::vector<LineSource*> chosen;
  for (Bytes found = 0; chosen.size() < segments_.size() && found < bytes;) {
    SegmentSource& segment = *segments_[segments_.size() - 1 - chosen.size()];
    found += segment.block_bytes();
    chosen.push_back(&segment);
  }
  auto run = collector_.spill(chosen);
  if (!run) return run;
  segments_.resize(segments_.size() - chosen.size());
  std::erase_if(alive, [&](const LineSource* source) {
    return std::find(chosen.begin(), chosen.end(), source) != chosen.end();
  });
  return run;
}

void FinalMerge::drop_ended(const std::vector<LineSource*>& alive) {
  keep_only(runs_, alive);
  keep_only(segments_, alive);
}

void FinalMerge::show_progress(std::size_t sources) {
  if (!progress_.visible()) return;
  progress_.show("merging", output_.bytes(), stats_.input_bytes, strf("%zu ways", sources));
}

}  // namespace membroker::external_sort
