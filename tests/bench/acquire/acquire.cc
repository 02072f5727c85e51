// bench_acquire acquire_hot|acquire_idle|revoke_slack [--quick]: what a lease costs through the
// daemon, against an empty gRPC echo over the same kind of socket. Ours and the peers alternate.

#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "shared/format.h"
#include "tests/bench/acquire/echo_client.h"
#include "tests/bench/acquire/lease_holder.h"
#include "tests/bench/acquire/server_process.h"
#include "tests/bench/figures.h"

namespace membroker::bench {
namespace {

constexpr const char* kTenant = "bench";
constexpr Bytes kCapacity = 64 * kGiB;  // accounted, not allocated
constexpr Bytes kAsked = 64 * kKiB;
constexpr std::size_t kBlock = 20;  // samples of one kind before the next kind's
constexpr auto kIdle = std::chrono::seconds(1);

// The daemon and the echo server, in processes of their own.
struct Servers {
  ScratchFolder folder;
  std::unique_ptr<ServerProcess> daemon;
  std::unique_ptr<ServerProcess> echo;

  std::string daemon_socket() const { return folder.path() + "/broker.sock"; }
  std::string echo_socket() const { return folder.path() + "/echo.sock"; }

  Status start(Bytes capacity) {
    const std::string config = folder.path() + "/membroker.toml";
    std::ofstream(config) << "runtime_directory = \"" << folder.path() << "\"\n"
                          << "state_directory = \"" << folder.path() << "\"\n"
                          << "[log]\nlevel = \"error\"\n"
                          << "[resources.ram]\ncapacity = " << capacity << "\n"
                          << "[[tenant]]\npath = \"" << kTenant << "\"\n";
    auto broker = ServerProcess::start("membrokerd", {"--config", config}, daemon_socket());
    if (!broker) return fail(broker.error());
    daemon = std::move(*broker);
    auto echoes = ServerProcess::start("bench_echo_server", {echo_socket()}, echo_socket());
    if (!echoes) return fail(echoes.error());
    echo = std::move(*echoes);
    return {};
  }
};

// A connected client, stopped at the end.
class Holder {
 public:
  static Result<Holder> connect(const Servers& servers, const char* name) {
    auto lease = LeaseHolder::connect(servers.daemon_socket(), kTenant, name);
    if (!lease) return fail(lease.error());
    return Holder(std::move(*lease));
  }
  Holder(Holder&&) = default;
  ~Holder() {
    if (lease_) lease_->stop();
  }
  LeaseHolder& lease() { return *lease_; }

 private:
  explicit Holder(std::shared_ptr<LeaseHolder> lease) : lease_(std::move(lease)) {}
  std::shared_ptr<LeaseHolder> lease_;  // shared with its link
};

// Times `action`; nothing if it failed.
template <class Action>
bool sample(std::vector<double>& samples, Action action) {
  const double begin = now_ns();
  if (!action()) return false;
  samples.push_back((now_ns() - begin) / 1000.0);
  return true;
}

void print_percentiles(const char* id, const std::string& suffix, const std::vector<double>& ours,
                       const std::vector<double>& peer, const char* peer_name) {
  for (const auto& [name, share] : {std::pair("p50", 0.5), std::pair("p99", 0.99)}) {
    const std::string case_name = name + suffix;
    print_figure(id, case_name, "us", "ours", percentile(ours, share));
    print_figure(id, case_name, "us", std::string("peer:") + peer_name, percentile(peer, share));
  }
}

Status acquire_hot(bool quick) {
  Servers servers;
  if (Status started = servers.start(kCapacity); !started) return started;
  Result<Holder> holder = Holder::connect(servers, "bench");
  if (!holder) return fail(holder.error());
  HandOffEcho hand_off(servers.echo_socket());
  PollingEcho polling(servers.echo_socket());
  const std::size_t wanted = quick ? 2'000 : 20'000;
  std::vector<double> ours;
  std::vector<double> handed;
  std::vector<double> polled;
  Status result;
  const auto acquire = [&] {
    result = holder->lease().acquire(kAsked);
    return result.has_value();
  };
  // The first blocks warm caches and connections up.
  for (std::size_t warm = 5; ours.size() < wanted; warm -= warm > 0 ? 1 : 0) {
    for (std::size_t i = 0; i < kBlock; ++i) {
      if (!sample(ours, acquire)) return result;
    }
    for (std::size_t i = 0; i < kBlock; ++i) {
      if (!sample(handed, [&] { return hand_off.round_trip(); })) break;
    }
    for (std::size_t i = 0; i < kBlock; ++i) {
      if (!sample(polled, [&] { return polling.round_trip(); })) break;
    }
    if (ours.size() != polled.size() || ours.size() != handed.size()) {
      return fail(ErrorCode::kUnavailable, "the echo server went away");
    }
    if (warm > 0) {
      ours.clear();
      handed.clear();
      polled.clear();
    }
  }
  print_percentiles("acquire_hot", ", hand-offs alike", ours, handed, "gRPC echo (a)");
  print_percentiles("acquire_hot", ", echo polling", ours, polled, "gRPC echo (b)");
  return {};
}

// Both are measured after the same second, in turn as the first and as the second.
Status acquire_idle(bool quick) {
  Servers servers;
  if (Status started = servers.start(kCapacity); !started) return started;
  Result<Holder> holder = Holder::connect(servers, "bench");
  if (!holder) return fail(holder.error());
  HandOffEcho echo(servers.echo_socket());
  const std::size_t wanted = quick ? 10 : 120;
  std::vector<double> ours;
  std::vector<double> peer;
  Status result;
  const auto measure_ours = [&] {
    return sample(ours, [&] {
      result = holder->lease().acquire(kAsked);
      return result.has_value();
    });
  };
  const auto measure_peer = [&] { return sample(peer, [&] { return echo.round_trip(); }); };
  while (ours.size() < wanted) {
    std::this_thread::sleep_for(kIdle);
    const bool ours_first = ours.size() % 2 == 0;
    const bool first = ours_first ? measure_ours() : measure_peer();
    const bool second = ours_first ? measure_peer() : measure_ours();
    if (!result) return result;
    if (!first || !second) return fail(ErrorCode::kUnavailable, "the echo server went away");
  }
  print_percentiles("acquire_idle", ", hand-offs alike", ours, peer, "gRPC echo (a)");
  return {};
}

Status revoke_slack(bool quick) {
  Servers servers;
  if (Status started = servers.start(kGiB); !started) return started;
  Result<Holder> idle_holder = Holder::connect(servers, "idle");
  if (!idle_holder) return fail(idle_holder.error());
  Result<Holder> asking_holder = Holder::connect(servers, "asking");
  if (!asking_holder) return fail(asking_holder.error());
  LeaseHolder& idle = idle_holder->lease();
  LeaseHolder& asking = asking_holder->lease();
  HandOffEcho echo(servers.echo_socket());
  const std::size_t wanted = quick ? 200 : 2'000;
  std::vector<double> ours;
  std::vector<double> peer;
  Status result;
  // The arbiter's chunk, so that each revocation frees what one acquire takes.
  constexpr Bytes kTaken = 4 * kMiB;
  while (ours.size() < wanted) {
    if (result = asking.give_all(); !result) return result;
    const Bytes free = kGiB - idle.held() - asking.held();
    if (result = idle.acquire(free); !result) return result;
    // Up to half of all: beyond its share the asker would be told to spill instead.
    while (asking.held() + kTaken <= kGiB / 2 && ours.size() < wanted) {
      const bool granted = sample(ours, [&] {
        result = asking.acquire(kTaken);
        return result.has_value();
      });
      if (!granted) return result;
      const auto twice = [&] { return echo.round_trip() && echo.round_trip(); };
      if (!sample(peer, twice)) return fail(ErrorCode::kUnavailable, "the echo server went away");
    }
  }
  print_percentiles("revoke_slack", "", ours, peer, "two gRPC echoes (a)");
  return {};
}

int run(const char* id, bool quick) {
  Status (*bench)(bool) = nullptr;
  if (std::strcmp(id, "acquire_hot") == 0) bench = acquire_hot;
  if (std::strcmp(id, "acquire_idle") == 0) bench = acquire_idle;
  if (std::strcmp(id, "revoke_slack") == 0) bench = revoke_slack;
  if (bench == nullptr) {
    std::fprintf(stderr, "bench_acquire: no row \"%s\"\n", id);
    return 2;
  }
  const Status status = bench(quick);
  if (!status && status.error().code() == ErrorCode::kNotFound) {
    print_skipped(id, status.error().message());
    return 0;
  }
  if (!status) std::fprintf(stderr, "bench_acquire: %s\n", status.error().message().c_str());
  return status ? 0 : 1;
}

}  // namespace
}  // namespace membroker::bench

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: bench_acquire acquire_hot|acquire_idle|revoke_slack [--quick]\n");
    return 2;
  }
  return membroker::bench::run(argv[1], argc > 2 && std::strcmp(argv[2], "--quick") == 0);
}
