#include "client/examples/external_sort/collector.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cinttypes>
#include <thread>
#include <utility>

#include "shared/format.h"

namespace membroker::external_sort {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// With lines to spill, waiting longer than a spill takes gains nothing.
constexpr milliseconds kTurn{1'000};
// Without a single block nothing else can be done but to wait, also for a daemon that is restarted.
constexpr milliseconds kPatience{60'000};
constexpr milliseconds kRetry{100};
// At most so many blocks' worth of a lease is the step by which it grows and is given up.
constexpr Bytes kBlocksPerLease = 16;

}  // namespace

Status Collector::read(const InputFile& input) {
  Bytes offset = 0;
  Bytes min_bytes = 0;
  for (bool end = false; !end;) {
    if (auto served = serve_revocation(); !served) return served;
    auto block = take_block(min_bytes);
    if (!block) {
      if (min_bytes == 0) return fail(block.error());
      return fail(block.error().code(),
                  strf("the line at byte %" PRId64 " of %s is longer than %s, and more memory for "
                       "it is not to be had: %s",
                       offset, input.path().c_str(), format_bytes(min_bytes / 2).c_str(),
                       block.error().message().c_str()));
    }
    const auto filled = fill_block(input, offset, *block);
    if (!filled) return fail(filled.error());
    end = filled->end;
    if (filled->lines.empty()) {
      if (end) break;
      min_bytes = 2 * block->size();
      if (min_bytes > kBlockBytesMax) {
        return fail(ErrorCode::kUnsupported,
                    strf("the line at byte %" PRId64 " of %s is longer than %s", offset,
                         input.path().c_str(), format_bytes(kBlockBytesMax).c_str()));
      }
      continue;  // the small block is given back here: it may make room for the large one
    }
    min_bytes = 0;
    offset += filled->input_bytes;
    sort_lines(reinterpret_cast<const char*>(block->data()), filled->lines);
    stats_.lines += static_cast<std::int64_t>(filled->lines.size());
    stats_.input_bytes = offset;
    segments_.push_back(std::make_unique<SegmentSource>(
        Segment(*std::move(block), filled->lines, filled->text_bytes)));
    if (progress_.visible()) {
      progress_.show("reading", offset, input.size(),
                     strf("%s in memory, %zu runs spilled",
                          format_bytes(memory_.blocks_held()).c_str(), runs_.size()));
    }
  }
  spares_.clear();
  return {};
}

Bytes Collector::next_block_bytes(Bytes min_bytes) const {
  const Sizes& sizes = memory_.sizes();
  const auto part = static_cast<std::uint64_t>(memory_.blocks_held() / kBlocksPerLease);
  const Bytes fair =
      std::clamp(static_cast<Bytes>(std::bit_floor(part)), sizes.block_min, sizes.block_max);
  return std::max(fair, min_bytes);
}

Result<MutableBuffer> Collector::take_block(Bytes min_bytes) {
  const auto patience = steady_clock::now() + kPatience;
  for (;;) {
    while (!spares_.empty()) {
      MutableBuffer block = std::move(spares_.back());
      spares_.pop_back();
      if (block.size() >= min_bytes) return block;
    }
    const bool can_spill = !segments_.empty();
    // Asked back while it lacks memory itself, it gives up waiting and spills all into one run: the
    // few blocks asked for would make a run as small, again and again.
    auto block = memory_.allocate_block(next_block_bytes(min_bytes), kTurn, can_spill);
    if (block || !is_refusal(block.error())) return block;
    ++stats_.refusals;
    if (can_spill) {
      if (auto spilled = spill_segments(segments_.size()); !spilled) return fail(spilled.error());
      continue;
    }
    const Denial* denial = block.error().denial();
    const bool never = denial != nullptr && denial->retry_after_ms == 0;
    if (never || steady_clock::now() >= patience) return block;
    std::this_thread::sleep_for(kRetry);
  }
}

Status Collector::serve_revocation() {
  while (const Bytes bytes = memory_.spill_requested()) {
    if (segments_.empty() && spares_.empty()) return {};
    ++stats_.revocations_served;
    if (auto freed = free_blocks(bytes); !freed) return freed;
  }
  return {};
}

Status Collector::free_blocks(Bytes bytes) {
  Bytes freed = 0;
  const auto drop_spares = [&] {
    while (freed < bytes && !spares_.empty()) {
      freed += spares_.back().size();
      spares_.pop_back();
    }
  };
  drop_spares();
  if (freed >= bytes || segments_.empty()) return {};
  std::size_t count = 0;
  for (Bytes found = freed; count < segments_.size() && found < bytes; ++count) {
    found += segments_[segments_.size() - 1 - count]->block_bytes();
  }
  if (auto spilled = spill_segments(count); !spilled) return spilled;
  drop_spares();
  return {};
}

Bytes Collector::block_bytes() const {
  Bytes sum = 0;
  for (const auto& segment : segments_) sum += segment->block_bytes();
  for (const MutableBuffer& spare : spares_) sum += spare.size();
  return sum;
}

Status Collector::spill_segments(std::size_t count) {
  const auto first = segments_.end() - static_cast<std::ptrdiff_t>(count);
  std::vector<LineSource*> sources;
  std::transform(first, segments_.end(), std::back_inserter(sources),
                 [](const auto& segment) { return segment.get(); });
  auto started = start_all(sources);
  if (!started) return fail(started.error());
  auto run = spill(*started);
  if (!run) return fail(run.error());
  runs_.push_back(*std::move(run));
  for (auto segment = first; segment != segments_.end(); ++segment) {
    spares_.push_back((*segment)->take_block());
  }
  segments_.erase(first, segments_.end());
  return {};
}

Result<Run> Collector::spill(const std::vector<LineSource*>& sources) {
  auto writer = RunWriter::create(store_, batch_);
  if (!writer) return fail(writer.error());
  for (Merger merger(sources); !merger.empty();) {
    if (auto written = writer->append(merger.top()->line()); !written) {
      return fail(written.error());
    }
    if (auto moved = merger.pop(); !moved) return fail(moved.error());
  }
  auto run = writer->finish();
  if (!run) return run;
  ++stats_.runs;
  stats_.spilled_bytes += run->bytes;
  return run;
}

std::vector<std::unique_ptr<SegmentSource>> Collector::take_segments() {
  return std::exchange(segments_, {});
}

}  // namespace membroker::external_sort
