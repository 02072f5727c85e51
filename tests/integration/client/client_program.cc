/// What a test needs a process of its own for.

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

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

membroker::MemoryReservation& leaked(membroker::Client& client,
                                     membroker::MemoryConsumer consumer) {
  return *new membroker::MemoryReservation(consumer.register_with(client.pool()));
}

/// Returns from main with a session up and bytes held, nothing closed or destroyed.
int leak(membroker::Client& client) {
  auto& reservation = leaked(client, membroker::MemoryConsumer("leak"));
  return reservation.acquire(20 * kMiB, 20 * kMiB, 10s) ? 0 : 1;
}

int hold(membroker::Client& client) {
  const int code = leak(client);
  while (::pause() != 0) {
  }
  return code;
}

bool waits(const membroker::Client& client) {
  const auto stats = client.stats();
  return stats.state == membroker::ConnectionState::kAttached &&
         stats.resources.front().requests_asked >= 2;
}

/// Ends once `ready`, whatever goes on in other threads. 3: that never came.
template <class Ready>
int end_when(Ready ready) {
  const auto end = std::chrono::steady_clock::now() + 10s;
  while (!ready()) {
    if (std::chrono::steady_clock::now() > end) return 3;
    std::this_thread::yield();
  }
  return 0;
}

/// Returns from main while the connection is being made, or tried again and again.
int end_connecting(membroker::Client& client) {
  std::thread([&client] { static_cast<void>(client.wait_connected(60s)); }).detach();
  return end_when([&client] {
    const auto state = client.stats().state;
    return state == membroker::ConnectionState::kConnecting ||
           state == membroker::ConnectionState::kAway;
  });
}

/// Returns from main while one thread and one call-back wait for bytes that others hold.
int end_waiting(membroker::Client& client) {
  auto& blocking = leaked(client, membroker::MemoryConsumer("blocking"));
  auto& async = leaked(client, membroker::MemoryConsumer("async"));
  std::thread([&blocking] {
    static_cast<void>(blocking.acquire(30 * kMiB, 30 * kMiB, 60s));
  }).detach();
  new membroker::AcquireTicket(async.acquire_async(30 * kMiB, 30 * kMiB, 60s, [](auto) {}));
  return end_when([&client] { return waits(client); });
}

/// Returns from main while a spill call-back is at work, which does not come back.
int end_spilling(membroker::Client& client) {
  static std::atomic<bool> spilling{false};
  auto& reservation = leaked(client, membroker::MemoryConsumer("spiller").with_spill(
                                         [](const membroker::SpillRequest&) -> std::int64_t {
                                           spilling = true;
                                           while (::pause() != 0) {
                                           }
                                           return 0;
                                         }));
  if (!reservation.acquire(50 * kMiB, 50 * kMiB, 10s)) return 1;
  return end_when([] { return spilling.load(); });
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
  if (mode == "reserve") return reserve(*client);
  if (mode == "end-connecting") return end_connecting(*client);
  if (mode == "end-waiting") return end_waiting(*client);
  if (mode == "end-spilling") return end_spilling(*client);
  return 64;
}
