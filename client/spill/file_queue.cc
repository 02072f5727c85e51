#include "client/spill/file_queue.h"

#include <unistd.h>

#include <utility>

#include "shared/format.h"

namespace membroker::spill {

std::optional<Error> FileQueue::refusal() const {
  const std::lock_guard lock(mutex_);
  if (error_) return error_;
  if (reader_ended_) return Error(ErrorCode::kClosed, "the reader of this spill channel is gone");
  return std::nullopt;
}

void FileQueue::add_file(std::shared_ptr<SpillFile> file) {
  const std::lock_guard lock(mutex_);
  ++stats_.files_created;
  stats_.direct_io = file->direct;
  if (reader_ended_) return;  // the appender learns it when it commits
  ++stats_.files_open;
  files_.push_back(std::move(file));
}

void FileQueue::write_begins(SpillFile& file) {
  const std::lock_guard lock(mutex_);
  ++file.writes_pending;
  ++writes_pending_;
}

Status FileQueue::commit(SpillFile& file, Bytes pushed, Bytes stored) {
  {
    const std::lock_guard lock(mutex_);
    if (error_) return fail(*error_);
    if (reader_ended_) {
      return fail(ErrorCode::kClosed, "the reader of this spill channel is gone");
    }
    ++file.batches_committed;
    ++stats_.batches_written;
    stats_.bytes_pushed += pushed;
    stats_.bytes_written += stored;
    stats_.file_bytes_now += stored;
    file.committed_bytes += stored;
  }
  changed_.notify_all();
  return {};
}

void FileQueue::finish_file(const std::shared_ptr<SpillFile>& file) {
  Later later;
  {
    const std::lock_guard lock(mutex_);
    file->finished = true;
    trim_if_last(file, later);
    drop_drained(later);
  }
  finish(std::move(later));
}

void FileQueue::poison(const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = error;
  }
  changed_.notify_all();
}

void FileQueue::end_writers() {
  Later later;
  {
    const std::lock_guard lock(mutex_);
    writers_ended_ = true;
    if (!files_.empty() && !files_.back()->finished) {
      files_.back()->finished = true;
      trim_if_last(files_.back(), later);
    }
    drop_drained(later);
  }
  finish(std::move(later));
}

Status FileQueue::wait_if_ended() {
  std::unique_lock lock(mutex_);
  if (!writers_ended_) return {};
  changed_.wait(lock, [&] { return writes_pending_ == 0; });
  if (error_) return fail(*error_);
  return {};
}

void FileQueue::write_done(std::shared_ptr<SpillFile> file, Bytes offset, Bytes length,
                           Bytes moved) noexcept {
  Later later;
  {
    const std::lock_guard lock(mutex_);
    --file->writes_pending;
    --writes_pending_;
    if (moved == length) {
      file->written_ahead.emplace(offset, offset + length);
      auto first = file->written_ahead.begin();
      while (first != file->written_ahead.end() && first->first == file->written_end) {
        file->written_end = first->second;
        first = file->written_ahead.erase(first);
      }
    } else {
      file->write_failed = true;
      const std::string what =
          strf("write %lld bytes to %s", static_cast<long long>(length), file->at(offset).c_str());
      if (!error_) {
        error_ = moved < 0 ? errno_error(what, static_cast<int>(-moved))
                           : Error(ErrorCode::kIo, what + ": the file takes no more");
      }
    }
    trim_if_last(file, later);
    if (!reader_ended_) file.reset();  // the queue holds it; else it is closed after the lock
  }
  finish(std::move(later));
}

Result<FileQueue::Turn> FileQueue::next_turn(bool wait) {
  std::unique_lock lock(mutex_);
  while (true) {
    if (!files_.empty() && files_.front()->batches_read < files_.front()->batches_committed) {
      return Turn{SpillReady::kBatch, files_.front()};
    }
    if (error_) return fail(*error_);
    if (writers_ended_) return Turn{SpillReady::kEnd, nullptr};
    if (!wait) return Turn{SpillReady::kPending, nullptr};
    changed_.wait(lock);
  }
}

Result<FileQueue::Readable> FileQueue::wait_readable(const SpillFile& file, Bytes offset) {
  std::unique_lock lock(mutex_);
  const auto final = [&] {
    return file.finished && file.writes_pending == 0 && !file.write_failed;
  };
  changed_.wait(lock, [&] { return file.written_end > offset || file.write_failed || final(); });
  if (file.written_end <= offset && file.write_failed) return fail(*error_);
  return Readable{file.written_end, final()};
}

void FileQueue::batch_taken(Bytes size) {
  Later later;  // outlives the lock
  const std::lock_guard lock(mutex_);
  ++files_.front()->batches_read;
  ++stats_.batches_read;
  stats_.bytes_read += size;
  drop_drained(later);
}

void FileQueue::end_reader() {
  Later later;
  {
    const std::lock_guard lock(mutex_);
    reader_ended_ = true;
    while (!files_.empty()) {
      drop(std::move(files_.front()), later);
      files_.pop_front();
    }
  }
  finish(std::move(later));
}

SpillStats FileQueue::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

// Has the space beyond the last batch given back, if it is worth it, once nothing is being written:
// ftruncate would wait for that. Counts as a write, so that the end of the writers waits for it.
void FileQueue::trim_if_last(const std::shared_ptr<SpillFile>& file, Later& later) {
  if (!file->finished || file->writes_pending > 0) return;
  const Bytes unused = file->allocated_end - file->append_end;  // the appender's until it finished
  if (unused <= file->append_end / 8) return;
  ++writes_pending_;
  file->allocated_end = file->append_end;
  later.trimmed = file;
}

void FileQueue::drop_drained(Later& later) {
  while (!files_.empty()) {
    const SpillFile& first = *files_.front();
    if (!first.finished || first.batches_read < first.batches_committed) return;
    drop(std::move(files_.front()), later);
    files_.pop_front();
  }
}

void FileQueue::drop(std::shared_ptr<SpillFile> file, Later& later) {
  --stats_.files_open;
  stats_.file_bytes_now -= file->committed_bytes;
  later.closed.push_back(std::move(file));
}

void FileQueue::finish(Later later) {
  later.closed.clear();
  if (later.trimmed) {
    // If it fails the space stays the file's, which will be gone soon.
    static_cast<void>(::ftruncate(later.trimmed->fd.get(), later.trimmed->append_end) == 0);
    later.trimmed.reset();
    const std::lock_guard lock(mutex_);
    --writes_pending_;
  }
  changed_.notify_all();
}

}  // namespace membroker::spill
