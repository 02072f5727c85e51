#include "tests/sim/steady_world.h"

#include <algorithm>
#include <functional>
#include <variant>

#include "shared/format.h"
#include "tests/sim/fair_share.h"
#include "tests/sim/world.h"

namespace membroker::sim {

namespace {

using namespace membroker::arbiter;  // NOLINT: one function for each of its events

class SteadyWorld {
 public:
  explicit SteadyWorld(const SteadyOptions& options)
      : options_(options), rng_(options.seed), arbiter_(options.capacity) {}

  SteadyResult run();

 private:
  struct Client {
    SessionId session;
    Bytes demand = 0;
    Bytes spill_rate = 0;
    bool waits = false;
    std::uint64_t requests = 0;
  };
  struct Wake {
    Instant at;
    std::uint64_t order = 0;
    std::size_t client = 0;
    bool answers = false;
    bool operator>(const Wake& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };

  void set_up();
  void wake(std::size_t client, bool answers, Millis in) {
    agenda_.push({now_ + in, ++wakes_, client, answers});
  }
  void step(const Event* event);
  void hear(const Effect& effect);
  void ask(std::size_t index);
  void answer(std::size_t index);
  void judge();

  SteadyOptions options_;
  Rng rng_;
  Arbiter arbiter_;
  Instant now_;
  std::vector<Client> clients_;
  std::priority_queue<Wake, std::vector<Wake>, std::greater<>> agenda_;
  std::uint64_t wakes_ = 0;
  SteadyResult result_;
};

void SteadyWorld::set_up() {
  std::vector<std::string> tenants = random_tenants(rng_);
  for (const std::string& tenant : tenants) {
    const Event event = SetTenant{tenant, random_policy(rng_, options_.capacity)};
    step(&event);
  }
  for (int i = 0; i < options_.clients; ++i) {
    Client client;
    client.session = SessionId{static_cast<std::uint64_t>(i) + 1};
    client.demand = rng_.between(1, 3 * options_.capacity / options_.clients);
    client.spill_rate = rng_.between(100, 2'000) * kMiB;
    clients_.push_back(client);
    const auto tenant = static_cast<std::size_t>(rng_.between(0, std::ssize(tenants) - 1));
    const Event event = Open{client.session, strf("c%d", i), tenants[tenant], 0, 0, false};
    step(&event);
    wake(clients_.size() - 1, false, rng_.between(0, 5'000));
  }
}

void SteadyWorld::step(const Event* event) {
  Effects effects;
  if (event != nullptr) {
    arbiter_.apply(now_, *event, effects);
  } else {
    arbiter_.expire(now_, effects);
  }
  for (const Effect& effect : effects) hear(effect);
}

void SteadyWorld::hear(const Effect& effect) {
  if (const auto* granted = std::get_if<Granted>(&effect)) {
    const std::size_t index = granted->session.value - 1;
    clients_[index].waits = false;
    wake(index, false, 1);
  } else if (const auto* denied = std::get_if<Denied>(&effect)) {
    const std::size_t index = denied->session.value - 1;
    clients_[index].waits = false;
    wake(index, false, rng_.between(100, 1'000));
  } else if (const auto* revoke = std::get_if<Revoke>(&effect)) {
    if (revoke->opened) ++result_.revocations;
    const std::size_t index = revoke->session.value - 1;
    wake(index, true, 1 + revoke->bytes * 1000 / clients_[index].spill_rate);
  } else if (std::holds_alternative<Overdue>(effect)) {
    ++result_.overdue;
  }
}

void SteadyWorld::ask(std::size_t index) {
  Client& client = clients_[index];
  const Bytes held = arbiter_.lease(client.session)->held;
  const Event report = Report{client.session, 0, held};
  step(&report);
  if (client.waits || held >= client.demand) return;
  Acquire acquire;
  acquire.session = client.session;
  acquire.request = RequestId{++client.requests};
  acquire.want = std::min(client.demand - held, 16 * arbiter_.chunk());
  acquire.min = std::min(acquire.want, arbiter_.chunk() / 8);
  acquire.wait = 5'000;
  client.waits = true;
  const Event event = acquire;
  step(&event);
}

void SteadyWorld::answer(std::size_t index) {
  const SessionId session = clients_[index].session;
  const Bytes asked = arbiter_.lease(session)->revoking;
  if (asked == 0) return;
  const Event release = Release{session, asked};
  step(&release);
  const auto lease = arbiter_.lease(session);
  const Event done = Progress{session, true, ProgressState::kDone, 0, lease->held};
  step(&done);
  wake(index, false, 1);
}

void SteadyWorld::judge() {
  Accounts accounts(arbiter_);
  for (const Client& client : clients_) {
    const int lease = accounts.lease(client.session);
    const Bytes lacks = std::max(Bytes{0}, client.demand - accounts.node(lease).held);
    accounts.add(lease, {.waiting = lacks - accounts.node(lease).waiting});
    result_.demand += client.demand;
  }
  result_.held = arbiter_.root().held;
  const FairShares shares(accounts);
  for (const auto& [session, lease] : accounts.leases()) {
    const Bytes held = accounts.node(lease).held;
    if (held >= shares.of(lease) - 2 * arbiter_.chunk()) continue;
    result_.wrong = strf("--seed=%llu: session %llu holds %s of its fair share of %s",
                         static_cast<unsigned long long>(options_.seed),
                         static_cast<unsigned long long>(session.value), format_bytes(held).c_str(),
                         format_bytes(shares.of(lease)).c_str());
  }
}

SteadyResult SteadyWorld::run() {
  set_up();
  while (now_.ms < options_.run_for) {
    const Instant deadline = arbiter_.next_deadline();
    if (!agenda_.empty() && agenda_.top().at < deadline) {
      const Wake due = agenda_.top();
      agenda_.pop();
      now_ = due.at;
      due.answers ? answer(due.client) : ask(due.client);
    } else if (deadline < Instant::never()) {
      now_ = deadline;
      step(nullptr);
    } else {
      break;
    }
  }
  judge();
  return result_;
}

}  // namespace

SteadyResult run_steady(const SteadyOptions& options) { return SteadyWorld(options).run(); }

}  // namespace membroker::sim
