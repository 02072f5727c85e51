#include <cstdio>
#include <cstring>

#include "membroker/buffer.h"
#include "membroker/client.h"
#include "membroker/memory_pool.h"
#include "membroker/spill.h"

namespace {

int complain(const membroker::Error& error) {
  std::fprintf(stderr, "sample: %s\n", error.to_string().c_str());
  return 1;
}

}  // namespace

/// Takes a buffer from an embedded client, spills it into the folder given and reads it back.
int main(int argc, char** argv) {
  auto client = membroker::Client::embedded(std::int64_t{16} << 20);
  if (!client) return complain(client.error());
  auto buffer = membroker::allocate_buffer(1000, client->allocator());
  if (!buffer) return complain(buffer.error());
  std::memset(buffer->data(), 'x', 1000);
  const membroker::Buffer pushed = std::move(*buffer).freeze();

  auto directories = membroker::SpillDirectories::open({argc > 1 ? argv[1] : "."});
  if (!directories) return complain(directories.error());
  auto channel = membroker::spill_channel({.directories = *directories});
  if (!channel) return complain(channel.error());
  if (auto ok = channel->writer.push_batch({&pushed, 1}); !ok) return complain(ok.error());
  if (auto ok = channel->writer.finish(); !ok) return complain(ok.error());
  auto batch = channel->reader.next();
  if (!batch) return complain(batch.error());
  if (!*batch || (*batch)->buffers.size() != 1 || !((*batch)->buffers[0] == pushed)) return 2;

  auto reservation = membroker::MemoryConsumer("sample").register_with(client->pool());
  const auto refused = reservation.try_grow(std::int64_t{1} << 30);
  if (refused || refused.error().code() != membroker::ErrorCode::kResourcesExhausted) return 3;
  std::printf("reserved %lld bytes\n", static_cast<long long>(client->pool()->reserved()));
  return 0;
}
