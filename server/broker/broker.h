#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "membroker/error.h"
#include "membroker/v1/session.pb.h"
#include "server/arbiter/arbiter.h"
#include "server/broker/broker_config.h"
#include "server/broker/event_ring.h"
#include "server/broker/kin_watch.h"
#include "server/broker/ledger.h"
#include "server/broker/session.h"
#include "server/broker/snapshot.h"
#include "server/broker/translate.h"

namespace membroker::broker {

/// What an admin may change of a tenant; absent fields stay as they are.
struct TenantChange {
  std::optional<Bytes> guarantee = {};
  std::optional<arbiter::GuaranteeMode> mode = {};
  std::optional<Bytes> limit = {};
  std::optional<std::int32_t> weight = {};
  std::optional<std::int32_t> priority = {};
  std::optional<std::int32_t> priority_max = {};
  std::optional<arbiter::OnOverdue> on_overdue = {};
};

struct AskedBack {
  Bytes revoking = 0;
  Instant deadline;
};

/// The shell around the arbiters: sessions and streams, totals and fences, ledger and time limits.
/// Frames, ends of streams and of processes go in with the instant at which they were seen; frames
/// and ends of streams come out. It decides nothing about memory: it turns messages into events of
/// the resource's arbiter, and the arbiter's effects into what its clients are told.
///
///     broker.received(connection, frame, now);     // or any other event
///     for (ConnectionId id : broker.take_ready()) if (may_write(id)) { compose, write }
///     for (StreamEnd& end : broker.take_ended()) finish(end);
///     sleep until broker.next_deadline(); broker.expire(now);
///
/// The rules it keeps, and no one else:
/// * A frame counts only if it came over the session's present stream and names its epoch and
///   attach. Of the three totals of a lease the larger value wins; `granted` is never the client's.
/// * The ledger has every change before any frame that tells of it can be composed.
/// * A lost stream, silence and a bad frame make a session suspect, its bytes stay charged. Only
///   the end of its process, its exec, or its Goodbye with nothing held gives them back.
///
/// Thread: one, the broker's. No clock, lock or gRPC inside.
class Broker {
 public:
  /// Makes sure that the end of the process will be told to process_ended(). kNotFound: it is no
  /// more; other errors: it cannot be watched.
  using WatchProcess = std::function<Status(const Peer&)>;

  /// Charges what the ledger has on record of processes that still live. `ledger` outlives it.
  Broker(BrokerConfig config, Epoch epoch, Ledger& ledger, WatchProcess watch, Instant now);

  // ---- from streams and processes ----
  void connected(ConnectionId connection, const Peer& peer, Instant now);
  void received(ConnectionId connection, const v1::ClientFrame& frame, Instant now);
  /// What arrived is no frame, or too large a one: ends the stream so.
  void received_bad(ConnectionId connection, EndCode code, const std::string& why, Instant now);
  void disconnected(ConnectionId connection, Instant now);
  /// `left`: the forked children that the process leaves behind.
  void process_ended(const Peer& peer, Instant now, const std::vector<Kin>& left = {});
  /// The process has exec'ed and runs `image` by now: what came before has no memory any more but
  /// in `left`. Sessions whose image is not known stay.
  void process_execed(const Peer& peer, std::uint64_t image, Instant now,
                      const std::vector<Kin>& left = {});
  /// What processes of take_orphans() hold now.
  void orphans_measured(const std::vector<MeasuredShare>& shares, Instant now);
  /// Everything whose time has come by `now`.
  void expire(Instant now);
  Instant next_deadline() const;

  // ---- to streams ----
  /// Connections that have something to be told, each once; those whose last write is still under
  /// way are asked for again by compose() when it has ended.
  std::vector<ConnectionId> take_ready();
  /// Fills the next frame; false if there is nothing to tell. Call again while it returns true.
  bool compose(ConnectionId connection, Instant now, v1::ServerFrame* frame);
  /// Streams to be finished. Nothing more is to be read from or composed for them.
  std::vector<StreamEnd> take_ended();

  // ---- to processes ----
  /// Orphans since the last call: what they hold is to be told to orphans_measured().
  std::vector<Peer> take_orphans();
  /// Processes since the last call that may be watched but need not be any more.
  std::vector<Peer> take_unneeded();

  // ---- to watchers ----
  /// What was noteworthy since the last call; of more than kEventsKeptMax the first ones.
  std::vector<BrokerEvent> take_events();

  // ---- from admins ----
  Result<AskedBack> ask(SessionId session, const std::string& resource, Bytes bytes, Instant now);
  Status set_tenant(const std::string& path, const std::string& resource,
                    const TenantChange& change, Instant now);
  Status remove_tenant(const std::string& path, Instant now);
  /// Who may attach from now on; sessions that are attached stay.
  Status set_access(const std::string& path, std::vector<uid_t> uids, std::vector<gid_t> gids,
                    Instant now);
  Status set_capacity(const std::string& resource, Bytes capacity, Instant now);
  /// So much of the capacity is not to be lent for now, but what tenants are guaranteed always is.
  /// The capacity as set stays what it is.
  Status withhold(const std::string& resource, Bytes bytes, Instant now);
  /// No grants any more, every lease asked down to its floor.
  void drain(Instant now);
  /// The daemon is going away: every client is told to keep its lease and to come back. A stream
  /// ends with the frame that says so; others at once.
  void announce_restart(Instant now);

  /// A new one when something has changed, at most every 100 ms; else null.
  std::shared_ptr<const Snapshot> take_snapshot(Instant now);
  Snapshot snapshot() const;
  /// Of a snapshot only the accounts of one resource: its own, its tenants' and its orphans'.
  Snapshot accounts(const std::string& resource) const;
  const BrokerConfig& config() const { return config_; }

 private:
  static constexpr const char* kGoingAway =
      "the daemon is going away; keep the lease and reconnect";

  struct Resource {
    ResourceConfig config;
    arbiter::Arbiter arbiter;
    ResourceCounters counters;
    Bytes withheld = 0;    // of config.capacity, as far as guarantees allow
    Bytes guaranteed = 0;  // of the same
    std::map<std::string, TenantCounters> tenant_counters = {};  // by path
  };
  /// What a process held at its end, and for whom: of several sessions the largest one's tenant.
  struct Estate {
    Bytes held = 0;
    Bytes most = 0;
    std::string tenant;
    std::string client_name;
  };
  // broker.cc: streams, time
  void begin(Instant now);
  void commit();
  void touch(Session& session);
  void mark_ready(Session& session);
  void schedule(Session& session);
  void session_due(Session& session);
  void suspect(Session& session, const char* why);
  void detach(Session& session);
  void end_stream(ConnectionId connection, EndCode code, std::string message);
  void end_stream(ConnectionId connection, const Error& why);
  void forget(Session& session, const char* why, bool ram_ended = false);
  void drop(Session& session, bool ram_ended = false);
  Session* find(SessionId id);

  // broker_processes.cc
  void end_process(const Peer& peer, const std::set<SessionId>& ids, bool orphan, const char* why,
                   const std::vector<Kin>& left);
  std::vector<Orphan> heirs(const Peer& parent, const Estate& estate, const std::vector<Kin>& left,
                            std::size_t freed);
  bool watch_orphan(Orphan& orphan);
  std::size_t orphan_places(uid_t uid, std::size_t freed) const;
  void put_on_record(Orphan& orphan);
  Status claim_slot(Orphan& orphan);
  void record_the_rest();
  void enter(Orphan orphan);
  void recharge_orphans();
  void forget_orphan(const ProcessKey& process, const char* why);
  void give_up_place(const Peer& process);
  void recover_orphan(const LedgerEntry& entry);
  void recover_orphans(const std::vector<LedgerEntry>& entries);
  void add_orphans(Snapshot* out) const;  // snapshot.cc

  // snapshot.cc
  void add_accounts(const Resource& resource, Snapshot* out) const;

  // broker_recover.cc
  void set_up_tenants();
  void recover(const std::vector<LedgerEntry>& entries);
  void recover_session(const std::vector<LedgerEntry>& slots);
  void enter(std::unique_ptr<Session> session);
  bool recovering() const { return now_ < recovering_until_; }

  // broker_hello.cc
  void hello(ConnectionId connection, ConnectionRecord& record, const v1::ClientFrame& frame);
  Session* session_of(const Peer& peer, const std::array<std::uint8_t, 16>& token_hash);
  Status check_resume(const Session& session, const HelloRequest& request) const;
  Status check_new(const HelloRequest& request, const Peer& peer) const;
  Status check_tenant(const std::string& path, const Peer& peer) const;
  Status check_watched(const Peer& peer) const;
  Status check_room(const Peer& peer) const;
  Status check_totals(const SessionLease& lease, const LedgerTotals& claimed) const;
  Result<Session*> open_session(const HelloRequest& request, const Peer& peer);
  Status open_lease(Session& session, const LeaseClaim& claim);
  void replace_stream(Session& session);
  Status resume_session(Session& session, const HelloRequest& request);
  void take_totals(Session& session, SessionLease& lease, const LedgerTotals& claimed);
  void resume_arbiters(Session& session);
  void attach(Session& session, ConnectionId connection, const HelloRequest& request, bool resumed);

  // broker_frames.cc
  void take_frame(ConnectionId connection, Session& session, const v1::ClientFrame& frame);
  Status wake(Session& session, const v1::ClientFrame& frame);
  Status take_message(Session& session, const v1::ClientMessage& message);
  Status on_acquire(Session& session, const v1::Acquire& acquire);
  void on_cancel(Session& session, const v1::Cancel& cancel);
  Status on_release(Session& session, const v1::Release& release);
  Status on_overdraft(Session& session, const v1::Overdraft& overdraft);
  Status on_inventory(Session& session, const v1::Inventory& inventory, bool report);
  Status on_progress(Session& session, const v1::RevokeProgress& progress);
  Status on_goodbye(Session& session);
  Result<SessionLease*> lease_named(Session& session, const std::string& resource,
                                    const char* message) const;

  // broker_effects.cc
  void feed(std::size_t resource, const arbiter::Event& event);
  void apply_effects(std::size_t resource, arbiter::Effects effects);
  void on(std::size_t resource, const arbiter::Opened& opened);
  void on(std::size_t resource, const arbiter::OpenRefused& refused);
  void on(std::size_t resource, const arbiter::Granted& granted);
  void on(std::size_t resource, const arbiter::Denied& denied);
  void on(std::size_t resource, const arbiter::Revoke& revoke);
  void on(std::size_t resource, const arbiter::Withdraw& withdraw);
  void on(std::size_t resource, const arbiter::Overdue& overdue);
  void on(std::size_t resource, const arbiter::Covered& covered);
  void on(std::size_t resource, const arbiter::DebtOverCap& alarm);
  void on(std::size_t resource, const arbiter::OverduePolicy& policy);
  void on(std::size_t resource, const arbiter::Rejected& rejected);
  void answer(Session& session, v1::ServerMessage message);
  void credit(Session& session, SessionLease& lease, Bytes returned);
  void charge_over(Session& session, SessionLease& lease, Bytes bytes);
  void count(std::size_t resource, const std::string& tenant, const TenantCounters& more);
  void count_spilled(const Session& session, SessionLease& lease);
  void drop_counters();
  void drop_counters(const std::string& tenant);
  void charge_unknown(Session& session, SessionLease& lease, Bytes bytes);
  void tell_debt(Session& session, SessionLease& lease);
  void fence(Session& session);
  std::string arbiter_name(const Session& session) const;
  arbiter::LeaseView view_of(const Session& session, const SessionLease& lease) const;

  // broker_compose.cc
  void add_welcome(const Session& session, v1::ServerFrame* frame) const;
  void add_lease_set(SessionLease& lease, SessionId id, v1::ServerFrame* frame);
  void add_revoke(SessionLease& lease, v1::ServerFrame* frame) const;
  void add_pulse(const Session& session, v1::ServerFrame* frame) const;
  bool anything_to_tell(const Session& session) const;

  // broker_events.cc
  void note(BrokerEvent event);
  void note(const char* name, const Session& session, std::string detail = {});
  void note(const char* name, const Session& session, std::size_t resource, Bytes bytes,
            std::string detail = {});
  void note(const char* name, const Orphan& orphan, std::string detail);

  // broker_admin.cc
  Status guarantee(const std::string& path, std::size_t resource,
                   const arbiter::TenantPolicy& policy);
  void lend(std::size_t resource);
  std::map<std::string, arbiter::TenantPolicy> policies_of(std::size_t resource) const;
  Result<std::size_t> resource_named(const std::string& name) const;
  arbiter::TenantPolicy policy_of(const std::string& tenant, std::size_t resource) const;

  BrokerConfig config_;
  Epoch epoch_;
  Ledger& ledger_;
  WatchProcess watch_;
  Instant started_at_;
  Instant now_;
  Instant recovering_until_;

  std::vector<Resource> resources_;
  std::map<std::string, TenantConfig> tenants_;  // what may be attached to, by path
  std::map<SessionId, std::unique_ptr<Session>> sessions_;
  std::map<ProcessKey, std::set<SessionId>> by_process_;
  std::map<ProcessKey, Orphan> orphans_;
  std::map<uid_t, std::uint32_t> places_of_uid_;  // of sessions and orphans
  std::map<ConnectionId, ConnectionRecord> connections_;
  std::set<std::pair<Instant, SessionId>> timers_;
  std::set<std::pair<Instant, ConnectionId>> hello_timers_;
  std::uint64_t next_session_ = 1;
  std::uint64_t next_revocation_ = 1;
  bool draining_ = false;
  bool restarting_ = false;

  std::vector<SessionId> touched_;  // whose totals the ledger may lack
  std::vector<SessionId> to_fence_;
  std::vector<SessionId> to_drop_;  // whose outbox overflowed
  std::vector<SessionId> ready_;
  std::vector<StreamEnd> ended_;
  std::vector<Peer> fresh_orphans_;
  std::vector<Peer> unneeded_;
  std::vector<BrokerEvent> events_;
  std::uint64_t last_event_ = 0;
  std::optional<Bytes> opened_floor_;   // of the Open that is being fed
  std::optional<std::string> refused_;  // the same, or Rejected
  BrokerCounters counters_;
  bool changed_ = true;  // since the last snapshot
  Instant snapshot_at_;
};

}  // namespace membroker::broker
