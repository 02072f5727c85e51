#include "client/spill/appender.h"

#include <algorithm>
#include <utility>

#include "shared/format.h"

namespace membroker::spill {
namespace {

// Asking a file for more space waits for the writes under way, so it is done seldom: in steps of
// eight, that little is taken by a small channel, and at once for the files after the first.
constexpr Bytes kFirstStep = 4 * kMiB;
constexpr Bytes kStepMax = 256 * kMiB;

// Up to where to allocate a file that holds `size` bytes, needs to hold `end` now and is finished
// by the batch that passes `max_file_size`.
Bytes allocate_up_to(Bytes size, Bytes end, Bytes max_file_size, bool first_file) {
  const Bytes step =
      first_file ? std::clamp(std::min(size, kStepMax) * 7, kFirstStep, kStepMax) : kStepMax;
  const Bytes batch = end - size;
  const Bytes full = round_up(saturating_add(max_file_size, batch), kDirectBytes).value_or(end);
  return std::max(end, std::min(saturating_add(size, step), full));
}

}  // namespace

Status Appender::push(std::span<const Buffer> buffers) {
  if (options_.workspace->forked()) {
    return fail(ErrorCode::kForked, "this process is a fork of the one that opened the channel");
  }
  if (buffers.empty()) return {};
  if (buffers.size() > static_cast<std::size_t>(kSpillBuffersPerBatchMax)) {
    return fail(ErrorCode::kInvalid, strf("a batch of %zu buffers: at most %d are taken",
                                          buffers.size(), kSpillBuffersPerBatchMax));
  }
  const auto needed = encoded_bytes_max(buffers, options_.compression);
  if (!needed) return fail(ErrorCode::kInvalid, "a batch whose size is no 64-bit number");

  const std::lock_guard lock(mutex_);
  if (const auto refusal = queue_->refusal()) return fail(*refusal);
  auto room = file_with_room(*needed);
  if (!room) {
    queue_->poison(room.error());
    return fail(room.error());
  }
  const std::shared_ptr<SpillFile>& file = *room;
  const Bytes stored =
      encode_batch({options_.workspace, queue_, file, options_.compression, options_.checksum},
                   batches_made_++, buffers);
  if (file->quota && file->charged > file->append_end) {
    file->quota->credit(file->charged - file->append_end);
    file->charged = file->append_end;
  }
  Bytes pushed = 0;
  for (const Buffer& buffer : buffers) pushed += buffer.size();
  auto committed = queue_->commit(*file, pushed, stored);
  if (committed && !options_.workspace->payer().count_spilled(stored)) {
    static_cast<void>(options_.reader_allocator->count_spilled(stored));
  }
  if (file->append_end > options_.max_file_size) {
    youngest_.reset();
    queue_->finish_file(file);
  }
  return committed;
}

// The youngest file if it can take `needed` bytes more, else a new one. Charges the quota.
Result<std::shared_ptr<SpillFile>> Appender::file_with_room(Bytes needed) {
  auto file = youngest_.lock();
  if (!file) return new_file(needed);
  const auto end = checked_add(file->append_end, needed);
  if (!end) return fail(ErrorCode::kInvalid, "a spill file whose size is no 64-bit number");
  const Bytes charge = *end - file->charged;
  if (file->quota && charge > 0) {
    if (auto charged = file->quota->charge(charge); !charged) return fail(charged.error());
    file->charged = *end;
  }
  bool full = false;
  if (auto extended = extend(*file, *end, full); !extended) return fail(extended.error());
  if (!full) return file;
  // Its disk is full: another directory may have room.
  if (file->quota) {
    file->quota->credit(file->charged - file->append_end);
    file->charged = file->append_end;
  }
  youngest_.reset();
  queue_->finish_file(file);
  return new_file(needed);
}

Status Appender::extend(SpillFile& file, Bytes end, bool& full) {
  if (!file.preallocates || end <= file.allocated_end) return {};
  for (const Bytes goal :
       {allocate_up_to(file.append_end, end, options_.max_file_size, file.number == 0), end}) {
    const auto given = allocate_space(file.fd.get(), file.allocated_end, goal, file.directory);
    if (!given) return fail(given.error());
    full = *given == Allocated::kFull;
    if (full) continue;
    file.allocated_end = goal;
    return {};
  }
  return {};
}

Result<std::shared_ptr<SpillFile>> Appender::new_file(Bytes needed) {
  if (options_.quota) {
    if (auto charged = options_.quota->charge(needed); !charged) return fail(charged.error());
  }
  auto made = options_.directories->create_file(
      needed, allocate_up_to(0, needed, options_.max_file_size, files_made_ == 0),
      options_.direct_io);
  if (!made) {
    if (options_.quota) options_.quota->credit(needed);
    return fail(made.error());
  }
  auto file = std::make_shared<SpillFile>(std::move(*made), files_made_++, options_.quota);
  if (file->quota) file->charged = needed;
  youngest_ = file;
  queue_->add_file(file);
  return file;
}

}  // namespace membroker::spill
