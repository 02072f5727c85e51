#pragma once

#include <cstdint>
#include <queue>
#include <string>
#include <vector>

#include "server/arbiter/arbiter.h"
#include "tests/sim/monitor.h"
#include "tests/sim/rng.h"

/// \file
/// A seeded world around one arbiter: a random tree of tenants, clients of every kind of manners,
/// an operator who changes things, and virtual time. Each event is watched by a Monitor.

namespace membroker::sim {

struct WorldOptions {
  std::uint64_t seed = 1;
  std::uint64_t events = 100'000;
  int clients = 64;
  Bytes capacity = kGiB;
  bool only_honest = false;  // no client misbehaves, nothing is reconfigured
  bool drains = false;       // for the last tenth of its events
  arbiter::PolicyKind policy = arbiter::PolicyKind::kFair;
};

enum class Manners { kHonest, kIgnoring, kLying, kHalf, kOverdrawing, kCareless };

/// A policy of any kind that a tenant of such a resource can have.
arbiter::TenantPolicy random_policy(Rng& rng, Bytes capacity);
/// Paths of a random tree, parents first.
std::vector<std::string> random_tenants(Rng& rng);

class World {
 public:
  explicit World(const WorldOptions& options);

  /// Runs to the end; returns the first thing that is wrong, with the seed and the event, or
  /// nothing.
  std::string run();

  const Tally& tally() const { return monitor_.tally(); }
  Instant now() const { return now_; }
  Bytes capacity() const { return arbiter_.capacity(); }

  /// Every event that was applied, for replays: with its time; an empty one is a passing of time.
  struct Recorded {
    Instant at;
    bool tick = false;
    arbiter::Event event;
  };
  void record_to(std::vector<Recorded>* recording) { recording_ = recording; }

 private:
  enum class Act { kThink, kAnswer, kResume, kOpen };
  struct Planned {
    Instant at;
    std::uint64_t order = 0;
    int client = 0;
    Act act = Act::kThink;
    std::uint64_t life = 0;  // of the client when it was planned; another one's is void
    bool operator>(const Planned& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };
  struct Client {
    SessionId session;
    int tenant = 0;
    Manners manners = Manners::kHonest;
    bool open = false;
    bool stopped = false;
    Bytes used = 0;        // of what it holds
    int spillable = 1000;  // of what it uses, per mille
    Bytes spill_rate = 200 * kMiB;
    Bytes asked = 0;  // by the open revocation
    arbiter::Stage stage = arbiter::Stage::kSlack;
    bool answering = false;
    std::uint64_t life = 0;
    std::uint64_t requests = 0;
    std::vector<RequestId> waits;
  };

  void make_tenants();
  void plan(int client, Act act, Millis in);
  void act(const Planned& planned);
  bool step(const arbiter::Event* event);
  void apply(const arbiter::Event& event) { step(&event); }
  void hear(const arbiter::Effects& effects);
  void hear(const arbiter::Effect& effect);
  Client* client_of(SessionId session);
  int index_of(const Client& client) const;

  void open(Client& client);
  void think(Client& client);
  void ask_for_memory(Client& client);
  void give_back(Client& client);
  void report(Client& client);
  void overdraw(Client& client);
  void crash(Client& client);
  void stop(Client& client);
  void resume(Client& client);
  void misbehave(Client& client);
  void answer(Client& client);
  void answer_honestly(Client& client);
  void progress(Client& client, arbiter::ProgressState state);
  void operate();
  void operate_on_tenant();
  void end();

  Bytes held(const Client& client) const { return monitor_.held(client.session); }
  Bytes slack(const Client& client) const;
  Bytes reclaimable(const Client& client) const;
  Bytes random_size(Bytes most);

  WorldOptions options_;
  Rng rng_;
  arbiter::Arbiter arbiter_;
  Monitor monitor_;
  Instant now_;
  std::vector<Client> clients_;
  std::vector<std::string> tenants_;
  std::priority_queue<Planned, std::vector<Planned>, std::greater<>> agenda_;
  std::vector<SessionId> orphans_;
  std::vector<std::string> removed_;
  std::uint64_t planned_ = 0;
  std::uint64_t sessions_ = 0;
  std::string wrong_;
  std::vector<Recorded>* recording_ = nullptr;
};

}  // namespace membroker::sim
