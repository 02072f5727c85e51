// bench_acquire acquire_hot|acquire_idle|acquire_16c|revoke_slack|session_memory [--quick]: what a
// lease and a session cost through the daemon, against an empty gRPC echo over the same kind of
// socket. Ours and the peers alternate.

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
#include "tests/bench/acquire/worker.h"
#include "tests/bench/figures.h"
#include "tests/kit/temporary_folder.h"

namespace membroker::bench {
namespace {

constexpr const char* kTenant = "bench";
constexpr Bytes kCapacity = 64 * kGiB;  // accounted, not allocated
constexpr Bytes kAsked = 64 * kKiB;
constexpr Bytes kTaken = 4 * kMiB;    // revoke_slack: a chunk, so that a revocation frees one grant
constexpr std::uint32_t kBlock = 20;  // samples of one kind before the next kind's
constexpr std::size_t kWarmBlocks = 5;
constexpr auto kIdle = std::chrono::seconds(1);
constexpr std::size_t kManyClients = 16;
constexpr auto kSettle = std::chrono::seconds(2);  // session_memory: some heartbeats

// The daemon and the echo server, in processes of their own.
struct Servers {
  const testing::TemporaryFolder folder;
  std::unique_ptr<ServerProcess> daemon;
  std::unique_ptr<ServerProcess> echo;

  std::string daemon_socket() const { return folder.path("broker.sock"); }
  std::string echo_socket() const { return folder.path("echo.sock"); }

  Status start(Bytes capacity) {
    const std::string config = folder.path("membroker.toml");
    std::ofstream(config) << "runtime_directory = \"" << folder.root() << "\"\n"
                          << "state_directory = \"" << folder.root() << "\"\n"
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

// Times `action` as often as asked.
template <class Action>
Result<std::vector<double>> sample(std::uint32_t count, Action action) {
  std::vector<double> samples;
  for (std::uint32_t i = 0; i < count; ++i) {
    const double begin = now_ns();
    if (Status done = action(); !done) return fail(done.error());
    samples.push_back((now_ns() - begin) / 1000.0);
  }
  return samples;
}

// The clients, each in a process of its own.
Result<std::unique_ptr<Worker>> start_holder(const Servers& servers, const char* name) {
  return Worker::start([&]() -> Result<WorkerFunction> {
    auto lease = LeaseHolder::connect(servers.daemon_socket(), kTenant, name);
    if (!lease) return fail(lease.error());
    const std::shared_ptr<LeaseHolder> holder = *lease;  // shared with its link
    return [holder](const WorkerRequest& request) -> Result<std::vector<double>> {
      switch (request.operation) {
        case WorkerRequest::Operation::kSample:
          return sample(request.count, [&] { return holder->acquire(request.bytes); });
        case WorkerRequest::Operation::kGiveAll:
          if (Status given = holder->give_all(); !given) return fail(given.error());
          break;
        case WorkerRequest::Operation::kHeld: break;
      }
      return std::vector<double>{static_cast<double>(holder->held())};
    };
  });
}

template <class Echo>
Result<std::unique_ptr<Worker>> start_echo(const Servers& servers, int round_trips) {
  return Worker::start([&]() -> Result<WorkerFunction> {
    // Shared only because std::function is copied.
    const auto echo = std::make_shared<Echo>(servers.echo_socket());
    return [echo, round_trips](const WorkerRequest& request) {
      return sample(request.count, [&]() -> Status {
        for (int i = 0; i < round_trips; ++i) {
          if (!echo->round_trip()) return fail(ErrorCode::kUnavailable, "the echo broke");
        }
        return {};
      });
    };
  });
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
  auto holder = start_holder(servers, "bench");
  auto hand_off = start_echo<HandOffEcho>(servers, 1);
  auto polling = start_echo<PollingEcho>(servers, 1);
  for (const auto* worker : {&holder, &hand_off, &polling}) {
    if (!*worker) return fail(worker->error());
  }
  const std::size_t wanted = quick ? 2'000 : 20'000;
  std::vector<double> ours;
  std::vector<double> handed;
  std::vector<double> polled;
  for (std::size_t block = 0; ours.size() < wanted; ++block) {
    if (Status done = (*holder)->sample(kBlock, kAsked, ours); !done) return done;
    if (Status done = (*hand_off)->sample(kBlock, 0, handed); !done) return done;
    if (Status done = (*polling)->sample(kBlock, 0, polled); !done) return done;
    if (block >= kWarmBlocks) continue;
    for (auto* samples : {&ours, &handed, &polled}) samples->clear();
  }
  print_percentiles("acquire_hot", ", hand-offs alike", ours, handed, "gRPC echo (a)");
  print_percentiles("acquire_hot", ", echo polling", ours, polled, "gRPC echo (b)");
  return {};
}

// Both are measured after the same second, in turn as the first and as the second.
Status acquire_idle(bool quick) {
  Servers servers;
  if (Status started = servers.start(kCapacity); !started) return started;
  auto holder = start_holder(servers, "bench");
  auto echo = start_echo<HandOffEcho>(servers, 1);
  for (const auto* worker : {&holder, &echo}) {
    if (!*worker) return fail(worker->error());
  }
  const std::size_t wanted = quick ? 10 : 120;
  std::vector<double> ours;
  std::vector<double> peer;
  const auto measure_ours = [&] { return (*holder)->sample(1, kAsked, ours); };
  const auto measure_peer = [&] { return (*echo)->sample(1, 0, peer); };
  while (ours.size() < wanted) {
    std::this_thread::sleep_for(kIdle);
    const bool ours_first = ours.size() % 2 == 0;
    if (Status first = ours_first ? measure_ours() : measure_peer(); !first) return first;
    if (Status second = ours_first ? measure_peer() : measure_ours(); !second) return second;
  }
  print_percentiles("acquire_idle", ", hand-offs alike", ours, peer, "gRPC echo (a)");
  return {};
}

Result<Bytes> ask_bytes(Worker& worker, WorkerRequest::Operation operation) {
  const auto answer = worker.ask({operation, 1, 0});
  if (!answer) return fail(answer.error());
  return static_cast<Bytes>(answer->at(0));
}

// One client holds all as slack, the other takes a part of it each time, up to half of all: beyond
// its share it would be told to spill instead. Then the whole again.
Status revoke_slack(bool quick) {
  Servers servers;
  if (Status started = servers.start(kGiB); !started) return started;
  auto idle = start_holder(servers, "idle");
  auto asking = start_holder(servers, "asking");
  auto echo = start_echo<HandOffEcho>(servers, 2);
  for (const auto* worker : {&idle, &asking, &echo}) {
    if (!*worker) return fail(worker->error());
  }
  const std::size_t wanted = quick ? 200 : 2'000;
  std::vector<double> ours;
  std::vector<double> peer;
  std::vector<double> filling;
  while (ours.size() < wanted) {
    auto asked = ask_bytes(**asking, WorkerRequest::Operation::kGiveAll);
    if (!asked) return fail(asked.error());
    const auto held = ask_bytes(**idle, WorkerRequest::Operation::kHeld);
    if (!held) return fail(held.error());
    const Bytes free = kGiB - *held - *asked;
    if (Status filled = (*idle)->sample(1, free, filling); !filled) return filled;
    for (Bytes taken = *asked; taken + kTaken <= kGiB / 2 && ours.size() < wanted;
         taken += kTaken) {
      if (Status done = (*asking)->sample(1, kTaken, ours); !done) return done;
      if (Status done = (*echo)->sample(1, 0, peer); !done) return done;
    }
  }
  print_percentiles("revoke_slack", "", ours, peer, "two gRPC echoes (a)");
  return {};
}

// Round trips per second of all together, each making `count`.
Result<double> rate_of(const std::vector<std::unique_ptr<Worker>>& clients, std::uint32_t count) {
  std::vector<Status> results(clients.size());
  std::vector<std::thread> threads;
  const double begin = now_ns();
  for (std::size_t i = 0; i < clients.size(); ++i) {
    threads.emplace_back([&, i] {
      std::vector<double> samples;
      results[i] = clients[i]->sample(count, kAsked, samples);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double seconds = (now_ns() - begin) / 1e9;
  for (const Status& result : results) {
    if (!result) return fail(result.error());
  }
  return static_cast<double>(clients.size()) * count / seconds;
}

Status acquire_16c(bool quick) {
  Servers servers;
  if (Status started = servers.start(kCapacity); !started) return started;
  std::vector<std::unique_ptr<Worker>> holders;
  std::vector<std::unique_ptr<Worker>> echoes;
  for (std::size_t i = 0; i < kManyClients; ++i) {
    auto holder = start_holder(servers, "bench");
    auto echo = start_echo<HandOffEcho>(servers, 1);
    if (!holder) return fail(holder.error());
    if (!echo) return fail(echo.error());
    holders.push_back(std::move(*holder));
    echoes.push_back(std::move(*echo));
  }
  const std::uint32_t count = quick ? 200 : 1'000;
  std::vector<double> ours;
  std::vector<double> peer;
  for (int block = 0; block < 6; ++block) {
    const auto mine = rate_of(holders, count);
    if (!mine) return fail(mine.error());
    const auto echoed = rate_of(echoes, count);
    if (!echoed) return fail(echoed.error());
    if (block == 0) continue;  // warms up
    ours.push_back(*mine);
    peer.push_back(*echoed);
  }
  print_figure("acquire_16c", "16 clients", "1/s", "ours", percentile(ours, 0.5));
  print_figure("acquire_16c", "16 clients", "1/s", "peer:gRPC echo (a)", percentile(peer, 0.5));
  return {};
}

// The clients of one process, which answers no requests: they only stay.
template <class Connect>
Result<std::unique_ptr<Worker>> start_crowd(std::size_t count, Connect connect) {
  return Worker::start([&]() -> Result<WorkerFunction> {
    using Client = typename decltype(connect())::value_type;
    const auto crowd = std::make_shared<std::vector<Client>>();
    for (std::size_t i = 0; i < count; ++i) {
      auto client = connect();
      if (!client) return fail(client.error());
      crowd->push_back(std::move(*client));
    }
    return [crowd](const WorkerRequest&) { return std::vector<double>(); };
  });
}

Status session_memory(bool quick) {
  Servers servers;
  if (Status started = servers.start(kCapacity); !started) return started;
  const auto attach = [&] {
    return LeaseHolder::connect(servers.daemon_socket(), kTenant, "bench");
  };
  const auto call = [&]() -> Result<std::shared_ptr<PollingEcho>> {
    auto echo = std::make_shared<PollingEcho>(servers.echo_socket());
    if (!echo->round_trip()) return fail(ErrorCode::kUnavailable, "the echo broke");
    return echo;
  };
  std::vector<std::unique_ptr<Worker>> crowds;
  const std::size_t wanted = quick ? 50 : 200;
  double before_ours = 0;
  double before_peer = 0;
  for (const std::size_t count : {std::size_t{10}, wanted}) {  // the first bear what is once only
    before_ours = static_cast<double>(servers.daemon->anonymous_bytes());
    before_peer = static_cast<double>(servers.echo->anonymous_bytes());
    auto sessions = start_crowd(count, attach);
    if (!sessions) return fail(sessions.error());
    auto streams = start_crowd(count, call);
    if (!streams) return fail(streams.error());
    crowds.push_back(std::move(*sessions));
    crowds.push_back(std::move(*streams));
    std::this_thread::sleep_for(kSettle);
  }
  const double each = static_cast<double>(wanted) * static_cast<double>(kKiB);
  print_figure("session_memory", "idle session", "KiB", "ours",
               (static_cast<double>(servers.daemon->anonymous_bytes()) - before_ours) / each);
  print_figure("session_memory", "idle session", "KiB", "peer:gRPC stream",
               (static_cast<double>(servers.echo->anonymous_bytes()) - before_peer) / each);
  return {};
}

int run(const char* id, bool quick) {
  Status (*bench)(bool) = nullptr;
  if (std::strcmp(id, "acquire_hot") == 0) bench = acquire_hot;
  if (std::strcmp(id, "acquire_idle") == 0) bench = acquire_idle;
  if (std::strcmp(id, "acquire_16c") == 0) bench = acquire_16c;
  if (std::strcmp(id, "revoke_slack") == 0) bench = revoke_slack;
  if (std::strcmp(id, "session_memory") == 0) bench = session_memory;
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
    std::fprintf(stderr, "usage: bench_acquire ROW [--quick]\n");
    return 2;
  }
  return membroker::bench::run(argv[1], argc > 2 && std::strcmp(argv[2], "--quick") == 0);
}
