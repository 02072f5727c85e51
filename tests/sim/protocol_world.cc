#include "tests/sim/protocol_world.h"

#include <algorithm>

#include "shared/check.h"
#include "shared/format.h"

namespace membroker::sim {
namespace {

constexpr Bytes kCapacity = 512 * kMiB;
constexpr Bytes kFloor = kMiB;
constexpr std::size_t kSlots = 256;

broker::BrokerConfig config() {
  broker::BrokerConfig config;
  config.resources = {{"ram", kCapacity, 16 * kMiB}, {"gpu", kCapacity / 4, 16 * kMiB}};
  for (const auto& [path, weight, guarantee] :
       {std::tuple<const char*, int, Bytes>{"a", 1, 0}, {"b", 2, 128 * kMiB}, {"c", 4, 0}}) {
    broker::TenantConfig tenant;
    tenant.path = path;
    tenant.policies["ram"].weight = weight;
    tenant.policies["ram"].guarantee = guarantee;
    config.tenants.push_back(tenant);
  }
  return config;
}

bool operator==(const ModelLease& lease, const lease::LeaseTotals& totals) {
  return lease.totals() == totals;
}

}  // namespace

World::World(WorldOptions options, std::string ledger_path)
    : options_(options), ledger_path_(std::move(ledger_path)), dice_(options.seed) {
  clients_.resize(static_cast<std::size_t>(options_.clients));
  incarnations_.resize(clients_.size());
}

std::string World::run() {
  start_broker();
  for (std::size_t i = 0; i < clients_.size(); ++i) spawn(i);
  for (; step_ < static_cast<std::uint64_t>(options_.steps) && wrong_.empty(); ++step_) {
    const Instant broker_due = broker_ ? broker_->next_deadline() : Instant::never();
    if (broker_due <= events_.top().at) {
      now_ = std::max(now_, broker_due);
      broker_->expire(now_);
      static_cast<void>(broker_->take_snapshot(now_));
      broker_pump();
    } else {
      const Event event = events_.top();
      events_.pop();
      now_ = std::max(now_, event.at);
      event.run();
    }
    if (options_.faults && dice_.between(1, 100) == 1) some_fault();
    check();
  }
  for (const SimClient& client : clients_) {
    for (const auto& lease : client.leases) {
      counts_.grants += lease->grants;
      counts_.denials += lease->denials;
      counts_.revocations += lease->revocations;
      counts_.answered += lease->answered;
    }
  }
  return wrong_;
}

void World::after(Millis delay, std::function<void()> run) {
  events_.push({now_ + delay, ++last_event_, std::move(run)});
}

void World::wrong(const std::string& what) {
  if (wrong_.empty()) {
    wrong_ = strf("seed=%llu step=%llu: ", static_cast<unsigned long long>(options_.seed),
                  static_cast<unsigned long long>(step_)) +
             what;
  }
}

// ---- the broker ----

void World::start_broker() {
  auto ledger = broker::Ledger::open(ledger_path_, kSlots, epoch_ > 100);
  if (!ledger) return wrong(ledger.error().message());
  ledger_ = std::make_unique<broker::Ledger>(std::move(*ledger));
  if (ledger_->lost()) wrong("the ledger was lost");
  const auto watch = [this](const broker::Peer& peer) -> Status {
    for (const SimClient& client : clients_) {
      if (client.alive && client.peer == peer) return {};
    }
    return fail(ErrorCode::kNotFound, "the process has ended");
  };
  broker_ = std::make_unique<broker::Broker>(config(), Epoch{++epoch_}, *ledger_, watch, now_);
  // What of the record was debt is not in it: a restart may begin above the capacity, and only
  // sink.
  for (const broker::ResourceRow& resource : broker_->snapshot().resources) {
    most_lent_[resource.name] = std::max(resource.capacity, resource.root.held);
  }
  broker_pump();
}

/// SIGKILL between any two steps: what was composed may be on its way, the rest is the ledger.
void World::kill_broker() {
  if (!broker_) return;
  ++counts_.broker_kills;
  broker_.reset();
  ledger_.reset();
  for (auto& [id, connection] : connections_) {
    if (connection.broker_gone) continue;
    connection.broker_gone = true;
    // Frames on their way down arrive until the cut, the end of the stream right after it.
    after(dice_.between(0, 10), [this, id = id] {
      connections_[id].down_last = Instant::never();
      client_heard_end(id, {{id}, broker::EndCode::kUnavailable, "killed"});
    });
  }
  after(dice_.between(0, 3'000), [this] { start_broker(); });
}

void World::broker_pump() {
  for (const broker::ConnectionId id : broker_->take_ready()) {
    v1::ServerFrame frame;
    while (broker_->compose(id, now_, &frame)) {
      send_down(id.value, frame);
      frame.Clear();
    }
  }
  for (const broker::StreamEnd& end : broker_->take_ended()) {
    const std::uint64_t id = end.connection.value;
    const Connection& connection = connections_[id];
    after(std::max<Millis>(0, connection.down_last - now_) + delay(),
          [this, id, end] { client_heard_end(id, end); });
  }
}

// ---- clients ----

void World::spawn(std::size_t index) {
  SimClient& client = clients_[index];
  for (const auto& lease : client.leases) {
    counts_.grants += lease->grants;
    counts_.denials += lease->denials;
    counts_.revocations += lease->revocations;
    counts_.answered += lease->answered;
  }
  client = SimClient{};
  ++incarnations_[index];
  const std::uint64_t process = ++last_process_;
  client.peer = {static_cast<pid_t>(process), 1'000, 1'000, process};
  lease::SessionIdentity identity;
  identity.tenant = std::string(1, static_cast<char>('a' + index % 3));
  identity.client_name = "client-" + std::to_string(index);
  for (std::uint8_t& byte : identity.token) byte = static_cast<std::uint8_t>(dice_.between(0, 255));
  std::vector<lease::SessionLease> leases;
  for (const char* resource : {"ram", "gpu"}) {
    if (index % 4 != 0 && leases.size() == 1) break;
    client.leases.push_back(std::make_unique<ModelLease>(dice_, now_, kFloor));
    leases.push_back({resource, client.leases.back().get()});
  }
  client.protocol = std::make_unique<lease::SessionProtocol>(identity, leases);
  for (std::size_t i = 0; i < client.leases.size(); ++i) {
    client.leases[i]->bind(*client.protocol, i);
  }
  after(dice_.between(0, 200), [this, index, life = incarnations_[index]] {
    if (incarnations_[index] == life) client_connect(index);
  });
  after(dice_.between(0, 200), [this, index, life = incarnations_[index]] {
    if (incarnations_[index] == life) client_act(index);
  });
}

void World::client_connect(std::size_t index) {
  SimClient& client = clients_[index];
  if (!client.alive || client.connection != 0) return;
  if (!broker_) return client_lost(index, dice_.between(5, 2'000));
  const std::uint64_t id = ++last_connection_;
  connections_[id] = {index, incarnations_[index], now_, now_, {}, false, false};
  client.connection = id;
  after(delay(), [this, id, peer = client.peer] {
    if (!broker_ || connections_[id].broker_gone) return;
    broker_->connected({id}, peer, now_);
    broker_pump();
  });
  connections_[id].up_last = now_ + 401;  // frames come after connected()
  ++counts_.hellos;
  send_up(id, client.protocol->begin_attach(now_));
  wake_client(index);
}

void World::client_lost(std::size_t index, Millis retry_after) {
  SimClient& client = clients_[index];
  const std::uint64_t id = client.connection;
  client.connection = 0;
  if (id != 0) {
    connections_[id].client_gone = true;
    after(dice_.between(0, 1'000), [this, id] {
      if (!broker_ || connections_[id].broker_gone) return;
      broker_->disconnected({id}, now_);
      broker_pump();
    });
  }
  client.protocol->on_stream_lost(Error(ErrorCode::kUnavailable, "lost"), false);
  after(retry_after, [this, index, life = incarnations_[index]] {
    if (incarnations_[index] == life) client_connect(index);
  });
}

void World::client_pump(std::size_t index) {
  SimClient& client = clients_[index];
  if (!client.alive || client.connection == 0 || now_ < client.paused_until) return;
  if (!client.protocol->check_alive(now_)) {
    ++counts_.streams_cut;
    return client_lost(index, dice_.between(5, 100));
  }
  while (const auto frame = client.protocol->next_frame(now_)) {
    counts_.goodbyes += client.protocol->goodbye_sent();
    send_up(client.connection, *frame);
  }
  wake_client(index);
}

void World::wake_client(std::size_t index) {
  SimClient& client = clients_[index];
  const Instant due = std::min(client.protocol->send_deadline(), client.protocol->alive_deadline());
  if (due == Instant::never() || (client.wake_at > now_ && client.wake_at <= due)) return;
  client.wake_at = due;
  after(std::max<Millis>(1, due - now_), [this, index, life = incarnations_[index]] {
    if (incarnations_[index] == life) client_pump(index);
  });
}

void World::client_act(std::size_t index) {
  SimClient& client = clients_[index];
  if (!client.alive) return;
  after(dice_.between(5, 300), [this, index, life = incarnations_[index]] {
    if (incarnations_[index] == life) client_act(index);
  });
  if (now_ < client.paused_until) return;
  if (client.ending) {  // grants may still have been under way
    for (const auto& lease : client.leases) lease->give_back_all();
    return client_pump(index);
  }
  if (client.protocol->ever_attached() && dice_.between(1, 400) == 1) {
    client.ending = true;
    for (const auto& lease : client.leases) lease->give_back_all();
    client.protocol->begin_goodbye();
    return client_pump(index);
  }
  for (const auto& lease : client.leases) {
    if (lease->revocation_open() && dice_.chance(70)) lease->answer_revocation();
    const std::int64_t what = dice_.between(1, 100);
    if (what <= 45) {
      lease->use_or_ask(dice_.between(64 * kKiB, 8 * kMiB), dice_.between(0, 2'000));
    } else if (what <= 70) {
      lease->stop_using(dice_.between(0, 8 * kMiB));
    } else if (what <= 80) {
      lease->give_back_slack();
    } else if (what <= 82) {
      lease->overdraw(dice_.between(1, kMiB));
    } else if (what <= 84) {
      lease->cancel_one();
    }
  }
  client_pump(index);
}

void World::client_heard_end(std::uint64_t id, const broker::StreamEnd& end) {
  const Connection connection = connections_[id];
  SimClient& client = clients_[connection.client];
  if (incarnations_[connection.client] != connection.incarnation || !client.alive ||
      client.connection != id) {
    return;
  }
  if (client.protocol->goodbye_sent() && end.code == broker::EndCode::kOk) {
    client.alive = false;
    return spawn(connection.client);
  }
  if (end.code == broker::EndCode::kInvalidArgument || end.code == broker::EndCode::kNotFound) {
    wrong("an honest client was refused: " + end.message);
  }
  client_lost(connection.client, dice_.between(5, 500));
}

void World::kill_client(std::size_t index) {
  SimClient& client = clients_[index];
  if (!client.alive) return;
  ++counts_.clients_killed;
  client.alive = false;
  if (client.connection != 0) connections_[client.connection].client_gone = true;
  after(dice_.between(0, 200), [this, peer = client.peer] {
    if (!broker_) return;
    broker_->process_ended(peer, now_);
    broker_pump();
  });
  after(dice_.between(0, 500), [this, index] { spawn(index); });
}

// ---- links ----

void World::send_up(std::uint64_t id, const v1::ClientFrame& frame) {
  Connection& connection = connections_[id];
  connection.up_last = std::max(connection.up_last, now_ + delay());
  after(connection.up_last - now_, [this, id, frame] { deliver_up(id, frame); });
  if (!options_.faults || !dice_.chance(10)) return;
  // A copy turns up long after, when the stream may be an old one.
  after(dice_.between(500, 4'000), [this, client = connection.client, life = connection.incarnation,
                                    frame] { stale_to_broker(client, life, frame); });
}

void World::send_down(std::uint64_t id, const v1::ServerFrame& frame) {
  Connection& connection = connections_[id];
  connection.down_last = std::max(connection.down_last, now_ + delay());
  connection.down.push_back(frame);
  after(connection.down_last - now_, [this, id] { deliver_down(id); });
  if (!options_.faults || !dice_.chance(10)) return;
  after(dice_.between(500, 4'000), [this, client = connection.client, life = connection.incarnation,
                                    frame] { stale_to_client(client, life, frame); });
}

void World::deliver_up(std::uint64_t id, const v1::ClientFrame& frame) {
  const Connection& connection = connections_[id];
  if (!broker_ || connection.broker_gone) return;
  if (connection.client_gone && dice_.chance(30)) return;  // never left the client's socket
  broker_->received({id}, frame, now_);
  const bool opens = frame.messages_size() > 0 && frame.messages(0).has_hello();
  if (!opens && comes_twice()) {
    ++counts_.twice_to_broker;
    broker_->received({id}, frame, now_);
  }
  if (dice_.chance(95)) broker_pump();  // else: it may be killed before anything leaves
}

void World::deliver_down(std::uint64_t id) {
  Connection& connection = connections_[id];
  SimClient& client = clients_[connection.client];
  if (incarnations_[connection.client] != connection.incarnation || !client.alive) return;
  if (connection.down_last == Instant::never()) return;  // the broker was killed before
  if (now_ < client.paused_until) {
    return after(client.paused_until - now_, [this, id] { deliver_down(id); });
  }
  const v1::ServerFrame frame = connection.down.front();
  connection.down.pop_front();
  if (client.connection != id) {
    return stale_to_client(connection.client, connection.incarnation, frame);
  }
  const bool opens = frame.messages_size() > 0 && frame.messages(0).has_welcome();
  if (opens) counts_.resumes += frame.messages(0).welcome().resumed();
  Status status = client.protocol->on_frame(frame, now_);
  if (status && !opens && comes_twice()) {
    ++counts_.twice_to_client;
    status = client.protocol->on_frame(frame, now_);
  }
  if (!status) {
    if (status.error().message().find("broke the session protocol") != std::string::npos) {
      wrong(status.error().message());
    }
    ++counts_.streams_cut;
    return client_lost(connection.client, dice_.between(5, 100));
  }
  client_pump(connection.client);
}

/// A frame of an old stream reaches a client whose stream is another by now.
void World::stale_to_client(std::size_t index, std::uint64_t incarnation,
                            const v1::ServerFrame& frame) {
  SimClient& client = clients_[index];
  if (incarnations_[index] != incarnation || !client.alive) return;
  if (frame.attach() == client.protocol->attach().value) return;  // not stale after all
  ++counts_.stale_to_client;
  std::vector<lease::LeaseTotals> before;
  for (const auto& lease : client.leases) before.push_back(lease->totals());
  const bool attached = client.protocol->attached();
  const bool taken = client.protocol->on_frame(frame, now_).has_value();
  bool same = attached == client.protocol->attached();
  for (std::size_t i = 0; i < before.size(); ++i) same = same && *client.leases[i] == before[i];
  if (!taken || !same) wrong("a stale frame changed a client: " + frame.ShortDebugString());
}

/// A frame of an old stream reaches the broker over the client's present one.
void World::stale_to_broker(std::size_t index, std::uint64_t incarnation,
                            const v1::ClientFrame& frame) {
  SimClient& client = clients_[index];
  if (!broker_ || incarnations_[index] != incarnation || !client.alive) return;
  if (!client.protocol->attached() || frame.attach() == client.protocol->attach().value) return;
  ++counts_.stale_to_broker;
  const std::string before = totals_of_all();
  broker_->received({client.connection}, frame, now_);
  if (totals_of_all() != before) wrong("a stale frame changed the broker");
  broker_pump();
}

void World::some_fault() {
  const auto index = static_cast<std::size_t>(dice_.between(0, options_.clients - 1));
  SimClient& client = clients_[index];
  const std::int64_t what = dice_.between(1, 100);
  if (what <= 60) {
    if (client.connection == 0 || !client.alive) return;
    ++counts_.streams_cut;
    client_lost(index, dice_.between(5, 500));
  } else if (what <= 70) {
    kill_client(index);
  } else if (what <= 96) {
    ++counts_.clients_paused;
    client.paused_until = now_ + dice_.between(100, 8'000);
    after(client.paused_until - now_, [this, index] { client_pump(index); });
  } else {
    kill_broker();
  }
}

// ---- what must hold ----

std::string World::totals_of_all() const {
  std::string all;
  for (const broker::LeaseRow& row : broker_->snapshot().leases) {
    all += strf(
        "%llu/%s: %lld %lld %lld\n", static_cast<unsigned long long>(row.view.session.value),
        row.resource.c_str(), static_cast<long long>(row.totals.granted),
        static_cast<long long>(row.totals.overdrawn), static_cast<long long>(row.totals.returned));
  }
  return all;
}

void World::check() {
  if (!broker_) return;
  const broker::Snapshot snapshot = broker_->snapshot();
  for (const broker::ResourceRow& resource : snapshot.resources) {
    const Bytes lent = resource.root.held - resource.root.debt;
    Bytes& most = most_lent_[resource.name];
    if (lent > most) wrong("more of " + resource.name + " is lent than there is");
    most = std::max(resource.capacity, std::min(most, lent));
    Bytes sum = 0;
    for (const broker::LeaseRow& row : snapshot.leases) {
      if (row.resource != resource.name) continue;
      sum += row.totals.held();
      if (row.totals.held() != row.view.held) wrong("totals and arbiter differ");
    }
    if (sum != resource.root.held) wrong("the leases' sum is not what the root holds");
  }
  for (const SimClient& client : clients_) {
    if (client.alive && !client.ending) check_client(client, snapshot);
  }
}

/// What the broker has on record covers what the client holds: nothing is lent twice.
void World::check_client(const SimClient& client, const broker::Snapshot& snapshot) {
  const char* const names[] = {"ram", "gpu"};
  for (std::size_t i = 0; i < client.leases.size(); ++i) {
    const ModelLease& lease = *client.leases[i];
    const lease::LeaseTotals& mine = lease.totals();
    if (lease.reserved() > mine.held()) wrong("a client uses more than it holds");
    if (mine.granted == 0) continue;  // at most an overdraft that is not told yet
    const broker::LeaseRow* record = nullptr;
    for (const broker::SessionRow& session : snapshot.sessions) {
      if (session.peer != client.peer) continue;
      for (const broker::LeaseRow& row : snapshot.leases) {
        if (row.view.session == session.id && row.resource == names[i]) record = &row;
      }
    }
    if (record == nullptr) return wrong("a client holds bytes that nobody has on record");
    const broker::LedgerTotals& theirs = record->totals;
    if (theirs.granted < mine.granted || theirs.returned > mine.returned ||
        theirs.overdrawn > mine.overdrawn) {
      wrong(strf("record of %s: %lld %lld %lld, client: %lld %lld %lld", names[i],
                 static_cast<long long>(theirs.granted), static_cast<long long>(theirs.overdrawn),
                 static_cast<long long>(theirs.returned), static_cast<long long>(mine.granted),
                 static_cast<long long>(mine.overdrawn), static_cast<long long>(mine.returned)));
    }
    if (theirs.held() < mine.held() - (mine.overdrawn - theirs.overdrawn)) {
      wrong("the record is below what the client holds");
    }
  }
}

}  // namespace membroker::sim
