#include "membroker/buffer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace membroker {
namespace {

bool aligned(const void* address, std::uintptr_t to = 64) {
  return reinterpret_cast<std::uintptr_t>(address) % to == 0;
}

MutableBuffer filled(std::int64_t size, std::uint8_t with) {
  auto buffer = allocate_buffer(size);
  EXPECT_TRUE(buffer);
  std::memset(buffer->data(), with, static_cast<std::size_t>(size));
  return std::move(*buffer);
}

TEST(Buffer, DefaultIsEmptyAndNotNull) {
  const Buffer buffer;
  EXPECT_EQ(buffer.size(), 0);
  EXPECT_NE(buffer.data(), nullptr);
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer, Buffer::from_string(""));
}

TEST(Buffer, AllocatedIsAlignedPaddedAndCounted) {
  const auto allocator = system_allocator();
  const auto before = allocator->bytes_allocated();
  {
    auto buffer = allocate_buffer(1000, allocator);
    ASSERT_TRUE(buffer);
    EXPECT_EQ(buffer->size(), 1000);
    EXPECT_EQ(buffer->capacity(), 1024);
    EXPECT_TRUE(aligned(buffer->data()));
    EXPECT_TRUE(std::all_of(buffer->data() + 1000, buffer->data() + 1024,
                            [](std::uint8_t byte) { return byte == 0; }));
    EXPECT_EQ(allocator->bytes_allocated() - before, 1024);
  }
  EXPECT_EQ(allocator->bytes_allocated(), before);
}

TEST(Buffer, KeepsAnAlignmentAskedFor) {
  for (const std::int64_t alignment : {64, 512, 1024, 4096, 65536, 1 << 21}) {
    for (const std::int64_t size : {12, 5000, 3 << 20}) {
      auto buffer = allocate_resizable_buffer(size, nullptr, alignment);
      ASSERT_TRUE(buffer);
      EXPECT_TRUE(aligned(buffer->data(), static_cast<std::uintptr_t>(alignment)));
      ASSERT_TRUE(buffer->resize(2 * size));
      EXPECT_TRUE(aligned(buffer->data(), static_cast<std::uintptr_t>(alignment)));
    }
  }
}

TEST(Buffer, EmptyOnesShareOneAddress) {
  auto one = allocate_buffer(0);
  auto other = allocate_resizable_buffer(0);
  ASSERT_TRUE(one && other);
  EXPECT_NE(one->data(), nullptr);
  EXPECT_EQ(one->data(), other->data());
}

TEST(Buffer, BadSizesAreErrors) {
  EXPECT_EQ(allocate_buffer(-1).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(allocate_buffer(-1).error().message(), "negative buffer size: -1");
  for (const std::int64_t size : {INT64_MAX, INT64_MAX - 63, INT64_MAX - 127}) {
    EXPECT_EQ(allocate_buffer(size).error().code(), ErrorCode::kOutOfMemory) << size;
  }
  EXPECT_EQ(allocate_buffer(10, nullptr, 48).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(allocate_buffer(0, nullptr, 0).error().code(), ErrorCode::kInvalid);
}

TEST(Buffer, FreezingMovesTheBytes) {
  MutableBuffer open = filled(100, 7);
  const std::uint8_t* address = open.data();
  const Buffer done = std::move(open).freeze();
  EXPECT_EQ(done.data(), address);
  EXPECT_EQ(done.size(), 100);
  EXPECT_EQ(done.capacity(), 128);
  EXPECT_EQ(open.size(), 0);  // NOLINT(bugprone-use-after-move): promised to be empty
  EXPECT_EQ(open.capacity(), 0);
}

TEST(Buffer, SlicesKeepTheWholeAlive) {
  const auto allocator = system_allocator();
  const auto before = allocator->bytes_allocated();
  Buffer slice;
  {
    const Buffer whole = filled(1000, 9).freeze();
    slice = *whole.slice(10, 1);
    EXPECT_EQ(slice.data(), whole.data() + 10);
  }
  EXPECT_EQ(slice.bytes()[0], 9);
  EXPECT_EQ(slice.capacity(), 1);
  EXPECT_EQ(allocator->bytes_allocated() - before, 1024);
  slice = Buffer();
  EXPECT_EQ(allocator->bytes_allocated(), before);
}

TEST(Buffer, SlicesAreCheckedNotClamped) {
  const Buffer buffer = Buffer::from_string("some bytes");
  EXPECT_EQ(buffer.slice(5)->view(), "bytes");
  EXPECT_EQ(buffer.slice(5, 2)->view(), "by");
  EXPECT_EQ(buffer.slice(10, 0)->size(), 0);
  EXPECT_EQ(buffer.slice(-1).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(buffer.slice(11).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(buffer.slice(1, 10).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(buffer.slice(1, -1).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(buffer.slice(1, INT64_MAX).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(buffer.slice_unchecked(5, 5).view(), "bytes");
}

TEST(Buffer, CopiesOfSlicesArePadded) {
  const Buffer source = Buffer::from_string("some bytes");
  const auto copy = source.copy_slice(5, 5);
  ASSERT_TRUE(copy);
  EXPECT_EQ(copy->view(), "bytes");
  EXPECT_NE(copy->data(), source.data() + 5);
  EXPECT_TRUE(std::all_of(copy->data() + 5, copy->data() + copy->capacity(),
                          [](std::uint8_t byte) { return byte == 0; }));
  EXPECT_EQ(source.copy_slice(10, 0)->size(), 0);
  EXPECT_EQ(source.copy_slice(8, 3).error().code(), ErrorCode::kInvalid);
}

TEST(Buffer, EqualityIsOfBytes) {
  const Buffer twelve = filled(128 << 10, 12).freeze();
  EXPECT_EQ(twelve, filled(128 << 10, 12).freeze());
  EXPECT_NE(twelve, filled(128 << 10, 3).freeze());
  EXPECT_NE(twelve, *twelve.slice(1));
}

TEST(Buffer, TakesStringsAndVectorsOver) {
  Buffer text;
  Buffer numbers;
  {
    std::string source(100, 'x');
    text = Buffer::from_string(std::move(source));
    numbers = Buffer::from_vector(std::vector<std::uint16_t>{1, 2, 3});
  }
  EXPECT_EQ(text.view(), std::string(100, 'x'));
  EXPECT_EQ(numbers.size(), 6);
  EXPECT_EQ(numbers.bytes()[2], 2);
}

TEST(Buffer, WrapKeepsTheOwner) {
  auto owner = std::make_shared<std::vector<std::uint8_t>>(10, std::uint8_t{5});
  const std::weak_ptr<std::vector<std::uint8_t>> watch = owner;
  Buffer slice = *Buffer::wrap(*owner, owner).slice(3, 2);
  owner.reset();
  EXPECT_FALSE(watch.expired());
  EXPECT_EQ(slice.bytes()[1], 5);
  slice = Buffer();
  EXPECT_TRUE(watch.expired());
}

TEST(ResizableBuffer, GrowsToWhatIsNeededAndShrinksWhenAsked) {
  auto buffer = allocate_resizable_buffer(9);
  ASSERT_TRUE(buffer);
  EXPECT_EQ(buffer->capacity(), 64);
  ASSERT_TRUE(buffer->reserve(65));
  EXPECT_EQ(buffer->capacity(), 128);
  EXPECT_EQ(buffer->size(), 9);
  ASSERT_TRUE(buffer->resize(200));
  EXPECT_EQ(buffer->capacity(), 256);
  ASSERT_TRUE(buffer->resize(10, false));
  EXPECT_EQ(buffer->capacity(), 256);
  ASSERT_TRUE(buffer->resize(10));
  EXPECT_EQ(buffer->capacity(), 64);
  ASSERT_TRUE(buffer->resize(0));
  EXPECT_NE(buffer->data(), nullptr);
  EXPECT_EQ(buffer->capacity(), 0);
}

TEST(ResizableBuffer, KeepsBytesAcrossSmallAndLargeBlocks) {
  auto buffer = allocate_resizable_buffer(100);
  ASSERT_TRUE(buffer);
  std::memset(buffer->data(), 42, 100);
  for (const std::int64_t size : {5000, 3 << 20, 9 << 20, 2 << 20, 300}) {
    ASSERT_TRUE(buffer->resize(size));
    EXPECT_TRUE(std::all_of(buffer->data(), buffer->data() + 100, [](std::uint8_t byte) {
      return byte == 42;
    })) << size;
  }
}

TEST(ResizableBuffer, FailedResizeChangesNothing) {
  auto buffer = allocate_resizable_buffer(100);
  ASSERT_TRUE(buffer);
  std::memset(buffer->data(), 1, 100);
  const std::uint8_t* address = buffer->data();
  EXPECT_EQ(buffer->resize(-1).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(buffer->reserve(-1).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(buffer->resize(INT64_MAX - 63).error().code(), ErrorCode::kOutOfMemory);
  EXPECT_EQ(buffer->resize(std::int64_t{1} << 60).error().code(), ErrorCode::kOutOfMemory);
  EXPECT_EQ(buffer->size(), 100);
  EXPECT_EQ(buffer->capacity(), 128);
  EXPECT_EQ(buffer->data(), address);
  EXPECT_EQ(buffer->data()[99], 1);
}

TEST(ResizableBuffer, DefaultMadeOneCanGrow) {
  ResizableBuffer buffer;
  EXPECT_EQ(buffer.size(), 0);
  ASSERT_TRUE(buffer.resize(10));
  EXPECT_EQ(buffer.capacity(), 64);
  EXPECT_EQ(std::move(buffer).freeze().size(), 10);
}

}  // namespace
}  // namespace membroker
