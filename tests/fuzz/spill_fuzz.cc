#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "client/spill/batch_reader.h"
#include "client/spill/file_queue.h"
#include "client/spill/format.h"
#include "client/spill/workspace.h"

/// \file
/// Any bytes as a spill file: they are read or refused, never more. The first byte says which
/// records' checksums are made right, so that what is behind them is reached too; the rest is the
/// file.

namespace {

using membroker::Bytes;
using membroker::spill::kRecordBytes;

// Has a limit: sizes in a file may be anything.
class SmallAllocator final : public membroker::BufferAllocator {
 public:
  std::string_view backend_name() const noexcept override { return "small"; }

 private:
  membroker::Result<std::uint8_t*> do_allocate(std::int64_t size, std::int64_t align) override {
    if (size > 16 * membroker::kMiB - bytes_allocated()) {
      return membroker::fail(membroker::ErrorCode::kResourcesExhausted, "limit of the fuzzer");
    }
    return membroker::system_allocator()->allocate(size, align);
  }
  membroker::Result<std::uint8_t*> do_reallocate(std::uint8_t*, std::int64_t, std::int64_t,
                                                 std::int64_t) override {
    return membroker::fail(membroker::ErrorCode::kUnsupported, "not used");
  }
  void do_free(std::uint8_t* block, std::int64_t size, std::int64_t align) noexcept override {
    membroker::system_allocator()->free(block, size, align);
  }
};

void put_hash(std::vector<std::uint8_t>& file, std::size_t at, std::size_t from, std::size_t size) {
  if (at + 8 > file.size() || from + size > file.size()) return;
  const std::uint64_t hash = membroker::spill::hash_bytes({file.data() + from, size});
  std::memcpy(file.data() + at, &hash, sizeof hash);
}

// Makes the file header and the first batch's header and table pass their checks.
void seal(std::vector<std::uint8_t>& file, unsigned which) {
  if ((which & 1) != 0) put_hash(file, 56, 0, 56);
  std::uint32_t buffers = 0;
  if (file.size() >= 128) std::memcpy(&buffers, file.data() + 68, sizeof buffers);
  if ((which & 2) != 0) put_hash(file, 64 + 24, 128, std::size_t{buffers} * 8);
  if ((which & 4) != 0) put_hash(file, 64 + 56, 64, 56);
}

void read_all(const std::shared_ptr<membroker::spill::Workspace>& workspace,
              const std::vector<std::uint8_t>& bytes) {
  membroker::spill::NewFile made;
  made.fd = membroker::UniqueFd(::memfd_create("spill", MFD_CLOEXEC));
  made.directory = "fuzz";
  const auto size = static_cast<Bytes>(bytes.size());
  if (::pwrite(made.fd.get(), bytes.data(), bytes.size(), 0) != size) std::abort();
  const auto queue = std::make_shared<membroker::spill::FileQueue>();
  auto file = std::make_shared<membroker::spill::SpillFile>(std::move(made), 0, nullptr);
  file->append_end = size;
  queue->add_file(file);
  queue->write_begins(*file);
  queue->write_done(file, 0, size, size);
  for (int batch = 0; batch < 3; ++batch) {
    if (!queue->commit(*file, 0, 0)) std::abort();
  }
  queue->finish_file(file);
  queue->end_writers();
  file.reset();
  membroker::spill::BatchReader reader(workspace, queue, std::make_shared<SmallAllocator>(),
                                       membroker::kSpillReadAheadBytesMin);
  while (true) {
    const auto batch = reader.next();
    if (!batch || !*batch) return;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto workspace = *membroker::spill::Workspace::make(
      {.bytes = membroker::kSpillWorkspaceBytesMin, .io_uring = false});
  if (size < 2) return 0;
  std::vector<std::uint8_t> file(data + 1, data + std::min<std::size_t>(size, 1 << 20));
  file.resize((file.size() + 4095) / 4096 * 4096);
  if (file.empty()) return 0;
  seal(file, data[0]);
  read_all(workspace, file);
  return 0;
}
