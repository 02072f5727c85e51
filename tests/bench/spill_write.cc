#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "membroker/spill.h"
#include "shared/bytes.h"

/// \file
/// Writes incompressible data through a spill channel and reads it back. Prints
///
///     spill_write <MB_per_s>
///     spill_read <MB_per_s>            each batch into the same memory, as a merge does
///     spill_read_batches <MB_per_s>    each batch into memory of its own
///     spill_page_cache <MiB the page cache grew by>
///
/// MB are 10^6 bytes of batches. What the writes ended in is on disk: finish() is in the time.
/// --dir DIR --bytes N --batch N --direct on|off --compression none|lz4|zstd --max-file N
/// --read-ahead N --io-uring on|off

namespace {

using membroker::Bytes;
using Clock = std::chrono::steady_clock;

struct Settings {
  std::string dir = "/var/tmp";
  Bytes bytes = 2 * membroker::kGiB;
  Bytes batch = membroker::kMiB;
  Bytes max_file = 128 * membroker::kMiB;
  Bytes read_ahead = 8 * membroker::kMiB;
  bool direct = true;
  bool io_uring = true;
  membroker::SpillCompression compression = membroker::SpillCompression::kNone;
};

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "spill_write: %s\n", why.c_str());
  std::exit(1);
}

template <class T>
T need(membroker::Result<T> result) {
  if (!result) give_up(result.error().to_string());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

Settings read_arguments(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    const std::string value = argv[i + 1];
    if (name == "--dir") {
      settings.dir = value;
    } else if (name == "--bytes") {
      settings.bytes = need(membroker::parse_bytes(value));
    } else if (name == "--batch") {
      settings.batch = need(membroker::parse_bytes(value));
    } else if (name == "--max-file") {
      settings.max_file = need(membroker::parse_bytes(value));
    } else if (name == "--read-ahead") {
      settings.read_ahead = need(membroker::parse_bytes(value));
    } else if (name == "--direct") {
      settings.direct = value == "on";
    } else if (name == "--io-uring") {
      settings.io_uring = value == "on";
    } else if (name == "--compression" && (value == "lz4" || value == "zstd" || value == "none")) {
      settings.compression = value == "lz4"    ? membroker::SpillCompression::kLz4
                             : value == "zstd" ? membroker::SpillCompression::kZstd
                                               : membroker::SpillCompression::kNone;
    } else {
      give_up("unknown argument " + std::string(name) + " " + value);
    }
  }
  if (argc % 2 == 0) give_up("an argument without its value");
  return settings;
}

Bytes page_cache_bytes() {
  std::ifstream meminfo("/proc/meminfo");
  std::string name;
  Bytes kib = 0;
  while (meminfo >> name >> kib) {
    if (name == "Cached:") return kib * membroker::kKiB;
    meminfo.ignore(64, '\n');
  }
  return 0;
}

membroker::Buffer random_batch(Bytes size, std::uint64_t seed) {
  auto buffer = need(membroker::allocate_buffer(size));
  std::mt19937_64 random(seed);
  for (Bytes at = 0; at + 8 <= size; at += 8) {
    const std::uint64_t word = random();
    std::memcpy(buffer.data() + at, &word, sizeof word);
  }
  return std::move(buffer).freeze();
}

void print_speed(const char* what, Bytes bytes, Clock::time_point since) {
  const double seconds = std::chrono::duration<double>(Clock::now() - since).count();
  std::printf("%s %.0f\n", what, static_cast<double>(bytes) / 1e6 / seconds);
}

// Writes everything, and prints how fast that was if it has a name.
membroker::SpillChannelEnds write_all(const char* name, const Settings& settings,
                                      const std::shared_ptr<membroker::SpillWorkspace>& workspace) {
  membroker::SpillOptions options;
  options.directories = need(membroker::SpillDirectories::open({settings.dir}));
  options.max_file_size = settings.max_file;
  options.read_ahead = settings.read_ahead;
  options.workspace = workspace;
  options.compression = settings.compression;
  if (!settings.direct) options.direct_io = membroker::SpillDirectIo::kOff;
  auto channel = need(membroker::spill_channel(options));
  std::vector<membroker::Buffer> samples;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    samples.push_back(random_batch(settings.batch, seed));
  }
  const Bytes batches = std::max<Bytes>(1, settings.bytes / settings.batch);
  const auto start = Clock::now();
  for (Bytes i = 0; i < batches; ++i) {
    need(channel.writer.push_batch({&samples[static_cast<std::size_t>(i % 8)], 1}));
  }
  need(channel.writer.finish());
  if (name != nullptr) print_speed(name, batches * settings.batch, start);
  return channel;
}

}  // namespace

int main(int argc, char** argv) {
  const Settings settings = read_arguments(argc, argv);
  auto workspace = need(membroker::SpillWorkspace::create({.io_uring = settings.io_uring}));
  const Bytes cached_before = page_cache_bytes();

  auto channel = write_all("spill_write", settings, workspace);
  std::vector<std::uint8_t> memory(static_cast<std::size_t>(settings.batch));
  auto start = Clock::now();
  Bytes read = 0;
  while (auto bytes = need(channel.reader.next_into(memory))) read += *bytes;
  print_speed("spill_read", read, start);
  const membroker::SpillStats stats = channel.reader.stats();
  if (read != stats.bytes_pushed) give_up("read back less than was written");

  channel = write_all(nullptr, settings, workspace);
  start = Clock::now();
  read = 0;
  while (auto batch = need(channel.reader.next())) read += batch->size();
  print_speed("spill_read_batches", read, start);

  const Bytes cached = page_cache_bytes() - cached_before;
  std::printf("spill_page_cache %.1f\n",
              static_cast<double>(cached) / static_cast<double>(membroker::kMiB));
  std::fprintf(stderr, "direct_io=%d io_uring=%d written=%lld\n", stats.direct_io ? 1 : 0,
               workspace->uses_io_uring() ? 1 : 0, static_cast<long long>(stats.bytes_written));
  return 0;
}
