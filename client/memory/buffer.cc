#include "membroker/buffer.h"

#include <cstring>

#include "shared/bytes.h"
#include "shared/format.h"

namespace membroker {

struct detail::BufferBlock {
  std::shared_ptr<BufferAllocator> allocator;  // and with it whatever pays for the bytes
  std::uint8_t* data = nullptr;
  std::int64_t capacity = 0;
  std::int64_t alignment = kBufferAlignment;

  BufferBlock(std::shared_ptr<BufferAllocator> from, std::int64_t align)
      : allocator(std::move(from)), alignment(align) {}
  BufferBlock(const BufferBlock&) = delete;
  BufferBlock& operator=(const BufferBlock&) = delete;
  ~BufferBlock() {
    if (data != nullptr) allocator->free(data, capacity, alignment);
  }
};

namespace {

// The capacity for a size, or the error.
Result<std::int64_t> padded(std::int64_t size, const char* what) {
  if (size < 0) {
    return fail(ErrorCode::kInvalid,
                strf("negative buffer %s: %lld", what, static_cast<long long>(size)));
  }
  const auto capacity = round_up(size, kBufferAlignment);
  if (!capacity) {
    return fail(ErrorCode::kOutOfMemory,
                strf("buffer %s too large: %lld", what, static_cast<long long>(size)));
  }
  return *capacity;
}

Error bad_slice(const char* what, std::int64_t offset, std::int64_t length, std::int64_t size) {
  return Error(ErrorCode::kInvalid,
               strf("buffer slice %s: offset %lld, length %lld, buffer of %lld bytes", what,
                    static_cast<long long>(offset), static_cast<long long>(length),
                    static_cast<long long>(size)));
}

std::uint8_t* no_bytes() noexcept { return const_cast<std::uint8_t*>(detail::zero_area()); }

}  // namespace

Buffer Buffer::from_string(std::string text) {
  auto owner = std::make_shared<const std::string>(std::move(text));
  return wrap({reinterpret_cast<const std::uint8_t*>(owner->data()), owner->size()}, owner);
}

Buffer Buffer::wrap(std::span<const std::uint8_t> bytes, std::shared_ptr<const void> owner) {
  if (bytes.empty()) return Buffer();
  const auto size = static_cast<std::int64_t>(bytes.size());
  return Buffer(bytes.data(), size, size, std::move(owner));
}

Result<Buffer> Buffer::slice(std::int64_t offset) const {
  if (offset > size_) return fail(bad_slice("starts beyond the end", offset, 0, size_));
  return slice(offset, size_ - offset);
}

Result<Buffer> Buffer::slice(std::int64_t offset, std::int64_t length) const {
  if (offset < 0) return fail(bad_slice("has a negative offset", offset, length, size_));
  if (length < 0) return fail(bad_slice("has a negative length", offset, length, size_));
  const auto end = checked_add(offset, length);
  if (!end || *end > size_) return fail(bad_slice("exceeds the buffer", offset, length, size_));
  return slice_unchecked(offset, length);
}

Buffer Buffer::slice_unchecked(std::int64_t offset, std::int64_t length) const noexcept {
  return Buffer(data_ + offset, length, length, owner_);
}

Result<Buffer> Buffer::copy_slice(std::int64_t offset, std::int64_t length,
                                  const std::shared_ptr<BufferAllocator>& allocator) const {
  const auto part = slice(offset, length);
  if (!part) return part;
  auto copy = allocate_buffer(length, allocator);
  if (!copy) return fail(copy.error());
  std::memcpy(copy->data(), part->data(), static_cast<std::size_t>(length));
  return std::move(*copy).freeze();
}

bool Buffer::equals(const Buffer& other) const noexcept {
  if (size_ != other.size_) return false;
  return data_ == other.data_ ||
         std::memcmp(data_, other.data_, static_cast<std::size_t>(size_)) == 0;
}

MutableBuffer::MutableBuffer(MutableBuffer&& other) noexcept
    : block_(std::move(other.block_)), size_(std::exchange(other.size_, 0)) {}

MutableBuffer& MutableBuffer::operator=(MutableBuffer&& other) noexcept {
  if (this != &other) {
    block_ = std::move(other.block_);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

MutableBuffer::~MutableBuffer() = default;

std::uint8_t* MutableBuffer::data() noexcept { return block_ ? block_->data : no_bytes(); }

const std::uint8_t* MutableBuffer::data() const noexcept {
  return block_ ? block_->data : detail::zero_area();
}

std::int64_t MutableBuffer::capacity() const noexcept { return block_ ? block_->capacity : 0; }

void MutableBuffer::zero_padding() noexcept {
  if (capacity() > size_) {
    std::memset(data() + size_, 0, static_cast<std::size_t>(capacity() - size_));
  }
}

Buffer MutableBuffer::freeze() && noexcept {
  zero_padding();
  const std::uint8_t* start = data();
  const std::int64_t all = capacity();
  return Buffer(start, std::exchange(size_, 0), all, std::move(block_));
}

Status ResizableBuffer::resize(std::int64_t size, bool shrink_to_fit) {
  const auto needed = padded(size, "size");
  if (!needed) return fail(needed.error());
  const bool shrink = shrink_to_fit && size <= size_ && *needed < capacity();
  if (shrink || *needed > capacity()) {
    if (auto changed = change_capacity(*needed); !changed) return changed;
  }
  size_ = size;
  if (*needed > size) {
    std::memset(data() + size, 0, static_cast<std::size_t>(*needed - size));
  }
  return {};
}

Status ResizableBuffer::reserve(std::int64_t capacity_wanted) {
  const auto needed = padded(capacity_wanted, "capacity");
  if (!needed) return fail(needed.error());
  if (*needed <= capacity()) return {};
  return change_capacity(*needed);
}

Status ResizableBuffer::change_capacity(std::int64_t new_capacity) {
  auto block = block_;
  if (!block) {
    block = std::make_shared<detail::BufferBlock>(default_allocator(), kBufferAlignment);
  }
  auto moved =
      block->allocator->reallocate(block->data, block->capacity, new_capacity, block->alignment);
  if (!moved) return fail(moved.error());
  block->data = *moved;
  block->capacity = new_capacity;
  block_ = std::move(block);
  return {};
}

Result<MutableBuffer> allocate_buffer(std::int64_t size, std::shared_ptr<BufferAllocator> allocator,
                                      std::int64_t alignment) {
  auto buffer = allocate_resizable_buffer(size, std::move(allocator), alignment);
  if (!buffer) return fail(buffer.error());
  return MutableBuffer(std::move(*buffer));
}

Result<ResizableBuffer> allocate_resizable_buffer(std::int64_t size,
                                                  std::shared_ptr<BufferAllocator> allocator,
                                                  std::int64_t alignment) {
  const auto capacity = padded(size, "size");
  if (!capacity) return fail(capacity.error());
  if (!allocator) allocator = default_allocator();
  auto block = std::make_shared<detail::BufferBlock>(std::move(allocator), alignment);
  auto bytes = block->allocator->allocate(*capacity, alignment);
  if (!bytes) return fail(bytes.error());
  block->data = *bytes;
  block->capacity = *capacity;
  ResizableBuffer buffer;
  buffer.block_ = std::move(block);
  buffer.size_ = size;
  buffer.zero_padding();
  return buffer;
}

}  // namespace membroker
