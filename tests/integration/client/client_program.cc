/// What a test needs a process of its own for.

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <string>

#include "membroker/client.h"
#include "membroker/memory_pool.h"

using namespace std::chrono_literals;

/// These programs end without joining what the library runs or freeing what it holds: that is what
/// is tested.
extern "C" const char* __tsan_default_options() { return "report_thread_leaks=0"; }
extern "C" int __lsan_is_turned_off() { return 1; }

namespace {

constexpr std::int64_t kMiB = std::int64_t{1} << 20;

int reserve(membroker::Client& client) {
  auto reservation = membroker::MemoryConsumer("program").register_with(client.pool());
  return reservation.acquire(20 * kMiB, 20 * kMiB, 10s) ? 0 : 1;
}

/// Opened before the fork, used by both after it.
int fork_first(membroker::Client& client) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(reserve(client));
  int status = -1;
  ::waitpid(child, &status, 0);
  return status == 0 ? reserve(client) : 2;
}

/// Returns from main with a session up and bytes held, nothing closed or destroyed.
int leak(membroker::Client& client) {
  auto* const reservation = new membroker::MemoryReservation(
      membroker::MemoryConsumer("leak").register_with(client.pool()));
  return reservation->acquire(20 * kMiB, 20 * kMiB, 10s) ? 0 : 1;
}

int hold(membroker::Client& client) {
  const int code = leak(client);
  while (::pause() != 0) {
  }
  return code;
}

}  // namespace

int main(int count, char** words) {
  if (count != 3) return 64;
  const std::string mode = words[1];
  auto* const client = new membroker::Client(
      *membroker::Client::open({.tenant = "a", .socket = words[2], .client_name = mode}));
  if (mode == "fork-first") return fork_first(*client);
  if (mode == "leak") return leak(*client);
  if (mode == "hold") return hold(*client);
  return 64;
}
