#include "client/spill/read_ahead.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <vector>

#include "client/spill/format.h"
#include "shared/format.h"

namespace membroker::spill {
namespace {

constexpr Bytes kSlotBytesMin = 64 * kKiB;
constexpr Bytes kSlotBytesMax = kMiB;
constexpr Bytes kSlotsWanted = 8;

// Eighths of the whole, but neither tiny nor fewer than two.
Bytes slot_size(Bytes bytes) {
  const Bytes wanted = std::clamp(bytes / kSlotsWanted, kSlotBytesMin, kSlotBytesMax);
  return std::min(wanted, bytes / 2) & ~(kDirectBytes - 1);
}

}  // namespace

struct ReadAhead::Slots {
  struct Slot {
    Bytes offset = 0;
    Bytes length = 0;
    Bytes moved = 0;  // as of IoRequest::complete
    bool done = false;
  };

  MutableBuffer memory;
  std::mutex mutex;
  std::condition_variable slot_done;
  std::vector<Slot> slots;
};

class ReadAhead::SlotRead final : public IoRequest {
 public:
  SlotRead(std::shared_ptr<Slots> slots, std::size_t index, std::shared_ptr<SpillFile> file,
           std::uint8_t* to, Bytes how_many, Bytes at)
      : IoRequest(Kind::kRead, file->fd.get(), to, how_many, at),
        slots_(std::move(slots)),
        index_(index),
        file_(std::move(file)) {}

  void complete(Bytes moved) noexcept override {
    file_.reset();  // before the reader, who may be the next to last to let go of it, goes on
    {
      const std::lock_guard lock(slots_->mutex);
      slots_->slots[index_].moved = moved;
      slots_->slots[index_].done = true;
    }
    slots_->slot_done.notify_all();
  }

 private:
  std::shared_ptr<Slots> slots_;
  std::size_t index_;
  std::shared_ptr<SpillFile> file_;
};

ReadAhead::ReadAhead(std::shared_ptr<Workspace> workspace, std::shared_ptr<FileQueue> queue,
                     std::shared_ptr<BufferAllocator> allocator, Bytes bytes)
    : workspace_(std::move(workspace)),
      queue_(std::move(queue)),
      allocator_(std::move(allocator)),
      slot_bytes_(slot_size(bytes)),
      slot_count_(static_cast<std::size_t>(bytes / slot_bytes_)) {}

ReadAhead::~ReadAhead() = default;

bool ReadAhead::use(std::shared_ptr<SpillFile> file) {
  file_ = std::move(file);
  if (file_number_ == file_->number) return false;
  // The file before was read to its end: nothing is on order.
  file_number_ = file_->number;
  position_ = ordered_end_ = 0;
  in_use_ = 0;
  readable_ = {};
  return true;
}

Status ReadAhead::prepare() {
  if (slots_) return {};
  const Bytes bytes = slot_bytes_ * static_cast<Bytes>(slot_count_);
  auto memory = allocate_buffer(bytes, allocator_, kDirectBytes);
  if (!memory) return fail(memory.error());
  slots_ = std::make_shared<Slots>();
  slots_->memory = std::move(*memory);
  slots_->slots.resize(slot_count_);
  oldest_ = in_use_ = 0;
  ordered_end_ = position_ & ~(kDirectBytes - 1);
  return {};
}

void ReadAhead::release() noexcept {
  slots_.reset();  // reads on order keep it until they are done
  in_use_ = 0;
}

// Puts reads on order for the free slots. With `wait`, for at least one.
Status ReadAhead::order(bool wait) {
  const bool asks = wait || in_use_ < slot_count_;
  if (asks && ordered_end_ == readable_.end && !readable_.final) {
    auto readable = queue_->wait_readable(*file_, wait ? ordered_end_ : 0);
    if (!readable) return fail(readable.error());
    readable_ = *readable;
  }
  if (wait && ordered_end_ == readable_.end) {
    return fail(ErrorCode::kCorrupt, file_->at(ordered_end_) + ": the file ends inside a batch");
  }
  while (in_use_ < slot_count_ && ordered_end_ < readable_.end) {
    const Bytes left = readable_.end - ordered_end_;
    // Behind a writer at work: better one whole slot later than many small ones now.
    if (left < slot_bytes_ && in_use_ > 0 && !readable_.final) return {};
    const std::size_t index = (oldest_ + in_use_) % slot_count_;
    const Bytes length = std::min(left, slot_bytes_);
    slots_->slots[index] = {ordered_end_, length, 0, false};
    std::uint8_t* to = slots_->memory.data() + static_cast<Bytes>(index) * slot_bytes_;
    workspace_->engine().submit(
        std::make_unique<SlotRead>(slots_, index, file_, to, length, ordered_end_));
    ordered_end_ += length;
    ++in_use_;
  }
  return {};
}

// Makes sure that the oldest slot is read and holds the byte at position_.
Status ReadAhead::fill() {
  if (auto ordered = order(in_use_ == 0); !ordered) return ordered;
  std::unique_lock lock(slots_->mutex);
  const Slots::Slot& slot = slots_->slots[oldest_];
  slots_->slot_done.wait(lock, [&] { return slot.done; });
  if (slot.moved < 0) {
    return fail(errno_error("read " + file_->at(slot.offset), static_cast<int>(-slot.moved)));
  }
  if (position_ >= slot.offset + slot.moved) {
    return fail(ErrorCode::kCorrupt, strf("%s: the file ends here, %lld bytes too early",
                                          file_->at(slot.offset + slot.moved).c_str(),
                                          static_cast<long long>(slot.length - slot.moved)));
  }
  return {};
}

Status ReadAhead::advance(std::uint8_t* out, Bytes bytes) {
  while (bytes > 0) {
    if (auto filled = fill(); !filled) return filled;
    const Slots::Slot& slot = slots_->slots[oldest_];  // done: no one else writes it
    const Bytes step = std::min(bytes, slot.offset + slot.moved - position_);
    const Bytes in_slot = position_ - slot.offset;
    if (out != nullptr) {
      std::memcpy(out, slots_->memory.data() + static_cast<Bytes>(oldest_) * slot_bytes_ + in_slot,
                  static_cast<std::size_t>(step));
      out += step;
    }
    position_ += step;
    bytes -= step;
    if (position_ == slot.offset + slot.length) {
      oldest_ = (oldest_ + 1) % slot_count_;
      --in_use_;
    }
  }
  return {};
}

Status ReadAhead::read(std::span<std::uint8_t> out) {
  return advance(out.data(), static_cast<Bytes>(out.size()));
}

Status ReadAhead::skip(Bytes bytes) { return advance(nullptr, bytes); }

}  // namespace membroker::spill
