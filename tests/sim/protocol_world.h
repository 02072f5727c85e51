#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <string>
#include <vector>

#include "server/broker/broker.h"
#include "server/broker/ledger.h"
#include "tests/sim/protocol_client.h"

namespace membroker::sim {

struct WorldOptions {
  std::uint64_t seed = 1;
  int clients = 64;
  int steps = 20'000;
  bool faults = true;  // else links only delay
};

/// What happened, so that a test can say that it did happen.
struct WorldCounts {
  std::uint64_t hellos = 0, resumes = 0, streams_cut = 0, broker_kills = 0, clients_killed = 0;
  std::uint64_t clients_paused = 0, goodbyes = 0, stale_to_broker = 0, stale_to_client = 0;
  std::uint64_t twice_to_broker = 0, twice_to_client = 0;
  std::uint64_t grants = 0, denials = 0, revocations = 0, answered = 0;
};

/// The real broker with its real ledger, and real client protocols, in virtual time, over links
/// that delay, tear, hand a frame over twice, and after the new Hello what an old stream still
/// held, in either direction, once or twice. The broker is killed and restarted, clients are killed
/// and stopped.
///
/// After every step check() holds the two sides against each other; the first difference ends the
/// run and is its result.
class World {
 public:
  World(WorldOptions options, std::string ledger_path);

  /// An empty text, or what was found wrong, with the step.
  std::string run();
  const WorldCounts& counts() const { return counts_; }

 private:
  struct Connection {
    std::size_t client = 0;
    std::uint64_t incarnation = 0;     // of the client
    Instant up_last, down_last;        // when the last frame arrives
    std::deque<v1::ServerFrame> down;  // in order, whatever pauses its reader
    bool client_gone = false;
    bool broker_gone = false;
  };
  struct Event {
    Instant at;
    std::uint64_t number = 0;
    std::function<void()> run;
    friend bool operator<(const Event& a, const Event& b) {
      return a.at > b.at || (a.at == b.at && a.number > b.number);
    }
  };

  void after(Millis delay, std::function<void()> run);
  bool comes_twice() { return options_.faults && dice_.chance(2); }
  Millis delay() { return dice_.chance(90) ? dice_.between(0, 5) : dice_.between(0, 400); }

  void start_broker();
  void kill_broker();
  void broker_pump();

  void spawn(std::size_t index);
  void client_pump(std::size_t index);
  void client_connect(std::size_t index);
  void client_lost(std::size_t index, Millis retry_after);
  void client_act(std::size_t index);
  void client_heard_end(std::uint64_t connection, const broker::StreamEnd& end);
  void kill_client(std::size_t index);
  void wake_client(std::size_t index);

  void send_up(std::uint64_t connection, const v1::ClientFrame& frame);
  void send_down(std::uint64_t connection, const v1::ServerFrame& frame);
  void deliver_up(std::uint64_t connection, const v1::ClientFrame& frame);
  void deliver_down(std::uint64_t connection);
  void stale_to_client(std::size_t client, std::uint64_t incarnation, const v1::ServerFrame& frame);
  void stale_to_broker(std::size_t client, std::uint64_t incarnation, const v1::ClientFrame& frame);
  void some_fault();

  void check();
  void check_client(const SimClient& client, const broker::Snapshot& snapshot);
  std::string totals_of_all() const;
  void wrong(const std::string& what);

  WorldOptions options_;
  std::string ledger_path_;
  Dice dice_;
  Instant now_{1'000'000};
  std::uint64_t step_ = 0;
  std::uint64_t epoch_ = 100;
  std::unique_ptr<broker::Ledger> ledger_;
  std::unique_ptr<broker::Broker> broker_;
  std::map<std::string, Bytes> most_lent_;  // by resource: held - debt may not pass it
  std::vector<SimClient> clients_;
  std::vector<std::uint64_t> incarnations_;
  std::map<std::uint64_t, Connection> connections_;
  std::uint64_t last_connection_ = 0;
  std::uint64_t last_event_ = 0;
  std::uint64_t last_process_ = 1'000;
  std::priority_queue<Event> events_;
  WorldCounts counts_;
  std::string wrong_;
};

}  // namespace membroker::sim
