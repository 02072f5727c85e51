#include "membroker/c/buffer.h"

#include "client/c/handles.h"
#include "shared/format.h"

using namespace membroker;
using namespace membroker::c;

struct mb_mutable_buffer {
  ResizableBuffer value;
};

mb_status mb_mutable_buffer_new(int64_t size_bytes, mb_allocator* allocator, int64_t alignment,
                                mb_mutable_buffer** out, mb_error** error) {
  return guarded(__func__, {{out, "out"}}, error, [&]() -> Status {
    auto handle = std::make_unique<mb_mutable_buffer>();
    auto made = allocate_resizable_buffer(size_bytes, allocator_of(allocator), alignment);
    if (!made) return fail(made.error());
    handle->value = std::move(*made);
    *out = handle.release();
    return {};
  });
}

void* mb_mutable_buffer_data(mb_mutable_buffer* buffer) {
  return value_or<void*>(buffer, nullptr, [&] { return buffer->value.data(); });
}

int64_t mb_mutable_buffer_size(const mb_mutable_buffer* buffer) {
  return value_or<int64_t>(buffer, -1, [&] { return buffer->value.size(); });
}

int64_t mb_mutable_buffer_capacity(const mb_mutable_buffer* buffer) {
  return value_or<int64_t>(buffer, -1, [&] { return buffer->value.capacity(); });
}

mb_status mb_mutable_buffer_resize(mb_mutable_buffer* buffer, int64_t size_bytes,
                                   int32_t shrink_to_fit, mb_error** error) {
  return guarded(__func__, {{buffer, "buffer"}}, error,
                 [&]() -> Status { return buffer->value.resize(size_bytes, shrink_to_fit != 0); });
}

mb_status mb_mutable_buffer_reserve(mb_mutable_buffer* buffer, int64_t capacity_bytes,
                                    mb_error** error) {
  return guarded(__func__, {{buffer, "buffer"}}, error,
                 [&]() -> Status { return buffer->value.reserve(capacity_bytes); });
}

mb_status mb_mutable_buffer_zero_padding(mb_mutable_buffer* buffer, mb_error** error) {
  return guarded(__func__, {{buffer, "buffer"}}, error, [&]() -> Status {
    buffer->value.zero_padding();
    return {};
  });
}

mb_status mb_mutable_buffer_freeze(mb_mutable_buffer* buffer, mb_buffer** out, mb_error** error) {
  return guarded(__func__, {{buffer, "buffer"}, {out, "out"}}, error, [&]() -> Status {
    auto handle = std::make_unique<mb_buffer>();
    handle->value = std::move(buffer->value).freeze();
    *out = handle.release();
    drop(buffer);
    return {};
  });
}

void mb_mutable_buffer_drop(mb_mutable_buffer* buffer) { drop(buffer); }

mb_status mb_buffer_wrap(const void* data, int64_t size_bytes, mb_context_drop release,
                         void* context, mb_buffer** out, mb_error** error) {
  return guarded(__func__, {{out, "out"}}, error, [&]() -> Status {
    if (size_bytes < 0 || (data == nullptr && size_bytes > 0)) {
      return fail(ErrorCode::kInvalid, strf("mb_buffer_wrap: %lld bytes at %p",
                                            static_cast<long long>(size_bytes), data));
    }
    static const std::uint8_t nothing = 0;
    const auto* bytes = data == nullptr ? &nothing : static_cast<const std::uint8_t*>(data);
    auto handle = std::make_unique<mb_buffer>();
    auto owner = std::make_shared<Context>(context, release);
    handle->value = Buffer::wrap({bytes, static_cast<std::size_t>(size_bytes)}, owner);
    owner->arm();
    *out = handle.release();
    return {};
  });
}

const void* mb_buffer_data(const mb_buffer* buffer) {
  return buffer == nullptr ? nullptr : buffer->value.data();
}

int64_t mb_buffer_size(const mb_buffer* buffer) {
  return value_or<int64_t>(buffer, -1, [&] { return buffer->value.size(); });
}

int64_t mb_buffer_capacity(const mb_buffer* buffer) {
  return value_or<int64_t>(buffer, -1, [&] { return buffer->value.capacity(); });
}

mb_status mb_buffer_share(const mb_buffer* buffer, mb_buffer** out, mb_error** error) {
  return guarded(__func__, {{buffer, "buffer"}, {out, "out"}}, error, [&]() -> Status {
    *out = new mb_buffer{buffer->value};
    return {};
  });
}

mb_status mb_buffer_slice(const mb_buffer* buffer, int64_t offset, int64_t length, mb_buffer** out,
                          mb_error** error) {
  return guarded(__func__, {{buffer, "buffer"}, {out, "out"}}, error, [&]() -> Status {
    Result<Buffer> part = buffer->value.slice(offset, length);
    if (!part) return fail(part.error());
    *out = new mb_buffer{std::move(*part)};
    return {};
  });
}

mb_status mb_buffer_copy_slice(const mb_buffer* buffer, int64_t offset, int64_t length,
                               mb_allocator* allocator, mb_buffer** out, mb_error** error) {
  return guarded(__func__, {{buffer, "buffer"}, {out, "out"}}, error, [&]() -> Status {
    Result<Buffer> part = buffer->value.copy_slice(offset, length, allocator_of(allocator));
    if (!part) return fail(part.error());
    *out = new mb_buffer{std::move(*part)};
    return {};
  });
}

int32_t mb_buffer_equals(const mb_buffer* a, const mb_buffer* b) {
  if (a == nullptr || b == nullptr) return -1;
  return a->value == b->value ? 1 : 0;
}

void mb_buffer_drop(mb_buffer* buffer) { drop(buffer); }
