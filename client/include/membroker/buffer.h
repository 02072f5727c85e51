#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "membroker/allocator.h"
#include "membroker/error.h"

/// \file
/// Contiguous bytes: written while they have one owner, then frozen and shared.
///
///     auto open = membroker::allocate_buffer(1000, allocator);      // 1024 bytes charged
///     if (!open) return open.error();
///     std::memcpy(open->data(), source, 1000);
///     membroker::Buffer done = std::move(*open).freeze();            // cheap to copy and slice
///
/// Allocated buffers are 64-byte aligned; capacity is the size rounded up to 64 and is what the
/// allocator counts and charges; the padding is zero. A buffer keeps its allocator, and so the
/// reservation that pays for it, alive. Sizes are never negative.

namespace membroker {

namespace detail {
struct BufferBlock;
const std::uint8_t* zero_area() noexcept;
}  // namespace detail

/// Immutable bytes with shared ownership. A value: copies and slices cost a reference count.
/// Distinct objects may be used from distinct threads, also where they share bytes.
class Buffer final {
 public:
  /// Empty: size 0, data not null.
  Buffer() noexcept : data_(detail::zero_area()) {}

  /// Takes the text or the elements over without copying.
  static Buffer from_string(std::string text);
  template <class T>
  static Buffer from_vector(std::vector<T> values);
  /// Bytes of others, which live at least as long as `owner`; without one, as long as every copy.
  static Buffer wrap(std::span<const std::uint8_t> bytes,
                     std::shared_ptr<const void> owner = nullptr);

  const std::uint8_t* data() const noexcept { return data_; }
  std::int64_t size() const noexcept { return size_; }
  /// Bytes allocated from data() on; of a slice and of foreign bytes, the size.
  std::int64_t capacity() const noexcept { return capacity_; }
  bool empty() const noexcept { return size_ == 0; }
  std::span<const std::uint8_t> bytes() const noexcept {
    return {data_, static_cast<std::size_t>(size_)};
  }
  std::string_view view() const noexcept {
    return {reinterpret_cast<const char*>(data_), static_cast<std::size_t>(size_)};
  }

  /// The bytes from `offset` (to the end, or `length` of them). A slice keeps the whole of what it
  /// was cut from alive. Errors: kInvalid (negative, or beyond the end; nothing is clamped).
  Result<Buffer> slice(std::int64_t offset) const;
  Result<Buffer> slice(std::int64_t offset, std::int64_t length) const;
  /// The same without a check: 0 <= offset, 0 <= length, offset + length <= size().
  Buffer slice_unchecked(std::int64_t offset, std::int64_t length) const noexcept;
  /// A copy of its own. Null allocator: default_allocator(). Errors: of slice and allocate_buffer.
  Result<Buffer> copy_slice(std::int64_t offset, std::int64_t length,
                            const std::shared_ptr<BufferAllocator>& allocator = nullptr) const;

  /// The same bytes.
  friend bool operator==(const Buffer& a, const Buffer& b) noexcept { return a.equals(b); }

 private:
  friend class MutableBuffer;
  Buffer(const std::uint8_t* data, std::int64_t size, std::int64_t capacity,
         std::shared_ptr<const void> owner) noexcept
      : data_(data), size_(size), capacity_(capacity), owner_(std::move(owner)) {}
  bool equals(const Buffer& other) const noexcept;

  const std::uint8_t* data_;
  std::int64_t size_ = 0;
  std::int64_t capacity_ = 0;
  std::shared_ptr<const void> owner_;  // shared by every copy and slice: the last one frees
};

/// Allocated bytes with one owner. Move-only; a moved-from one is empty. Not thread-safe.
class MutableBuffer {
 public:
  MutableBuffer() noexcept = default;
  MutableBuffer(MutableBuffer&& other) noexcept;
  MutableBuffer& operator=(MutableBuffer&& other) noexcept;
  ~MutableBuffer();

  std::uint8_t* data() noexcept;
  const std::uint8_t* data() const noexcept;
  std::int64_t size() const noexcept { return size_; }
  std::int64_t capacity() const noexcept;
  std::span<std::uint8_t> bytes() noexcept { return {data(), static_cast<std::size_t>(size_)}; }
  std::span<const std::uint8_t> bytes() const noexcept {
    return {data(), static_cast<std::size_t>(size_)};
  }
  /// Zeroes the bytes between size and capacity. freeze() does it too.
  void zero_padding() noexcept;

  /// Ends writing: the bytes become an immutable, shareable Buffer. This one is empty afterwards.
  Buffer freeze() && noexcept;

 protected:
  friend Result<MutableBuffer> allocate_buffer(std::int64_t, std::shared_ptr<BufferAllocator>,
                                               std::int64_t);
  // Shared only so that freezing allocates nothing; a MutableBuffer is its only owner.
  std::shared_ptr<detail::BufferBlock> block_;
  std::int64_t size_ = 0;
};

/// Allocated bytes with one owner, that may change their size and then their address.
class ResizableBuffer final : public MutableBuffer {
 public:
  ResizableBuffer() noexcept = default;

  /// Makes the size `size`; bytes up to min(old, new) are kept, new ones are undefined. Grows to
  /// exactly what is needed; with `shrink_to_fit`, a smaller size gives capacity back. An empty
  /// default-made buffer uses default_allocator().
  /// Errors: kInvalid (negative), and of the allocator; then size, capacity and bytes are as
  /// before.
  Status resize(std::int64_t size, bool shrink_to_fit = true);
  /// Makes the capacity at least `capacity`, never smaller; the size stays. Errors as of resize.
  Status reserve(std::int64_t capacity);

 private:
  friend Result<ResizableBuffer> allocate_resizable_buffer(std::int64_t,
                                                           std::shared_ptr<BufferAllocator>,
                                                           std::int64_t);
  Status change_capacity(std::int64_t capacity);
};

/// `size` bytes, undefined but for the padding, which is zero. Null allocator:
/// default_allocator(). Errors: kInvalid (negative size, bad alignment), and of the allocator.
Result<MutableBuffer> allocate_buffer(std::int64_t size,
                                      std::shared_ptr<BufferAllocator> allocator = nullptr,
                                      std::int64_t alignment = kBufferAlignment);
Result<ResizableBuffer> allocate_resizable_buffer(
    std::int64_t size, std::shared_ptr<BufferAllocator> allocator = nullptr,
    std::int64_t alignment = kBufferAlignment);

template <class T>
Buffer Buffer::from_vector(std::vector<T> values) {
  static_assert(std::is_trivially_copyable_v<T> && !std::is_same_v<T, bool>);
  auto owner = std::make_shared<const std::vector<T>>(std::move(values));
  const auto bytes = std::as_bytes(std::span<const T>(*owner));
  return wrap({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, owner);
}

}  // namespace membroker
