#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "membroker/error.h"

/// \file
/// A process's way to the memory of its host: a session with membrokerd, or a fixed capacity of
/// its own.
///
///     auto client = membroker::Client::open({.tenant = "etl"});
///     if (!client) return complain(client.error());
///     auto pool = client->pool();          // reserve in it: membroker/memory_pool.h
///     ...
///     auto report = client->close();       // who still holds what
///
/// Nothing is connected until the first bytes are asked for, so a process may open a client and
/// fork its workers afterwards. Once any client is connected, a fork()ed child is cut off until it
/// calls exec(): its calls fail with kForked and never block, unless the client was opened with a
/// child_budget_bytes. The library installs no signal handlers, prints nothing and reads no
/// environment variables but MEMBROKER_TENANT and MEMBROKER_SOCKET.

namespace membroker {

class MemoryPool;
class BufferAllocator;
class SpillWorkspace;

/// One named budget the client wants a lease of.
struct ResourceOptions {
  std::string name = "ram";
  /// What the client needs in order to spill at all: lent when the session opens, never revoked,
  /// and (the first resource's) the size of the spill workspace. A client refused for it opens with
  /// less, down to 1 MiB. While others hold everything it opens with none: then its workspace is
  /// asked for as any memory is, before any request of its consumers, and stays reserved. 0: no
  /// workspace.
  std::int64_t floor_bytes = std::int64_t{8} << 20;
};

enum class LogLevel { kDebug, kInfo, kWarn, kError };

/// What becomes of growth while the daemon is away: its connection is lost, or it could not be
/// reached so far. A daemon that refuses the session is not away. What is held stays held in every
/// mode, shrinking and `grow` always work, attempts to reach the daemon go on, and slack is kept.
struct WhenAway {
  enum class Mode { kWait, kKeep, kFail, kStandalone };

  /// Growth is refused at once with kUnavailable, also where slack would serve it.
  static constexpr WhenAway fail() { return {Mode::kFail, 0}; }
  /// Slack serves. What it cannot serve waits for the daemon as for any answer of its own: try_grow
  /// for a moment, acquire until its deadline. The default: a restart is no failure.
  static constexpr WhenAway wait() { return {Mode::kWait, 0}; }
  /// Slack serves. What it cannot serve is refused at once with kUnavailable, acquire too.
  static constexpr WhenAway keep() { return {Mode::kKeep, 0}; }
  /// The first resource may grow by itself until it holds `bytes`, slack included. try_grow beyond
  /// that is refused at once with kUnavailable; acquire has the process's own consumers spill. What
  /// was so taken beyond the lease is overdraft: the daemon hears of it when it is back, and what
  /// is freed repays it first. The other resources are as with keep().
  static constexpr WhenAway standalone(std::int64_t bytes) { return {Mode::kStandalone, bytes}; }

  Mode mode = Mode::kWait;
  std::int64_t bytes = 0;  ///< Of standalone; of the others 0.
};

struct ClientOptions {
  /// Path in the daemon's tenant tree, e.g. "acme/etl". Empty: MEMBROKER_TENANT; with that empty
  /// too, open() fails.
  std::string tenant = {};
  /// The daemon's socket for sessions. Empty: MEMBROKER_SOCKET, else /run/membroker/broker.sock.
  std::string socket = {};
  /// For people, shown by membrokerctl; at most 128 bytes. Empty: the program's name.
  std::string client_name = {};
  /// For people; at most 16 pairs of at most 128 bytes each.
  std::map<std::string, std::string> labels = {};
  /// Of the session's requests among the tenant's; clamped to the tenant's priority_max.
  std::int32_t priority = 0;
  /// At least one and at most 8, with distinct names.
  std::vector<ResourceOptions> resources = {ResourceOptions{}};
  /// What becomes of growth while the daemon cannot be reached.
  WhenAway when_away = {};
  /// What a forked child, which is cut off, may use all the same: in it pool() of the first
  /// resource, allocator() and spill_workspace() are of a fixed capacity of this size, its own and
  /// known to nobody else. What was taken from the client before the fork stays inert there. A
  /// child's child has as much again. 0: nothing.
  std::int64_t child_budget_bytes = 0;
  /// Where the library says what happens to it ("attached session=7 epoch=3"). Called from a
  /// library thread; must not block and must not call the library. Empty: nowhere.
  std::function<void(LogLevel, std::string_view)> log = {};
};

enum class ConnectionState {
  kIdle,        ///< Not used yet: nothing is connected.
  kConnecting,  ///< The first attempt, or one after the daemon went away, is under way.
  kAttached,    ///< The session is up.
  kAway,        ///< The daemon cannot be reached; the lease is kept and attempts go on.
  kRefused,     ///< The daemon refused the session (tenant, permission, limit): see last_error.
  kClosed,      ///< close() was called and the session has ended.
  kForked,      ///< This process is a fork of the one that opened the client.
  kEmbedded,    ///< A client without a daemon.
};

/// A stable lower-case name, e.g. "attached". Static storage.
std::string_view connection_state_name(ConnectionState state) noexcept;

/// The present state of one lease. Counters since open().
struct ResourceStats {
  std::string resource;
  std::int64_t held_bytes = 0;         ///< granted + overdrawn - returned.
  std::int64_t reserved_bytes = 0;     ///< Claimed by consumers.
  std::int64_t slack_bytes = 0;        ///< Leased, not reserved.
  std::int64_t reclaimable_bytes = 0;  ///< Reserved by consumers that can spill now.
  /// Really allocated inside reservations: by all allocators that charge the pool, and as pages.
  std::int64_t allocated_bytes = 0;
  /// Counter: written to spill files whose workspace, or else whose reader, the pool pays for;
  /// headers and padding included. Through a pool the user derived it is not seen.
  std::int64_t spilled_bytes = 0;
  std::int64_t floor_bytes = 0;  ///< Never revoked.
  std::int64_t debt_bytes = 0;   ///< The part of held that the daemon has not covered.
  std::int64_t peak_held_bytes = 0;
  /// An upper bound: counts what reservations had been given and not used yet, about half of the
  /// lease at most. The exact sum would cost the fast path a counter shared by all threads.
  std::int64_t peak_reserved_bytes = 0;
  std::int64_t granted_total = 0;    ///< Counter: ever lent, the floor included.
  std::int64_t overdrawn_total = 0;  ///< Counter: ever taken beyond the lease by `grow`.
  std::int64_t returned_total = 0;   ///< Counter: ever given back.
  std::uint64_t requests_asked = 0;  ///< Counter: round trips for bytes.
  std::uint64_t requests_granted = 0;
  std::uint64_t requests_denied = 0;
  std::uint64_t revocations_asked = 0;
  std::uint64_t revocations_answered = 0;  ///< Met, withdrawn or answered with what there was.
  std::uint64_t revocations_late = 0;      ///< Answered after their deadline.
};

struct ClientStats {
  ConnectionState state = ConnectionState::kIdle;
  std::uint64_t session_id = 0;  ///< 0 until attached.
  std::uint64_t epoch = 0;       ///< Number of the daemon's life.
  std::uint64_t attach = 0;      ///< How often this session has said Hello.
  std::uint64_t reconnects = 0;  ///< Counter: sessions resumed after a loss.
  std::string last_error;        ///< Why the daemon is away or refused; empty while all is well.
  std::vector<ResourceStats> resources;
};

/// A consumer that still holds bytes at close(); or a nested pool, what it keeps or lends.
struct CloseHolder {
  std::string resource;
  std::string consumer;
  std::int64_t held_bytes = 0;
  /// Through which pools, as PoolHolder::within: "join/probe". Empty: the resource's pool itself.
  std::string within = {};
};

struct CloseReport {
  /// True: all was returned and the daemon was told so, or there was no session. False: something
  /// is held (see holders) and stays charged until it is freed or the process ends; or the daemon
  /// could not be reached, and frees the session when the process ends.
  bool ended = false;
  std::vector<CloseHolder> holders;  ///< Largest first; empty when nothing is held.
};

/// Thread-safe but for moving and destroying. Destroying it is close() without the report: it
/// waits for the daemon at most kCloseWait. Pools, allocators and reservations may outlive it:
/// they can be freed but not grown, and the session ends with the last of them.
class Client {
 public:
  static constexpr std::chrono::milliseconds kCloseWait{500};

  /// Checks the options and connects nothing. Errors: kInvalid (which option, and why), kForked.
  static Result<Client> open(ClientOptions options);

  /// A client without a daemon: one resource, "ram", of a fixed capacity.
  /// Errors: kInvalid unless 0 < capacity.
  static Result<Client> embedded(std::int64_t capacity_bytes);

  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  ~Client();

  /// Connects now and waits for the session. Errors: kTimeout (the daemon did not answer by then;
  /// attempts go on), kNotFound, kPermissionDenied, kInvalid, kResourcesExhausted (the daemon's
  /// refusal), kForked, kClosed.
  Status wait_connected(std::chrono::milliseconds timeout);

  /// The pool that accounts for `resource`, the same object at each call. Null only if the options
  /// do not name the resource; of a closed or forked client it is a pool whose calls fail. In a
  /// forked child with a budget (child_budget_bytes) it is the child's.
  std::shared_ptr<MemoryPool> pool(std::string_view resource = "ram");

  /// Allocates buffers charged to the first resource's pool (membroker/allocator.h).
  std::shared_ptr<BufferAllocator> allocator();

  /// The client's spill workspace, for SpillOptions::workspace of all its channels; paid for by the
  /// first resource. Made at the first call: take it before there is something to spill, and not in
  /// a spill call-back. Waits for the session and for the bytes at most `timeout`. Errors: kTimeout
  /// (what is missing; it still comes, ask again), kInvalid (opened with floor 0), kGrowInSpill,
  /// kClosed, kForked, and as of wait_connected and MemoryReservation::acquire.
  Result<std::shared_ptr<SpillWorkspace>> spill_workspace(
      std::chrono::milliseconds timeout = std::chrono::seconds(30));

  ClientStats stats() const;

  /// Ends what can be ended: from now on nothing grows; idle memory is returned; the session ends
  /// if nothing is held. Waits for the daemon at most kCloseWait. A second call reports anew.
  /// Errors: kForked.
  Result<CloseReport> close();

 private:
  struct Impl;
  explicit Client(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace membroker
