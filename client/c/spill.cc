#include "membroker/spill.h"

#include <vector>

#include "client/c/handles.h"
#include "membroker/c/spill.h"
#include "shared/format.h"

using namespace membroker;
using namespace membroker::c;

struct mb_spill_directories {
  std::shared_ptr<SpillDirectories> value;  // shared with the channels; so are the next two
};
struct mb_spill_quota {
  std::shared_ptr<SpillQuota> value;
};
struct mb_spill_workspace {
  std::shared_ptr<SpillWorkspace> value;
};
struct mb_spill_writer {
  SpillWriter value;
};
struct mb_spill_reader {
  SpillReader value;
};
struct mb_batch {
  Batch value;
};

static_assert(static_cast<int>(SpillCompression::kNone) == MB_COMPRESSION_NONE);
static_assert(static_cast<int>(SpillCompression::kLz4) == MB_COMPRESSION_LZ4);
static_assert(static_cast<int>(SpillCompression::kZstd) == MB_COMPRESSION_ZSTD);
static_assert(static_cast<int>(SpillReady::kBatch) == MB_SPILL_BATCH);
static_assert(static_cast<int>(SpillReady::kPending) == MB_SPILL_PENDING);
static_assert(static_cast<int>(SpillReady::kEnd) == MB_SPILL_END);

namespace {

Status check_count(std::size_t count) {
  if (count <= static_cast<std::size_t>(kSpillBuffersPerBatchMax)) return {};
  return fail(ErrorCode::kInvalid, strf("a batch of %zu parts; at most %d are allowed", count,
                                        kSpillBuffersPerBatchMax));
}

Result<SpillOptions> read_spill_options(const mb_spill_options* given) {
  const mb_spill_options defaults = MB_SPILL_OPTIONS_INIT;
  const auto read = read_options("mb_spill_options", given, defaults);
  if (!read) return fail(read.error());
  if (read->directories == nullptr) {
    return fail(ErrorCode::kInvalid, "mb_spill_options.directories is NULL");
  }
  if (read->compression < MB_COMPRESSION_NONE || read->compression > MB_COMPRESSION_ZSTD) {
    return fail(ErrorCode::kInvalid, strf("mb_spill_options.compression is %d, which is none",
                                          static_cast<int>(read->compression)));
  }
  SpillOptions options;
  options.directories = read->directories->value;
  if (read->quota != nullptr) options.quota = read->quota->value;
  if (read->workspace != nullptr) options.workspace = read->workspace->value;
  options.allocator = allocator_of(read->allocator);
  options.max_file_size = read->max_file_bytes;
  options.read_ahead = read->read_ahead_bytes;
  options.compression = static_cast<SpillCompression>(read->compression);
  options.checksum = read->checksum != 0 ? SpillChecksum::kXxh3 : SpillChecksum::kNone;
  options.direct_io = read->direct_io != 0 ? SpillDirectIo::kAuto : SpillDirectIo::kOff;
  return options;
}

Status fill_stats(const SpillStats& stats, mb_spill_stats* out) {
  mb_spill_stats fields = MB_SPILL_STATS_INIT;
  fields.batches_written = stats.batches_written;
  fields.batches_read = stats.batches_read;
  fields.bytes_pushed = stats.bytes_pushed;
  fields.bytes_written = stats.bytes_written;
  fields.bytes_read = stats.bytes_read;
  fields.files_created = stats.files_created;
  fields.files_open = stats.files_open;
  fields.file_bytes_now = stats.file_bytes_now;
  fields.direct_io = stats.direct_io ? 1 : 0;
  return fill_in("mb_spill_stats", out, fields);
}

}  // namespace

mb_status mb_spill_directories_open(const char* const* paths, size_t count,
                                    mb_spill_directories** out, mb_error** error) {
  return guarded(__func__, {{paths, "paths"}, {out, "out"}}, error, [&]() -> Status {
    std::vector<std::string> list;
    for (std::size_t i = 0; i < count; ++i) {
      if (paths[i] == nullptr) return fail(ErrorCode::kInvalid, strf("paths[%zu] is NULL", i));
      list.emplace_back(paths[i]);
    }
    auto opened = SpillDirectories::open(std::move(list));
    if (!opened) return fail(opened.error());
    *out = new mb_spill_directories{std::move(*opened)};
    return {};
  });
}

const char* mb_spill_directories_path(const mb_spill_directories* directories, int32_t index) {
  return value_or<const char*>(directories, nullptr, [&]() -> const char* {
    const auto path = at(directories->value->paths(), "path", index);
    return path ? (*path)->c_str() : nullptr;
  });
}

void mb_spill_directories_drop(mb_spill_directories* directories) { drop(directories); }

mb_status mb_spill_quota_new(int64_t limit_bytes, mb_spill_quota** out, mb_error** error) {
  return guarded(__func__, {{out, "out"}}, error, [&]() -> Status {
    if (limit_bytes < 0) return fail(ErrorCode::kInvalid, "mb_spill_quota_new: a negative limit");
    *out = new mb_spill_quota{SpillQuota::create(limit_bytes)};
    return {};
  });
}

int64_t mb_spill_quota_limit(const mb_spill_quota* quota) {
  return value_or<int64_t>(quota, -1, [&] { return quota->value->limit(); });
}

int64_t mb_spill_quota_used(const mb_spill_quota* quota) {
  return value_or<int64_t>(quota, -1, [&] { return quota->value->used(); });
}

mb_status mb_spill_quota_set_limit(mb_spill_quota* quota, int64_t limit_bytes, mb_error** error) {
  return guarded(__func__, {{quota, "quota"}}, error, [&]() -> Status {
    if (limit_bytes < 0) {
      return fail(ErrorCode::kInvalid, "mb_spill_quota_set_limit: a negative limit");
    }
    quota->value->set_limit(limit_bytes);
    return {};
  });
}

void mb_spill_quota_drop(mb_spill_quota* quota) { drop(quota); }

mb_status mb_spill_workspace_new(const mb_spill_workspace_options* options,
                                 mb_spill_workspace** out, mb_error** error) {
  return guarded(__func__, {{out, "out"}}, error, [&]() -> Status {
    const mb_spill_workspace_options defaults = MB_SPILL_WORKSPACE_OPTIONS_INIT;
    const auto given = read_options("mb_spill_workspace_options", options, defaults);
    if (!given) return fail(given.error());
    auto made = SpillWorkspace::create({.bytes = given->bytes,
                                        .allocator = allocator_of(given->allocator),
                                        .io_uring = given->io_uring != 0});
    if (!made) return fail(made.error());
    *out = new mb_spill_workspace{std::move(*made)};
    return {};
  });
}

mb_status mb_client_spill_workspace(mb_client* client, int64_t timeout_ms, mb_spill_workspace** out,
                                    mb_error** error) {
  return guarded(__func__, {{client, "client"}, {out, "out"}}, error, [&]() -> Status {
    const auto timeout = duration_of(timeout_ms);
    if (!timeout) return fail(timeout.error());
    auto found = client->value.spill_workspace(*timeout);
    if (!found) return fail(found.error());
    *out = new mb_spill_workspace{std::move(*found)};
    return {};
  });
}

int64_t mb_spill_workspace_bytes(const mb_spill_workspace* workspace) {
  return value_or<int64_t>(workspace, -1, [&] { return workspace->value->bytes(); });
}

int32_t mb_spill_workspace_uses_io_uring(const mb_spill_workspace* workspace) {
  return value_or<int32_t>(workspace, -1,
                           [&] { return workspace->value->uses_io_uring() ? 1 : 0; });
}

void mb_spill_workspace_drop(mb_spill_workspace* workspace) { drop(workspace); }

mb_status mb_spill_channel(const mb_spill_options* options, mb_spill_writer** writer,
                           mb_spill_reader** reader, mb_error** error) {
  const auto required = {Required{options, "options"}, {writer, "writer"}, {reader, "reader"}};
  return guarded(__func__, required, error, [&]() -> Status {
    Result<SpillOptions> read = read_spill_options(options);
    if (!read) return fail(read.error());
    Result<SpillChannelEnds> ends = spill_channel(std::move(*read));
    if (!ends) return fail(ends.error());
    auto writing = std::make_unique<mb_spill_writer>(mb_spill_writer{std::move(ends->writer)});
    auto reading = std::make_unique<mb_spill_reader>(mb_spill_reader{std::move(ends->reader)});
    *writer = writing.release();
    *reader = reading.release();
    return {};
  });
}

mb_status mb_spill_writer_push(mb_spill_writer* writer, const mb_bytes* parts, size_t count,
                               mb_error** error) {
  return guarded(__func__, {{writer, "writer"}}, error, [&]() -> Status {
    if (Status ok = check_count(count); !ok) return ok;
    if (parts == nullptr && count > 0) return fail(ErrorCode::kInvalid, "parts is NULL");
    std::vector<Buffer> buffers;
    buffers.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      const mb_bytes& part = parts[i];
      if (part.size < 0 || (part.data == nullptr && part.size > 0)) {
        return fail(ErrorCode::kInvalid, strf("parts[%zu] is %lld bytes at %p", i,
                                              static_cast<long long>(part.size), part.data));
      }
      buffers.push_back(Buffer::wrap(
          {static_cast<const std::uint8_t*>(part.data), static_cast<std::size_t>(part.size)}));
    }
    return writer->value.push_batch(buffers);
  });
}

mb_status mb_spill_writer_push_batch(mb_spill_writer* writer, const mb_buffer* const* buffers,
                                     size_t count, mb_error** error) {
  return guarded(__func__, {{writer, "writer"}}, error, [&]() -> Status {
    if (Status ok = check_count(count); !ok) return ok;
    if (buffers == nullptr && count > 0) return fail(ErrorCode::kInvalid, "buffers is NULL");
    std::vector<Buffer> batch;
    batch.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      if (buffers[i] == nullptr) {
        return fail(ErrorCode::kInvalid, strf("buffers[%zu] is NULL", i));
      }
      batch.push_back(buffers[i]->value);
    }
    return writer->value.push_batch(batch);
  });
}

mb_status mb_spill_writer_new_sink(const mb_spill_writer* writer, mb_spill_writer** out,
                                   mb_error** error) {
  return guarded(__func__, {{writer, "writer"}, {out, "out"}}, error, [&]() -> Status {
    *out = new mb_spill_writer{writer->value.new_sink()};
    return {};
  });
}

mb_status mb_spill_writer_finish(mb_spill_writer* writer, mb_error** error) {
  return guarded(__func__, {{writer, "writer"}}, error,
                 [&]() -> Status { return writer->value.finish(); });
}

mb_status mb_spill_writer_get_stats(const mb_spill_writer* writer, mb_spill_stats* out,
                                    mb_error** error) {
  return guarded(__func__, {{writer, "writer"}, {out, "out"}}, error,
                 [&]() -> Status { return fill_stats(writer->value.stats(), out); });
}

void mb_spill_writer_drop(mb_spill_writer* writer) { drop(writer); }

mb_status mb_spill_reader_next(mb_spill_reader* reader, mb_batch** out, mb_error** error) {
  return guarded(__func__, {{reader, "reader"}, {out, "out"}}, error, [&]() -> Status {
    auto handle = std::make_unique<mb_batch>();
    auto next = reader->value.next();
    if (!next) return fail(next.error());
    *out = nullptr;
    if (!*next) return {};
    handle->value = std::move(**next);
    *out = handle.release();
    return {};
  });
}

mb_status mb_spill_reader_try_next(mb_spill_reader* reader, mb_spill_ready* ready, mb_batch** out,
                                   mb_error** error) {
  const auto required = {Required{reader, "reader"}, {ready, "ready"}, {out, "out"}};
  return guarded(__func__, required, error, [&]() -> Status {
    auto handle = std::make_unique<mb_batch>();
    auto next = reader->value.try_next();
    if (!next) return fail(next.error());
    *ready = static_cast<mb_spill_ready>(next->ready);
    *out = nullptr;
    if (next->ready != SpillReady::kBatch) return {};
    handle->value = std::move(next->batch);
    *out = handle.release();
    return {};
  });
}

mb_status mb_spill_reader_next_into(mb_spill_reader* reader, void* room, int64_t room_bytes,
                                    int64_t* size, mb_error** error) {
  const auto required = {Required{reader, "reader"}, {room, "room"}, {size, "size"}};
  return guarded(__func__, required, error, [&]() -> Status {
    if (room_bytes < 0) {
      return fail(ErrorCode::kInvalid, "mb_spill_reader_next_into: room_bytes is negative");
    }
    const auto read = reader->value.next_into(
        {static_cast<std::uint8_t*>(room), static_cast<std::size_t>(room_bytes)});
    if (!read) return fail(read.error());
    *size = read->value_or(-1);
    return {};
  });
}

mb_status mb_spill_reader_release_read_ahead(mb_spill_reader* reader, mb_error** error) {
  return guarded(__func__, {{reader, "reader"}}, error, [&]() -> Status {
    reader->value.release_read_ahead();
    return {};
  });
}

mb_status mb_spill_reader_get_stats(const mb_spill_reader* reader, mb_spill_stats* out,
                                    mb_error** error) {
  return guarded(__func__, {{reader, "reader"}, {out, "out"}}, error,
                 [&]() -> Status { return fill_stats(reader->value.stats(), out); });
}

void mb_spill_reader_drop(mb_spill_reader* reader) { drop(reader); }

int64_t mb_batch_count(const mb_batch* batch) {
  return value_or<int64_t>(batch, -1, [&] { return batch->value.buffers.size(); });
}

int64_t mb_batch_size(const mb_batch* batch) {
  return value_or<int64_t>(batch, -1, [&] { return batch->value.size(); });
}

mb_status mb_batch_buffer(const mb_batch* batch, int64_t index, mb_buffer** out, mb_error** error) {
  return guarded(__func__, {{batch, "batch"}, {out, "out"}}, error, [&]() -> Status {
    const auto part = at(batch->value.buffers, "part", index);
    if (!part) return fail(part.error());
    *out = new mb_buffer{**part};
    return {};
  });
}

void mb_batch_drop(mb_batch* batch) { drop(batch); }
