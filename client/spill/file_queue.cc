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

void FileQueue::finish_file(SpillFile& file) {
  Dropped dropped;  // closed after the lock
  {
    const std::lock_guard lock(mutex_);
    file.finished = true;
    if (file.writes_pending == 0) trim(file);
    drop_drained(dropped);
  }
  changed_.notify_all();
}

void FileQueue::poison(const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = error;
  }
  changed_.notify_all();
}

void FileQueue::end_writers() {
  Dropped dropped;
  {
    const std::lock_guard lock(mutex_);
    writers_ended_ = true;
    if (!files_.empty() && !files_.back()->finished) {
      files_.back()->finished = true;
      if (files_.back()->writes_pending == 0) trim(*files_.back());
    }
    drop_drained(dropped);
  }
  changed_.notify_all();
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
    if (file->finished && file->writes_pending == 0) trim(*file);
    if (!reader_ended_) file.reset();  // the queue holds it; else it is closed after the lock
  }
  changed_.notify_all();
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
  const auto final = [&] { return file.finished && file.writes_pending == 0; };
  changed_.wait(lock, [&] { return file.written_end > offset || file.write_failed || final(); });
  if (file.written_end <= offset && file.write_failed) return fail(*error_);
  return Readable{file.written_end, final()};
}

void FileQueue::batch_taken(Bytes size) {
  Dropped dropped;  // outlives the lock
  const std::lock_guard lock(mutex_);
  ++files_.front()->batches_read;
  ++stats_.batches_read;
  stats_.bytes_read += size;
  drop_drained(dropped);
}

void FileQueue::end_reader() {
  Dropped dropped;
  {
    const std::lock_guard lock(mutex_);
    reader_ended_ = true;
    while (!files_.empty()) {
      drop(std::move(files_.front()), dropped);
      files_.pop_front();
    }
  }
  changed_.notify_all();
}

SpillStats FileQueue::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

// Gives back what was allocated beyond the last batch. Not done before the last write: ftruncate
// waits for those under way.
void FileQueue::trim(SpillFile& file) noexcept {
  if (file.allocated_end <= file.append_end) return;
  // If it fails the space stays the file's, which will be gone soon.
  if (::ftruncate(file.fd.get(), file.append_end) == 0) file.allocated_end = file.append_end;
}

void FileQueue::drop_drained(Dropped& dropped) {
  while (!files_.empty()) {
    const SpillFile& first = *files_.front();
    if (!first.finished || first.batches_read < first.batches_committed) return;
    drop(std::move(files_.front()), dropped);
    files_.pop_front();
  }
}

void FileQueue::drop(std::shared_ptr<SpillFile> file, Dropped& dropped) {
  --stats_.files_open;
  stats_.file_bytes_now -= file->committed_bytes;
  dropped.push_back(std::move(file));
}

}  // namespace membroker::spill
