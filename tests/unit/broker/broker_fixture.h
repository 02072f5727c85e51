#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/broker/broker.h"
#include "tests/kit/temporary_folder.h"
#include "tests/unit/broker/messages.h"

/// \file
/// A Broker with a real ledger, driven by frames in virtual time. After every step the ledger is
/// compared with what the broker lends.

namespace membroker::broker::test {

using v1::ClientMessage;
using v1::ServerMessage;
using namespace membroker::testing;  // NOLINT: the words of messages.h

inline Peer peer_of(pid_t pid, uid_t uid = 1000) {
  return {pid, uid, uid, static_cast<std::uint64_t>(pid) * 10};
}

/// What a step brought to one stream, by kind.
struct Received {
  std::vector<ServerMessage> messages;

  template <class Get>
  auto last(bool (ServerMessage::*has)() const, Get get) const {
    std::optional<std::decay_t<decltype((std::declval<ServerMessage>().*get)())>> found;
    for (const ServerMessage& message : messages) {
      if ((message.*has)()) found = (message.*get)();
    }
    return found;
  }
  std::optional<v1::Welcome> welcome() const {
    return last(&ServerMessage::has_welcome, &ServerMessage::welcome);
  }
  std::optional<v1::Granted> granted() const {
    return last(&ServerMessage::has_granted, &ServerMessage::granted);
  }
  std::optional<v1::Denied> denied() const {
    return last(&ServerMessage::has_denied, &ServerMessage::denied);
  }
  std::optional<v1::Revoke> revoke() const {
    return last(&ServerMessage::has_revoke, &ServerMessage::revoke);
  }
  std::optional<v1::LeaseSet> lease_set() const {
    return last(&ServerMessage::has_lease_set, &ServerMessage::lease_set);
  }
  std::optional<v1::Pulse> pulse() const {
    return last(&ServerMessage::has_pulse, &ServerMessage::pulse);
  }
  std::optional<v1::Draining> draining() const {
    return last(&ServerMessage::has_draining, &ServerMessage::draining);
  }
  std::optional<v1::Fenced> fenced() const {
    return last(&ServerMessage::has_fenced, &ServerMessage::fenced);
  }
};

class BrokerTest : public ::testing::Test {
 protected:
  static constexpr Bytes kCapacity = 1024 * kMiB;

  BrokerTest() {
    config_.resources = {{"ram", kCapacity, 16 * kMiB}};
    for (const char* path : {"a", "b", "c"}) {
      TenantConfig tenant;
      tenant.path = path;
      config_.tenants.push_back(tenant);
    }
  }

  /// The daemon's start; again: after its death by SIGKILL.
  void start(bool ledger_expected = false) {
    broker_.reset();
    ledger_.reset();
    auto opened = Ledger::open(folder_.path("ledger"), 64, ledger_expected);
    ASSERT_TRUE(opened) << opened.error().message();
    ledger_.emplace(std::move(*opened));
    ++epoch_.value;
    streams_.clear();
    ends_.clear();
    broker_ = std::make_unique<Broker>(
        config_, epoch_, *ledger_,
        [this](const Peer& peer) -> Status {
          if (dead_.contains(peer.pid)) return fail(ErrorCode::kNotFound, "no such process");
          if (unwatchable_) return fail(ErrorCode::kIo, "too many open files");
          return {};
        },
        now_);
    deliver();
  }

  /// A stream of a process that has sent nothing yet.
  ConnectionId stream(pid_t pid, uid_t uid = 1000) {
    const ConnectionId id{++last_connection_};
    broker_->connected(id, peer_of(pid, uid), now_);
    deliver();
    return id;
  }
  /// Sends the Hello on a new stream.
  ConnectionId attach(pid_t pid, const v1::Hello& message, std::uint64_t attach = 1,
                      uid_t uid = 1000) {
    const ConnectionId id = stream(pid, uid);
    v1::ClientFrame frame;
    frame.set_attach(attach);
    *frame.add_messages()->mutable_hello() = message;
    broker_->received(id, frame, now_);
    attaches_[id] = attach;
    deliver();
    return id;
  }
  /// Sends a frame of the stream's own epoch and attach.
  void send(ConnectionId id, std::initializer_list<ClientMessage> messages) {
    send_as(id, epoch_.value, attaches_[id], messages);
  }
  void send_as(ConnectionId id, std::uint64_t epoch, std::uint64_t attach,
               std::initializer_list<ClientMessage> messages) {
    v1::ClientFrame frame;
    frame.set_epoch(epoch);
    frame.set_attach(attach);
    for (const ClientMessage& message : messages) *frame.add_messages() = message;
    broker_->received(id, frame, now_);
    deliver();
  }
  void lose(ConnectionId id) {
    broker_->disconnected(id, now_);
    deliver();
  }
  void process_ends(pid_t pid) {
    dead_.insert(pid);
    broker_->process_ended(peer_of(pid), now_);
    deliver();
  }
  void advance(Millis by) {
    const Instant until = now_ + by;
    while (broker_->next_deadline() <= until) {
      now_ = std::max(now_ + 1, broker_->next_deadline());
      broker_->expire(now_);
      deliver();
      static_cast<void>(broker_->take_snapshot(now_));
    }
    now_ = until;
    broker_->expire(now_);
    deliver();
  }

  /// What came over the stream since it was last asked.
  Received received(ConnectionId id) { return std::exchange(streams_[id], {}); }
  /// How the stream was ended, if it was.
  std::optional<StreamEnd> ended(ConnectionId id) const {
    const auto found = ends_.find(id);
    return found == ends_.end() ? std::nullopt : std::optional(found->second);
  }
  LeaseRow lease(std::size_t index = 0) const { return broker_->snapshot().leases.at(index); }
  SessionRow session(std::size_t index = 0) const { return broker_->snapshot().sessions.at(index); }
  Bytes held() const { return broker_->snapshot().resources.at(0).root.held; }
  const ResourceCounters& counters() {
    counters_ = broker_->snapshot().resources.at(0).counters;
    return counters_;
  }

  /// Carries frames out, as far as streams are being read, and checks the ledger.
  void deliver() {
    check_ledger();
    for (const ConnectionId id : broker_->take_ready()) {
      v1::ServerFrame frame;
      while (!deaf_.contains(id) && broker_->compose(id, now_, &frame)) {
        EXPECT_EQ(frame.epoch(), epoch_.value);
        EXPECT_LE(frame.messages_size(), 64);
        for (const ServerMessage& message : frame.messages()) {
          streams_[id].messages.push_back(message);
        }
      }
    }
    for (StreamEnd& end : broker_->take_ended()) {
      const ConnectionId id = end.connection;
      EXPECT_TRUE(ends_.emplace(id, std::move(end)).second) << "a stream is ended once";
    }
  }

  /// Before any frame leaves, the record has what is lent.
  void check_ledger() const {
    const Snapshot snapshot = broker_->snapshot();
    std::map<SessionId, LedgerTotals> recorded;
    for (const LedgerEntry& entry : ledger_->entries()) {
      EXPECT_TRUE(recorded.emplace(entry.identity.session, entry.totals).second);
    }
    EXPECT_EQ(recorded.size(), snapshot.leases.size());
    for (const LeaseRow& row : snapshot.leases) {
      EXPECT_EQ(row.view.held, row.totals.held());
      EXPECT_EQ(recorded[row.view.session], row.totals) << "session " << row.view.session.value;
    }
  }

  membroker::testing::TemporaryFolder folder_;
  BrokerConfig config_;
  Instant now_{1'000'000};
  Epoch epoch_{100};
  std::optional<Ledger> ledger_;
  std::unique_ptr<Broker> broker_;
  std::set<pid_t> dead_;
  bool unwatchable_ = false;     // for want of descriptors
  std::set<ConnectionId> deaf_;  // streams whose client does not read
  std::uint64_t last_connection_ = 0;
  std::map<ConnectionId, std::uint64_t> attaches_;
  std::map<ConnectionId, Received> streams_;
  std::map<ConnectionId, StreamEnd> ends_;
  ResourceCounters counters_;
};

}  // namespace membroker::broker::test
