#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "membroker/client.h"
#include "membroker/memory_pool.h"
#include "tests/integration/daemon_process.h"

namespace membroker::testing {

inline constexpr std::int64_t kMiB = std::int64_t{1} << 20;

/// 64 MiB between the tenants "a" and "b"; "nobody" is for a user that does not exist. Heartbeats
/// are quick, so that a stopped daemon or client is missed after a second.
inline const char* const kClientTestConfig =
    "[times]\nshutdown_grace = \"1s\"\nheartbeat_interval = \"100ms\"\nsession_ttl = \"1s\"\n"
    "[log]\nlevel = \"debug\"\n"
    "[resources.ram]\ncapacity = \"64MiB\"\nfloor_max = \"4MiB\"\n"
    "[[tenant]]\npath = \"a\"\n[[tenant]]\npath = \"b\"\n"
    "[[tenant]]\npath = \"nobody\"\nuids = [54321]\n";

/// A consumer that gives back what it is asked for, as if it had spilled.
class Spillable {
 public:
  Spillable(const std::shared_ptr<MemoryPool>& pool, const std::string& name) {
    reservation_ = MemoryConsumer(name)
                       .with_spill([this](const SpillRequest& request) { return spill(request); })
                       .register_with(pool);
  }
  MemoryReservation& operator*() { return reservation_; }
  MemoryReservation* operator->() { return &reservation_; }
  int spills() const { return spills_; }
  std::thread::id thread() const { return thread_; }

 private:
  std::int64_t spill(const SpillRequest& request) {
    ++spills_;
    thread_ = std::this_thread::get_id();
    const std::int64_t bytes = std::min(request.bytes, reservation_.size());
    return reservation_.shrink(bytes) ? bytes : 0;
  }

  MemoryReservation reservation_;
  std::atomic<int> spills_{0};
  std::atomic<std::thread::id> thread_{};
};

class ClientTest : public ::testing::Test {
 protected:
  ClientTest() : daemon_(MEMBROKERD, kClientTestConfig) {}

  ClientOptions options(const std::string& tenant = "a") const {
    return {.tenant = tenant,
            .socket = daemon_.broker_socket(),
            .client_name = "test",
            .resources = {{.floor_bytes = 4 * kMiB}}};
  }
  Client open(const std::string& tenant = "a") const { return *Client::open(options(tenant)); }
  /// Bytes that nobody can spill.
  static MemoryReservation reserved(Client& client, const std::string& name, std::int64_t bytes) {
    auto reservation = MemoryConsumer(name).register_with(client.pool());
    const auto granted = reservation.acquire(bytes, bytes, kWaitMax);
    EXPECT_TRUE(granted) << granted.error().message();
    return reservation;
  }
  static ResourceStats ram(const Client& client) { return client.stats().resources.front(); }
  static bool becomes(const Client& client, ConnectionState state) {
    return comes_true([&] { return client.stats().state == state; });
  }
  static std::size_t count(const std::string& text, const std::string& part) {
    std::size_t found = 0;
    for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
    return found;
  }

  DaemonProcess daemon_;
};

}  // namespace membroker::testing
