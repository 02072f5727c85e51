#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/arbiter/arbiter.h"
#include "server/arbiter/events.h"
#include "server/arbiter/heap.h"
#include "server/arbiter/rules.h"

/// \file
/// The tree of accounts: root -> tenants (any depth) -> leases. Every node carries the same
/// figures; a parent's are the sums of its children's. `Tree` (tree.h) is the only one that changes
/// them; the rest of the core reads.

namespace membroker::arbiter {

struct Tenant;
struct Lease;
struct ChildClass;

/// The heaps of its parent that a node can be in.
enum Place : std::size_t { kInActive, kInSlack, kInSpill, kInWaiting, kInArrival, kPlaces };

/// What a parent has counted of a child, so that the difference can be applied.
struct Counted {
  Bytes surplus = 0;
  bool active = false;
  Bytes hold = 0;
  Bytes promised = 0;  // of the hold, to waiters below, by the plan under way
  Bytes excess = 0;
  Bytes reserve = 0;
  std::array<bool, 2> claimable{};  // by Stage
  bool eligible = false;            // has a waiting request that may be looked at now
  bool aged = false;                // has one that is past half its wait
  std::uint64_t arrival = 0;        // of the earliest such request
  std::int32_t holders = 0;
  std::int32_t holders_waiting = 0;
};

/// One node's figures. Bytes unless said otherwise.
struct Account {
  Tenant* parent = nullptr;
  std::string name;  // the last part of a tenant's path; a lease's is its session's
  bool is_lease = false;
  std::uint16_t depth = 0;
  std::int32_t weight = 1;
  std::int32_t priority = 0;
  Bytes guarantee = 0;  // effective
  Bytes limit = kUnlimited;

  Bytes held = 0;
  Bytes revoking = 0;
  Bytes debt = 0;
  Bytes overdue = 0;
  Bytes idle = 0;
  Bytes floor = 0;
  Bytes planned = 0;  // promised by the plan that is being made to waiters below
  Wide waiting = 0;   // sum of wants; may exceed every other figure
  std::uint32_t waiting_requests = 0;
  std::int32_t holders = 0;          // ACTIVE leases that hold more than their floor
  std::int32_t holders_waiting = 0;  // those of them that wait

  Counted counted;
  ChildClass* in_class = nullptr;
  std::array<std::uint32_t, kPlaces> places{kNoPlace, kNoPlace, kNoPlace, kNoPlace, kNoPlace};

  Bytes keeps() const { return held - revoking + overdue; }
  Bytes net() const { return keeps() + planned; }
  Level level() const { return {net() - guarantee, guarantee, weight}; }
  Level taxed_level() const { return {net() - guarantee + kIdleTax * idle, guarantee, weight}; }
  Side as_victim() const { return {keeps() - guarantee, weight}; }
  Side as_asker() const { return {net() - guarantee, weight}; }
};

/// By name; a lease after a tenant of its name, leases of one name by session.
bool name_before(const Account& a, const Account& b);

// Entries' keys are surpluses. Children of a class have one weight, so surpluses compare as levels
// do, unless both are below guarantee.
template <class Entry>
int compare_surplus(const Entry& a, const Entry& b) {
  if (a.key >= 0 || b.key >= 0) return a.key < b.key ? -1 : (a.key > b.key ? 1 : 0);
  return compare({a.key, a.item->guarantee, 1}, {b.key, b.item->guarantee, 1});
}

/// Victims: highest level first, ties by name.
template <Place kPlace>
struct HighestFirst {
  template <class Entry>
  static bool before(const Entry& a, const Entry& b) {
    const int order = compare_surplus(a, b);
    return order != 0 ? order > 0 : name_before(*a.item, *b.item);
  }
  static std::uint32_t& place(Account& a) { return a.places[kPlace]; }
};

/// Waiters: lowest level first, ties by arrival.
struct LowestFirst {
  template <class Entry>
  static bool before(const Entry& a, const Entry& b) {
    const int order = compare_surplus(a, b);
    return order != 0 ? order < 0 : a.item->counted.arrival < b.item->counted.arrival;
  }
  static std::uint32_t& place(Account& a) { return a.places[kInWaiting]; }
};

struct EarliestFirst {
  template <class Entry>
  static bool before(const Entry& a, const Entry& b) {
    return a.key < b.key;
  }
  static std::uint32_t& place(Account& a) { return a.places[kInArrival]; }
};

/// The children of one node that differ in nothing but level and arrival: the best of a class is
/// the first of one of its heaps, and the best child the best of those.
struct ChildClass {
  bool leases = false;
  std::int32_t priority = 0;
  std::int32_t weight = 1;
  std::uint32_t members = 0;
  IndexedHeap<Account, HighestFirst<kInActive>> active;
  IndexedHeap<Account, HighestFirst<kInSlack>> slack;        // claimable, by taxed level
  IndexedHeap<Account, HighestFirst<kInSpill>> spill;        // claimable
  std::array<IndexedHeap<Account, LowestFirst>, 2> waiting;  // eligible; [1]: aged
};

struct Tenant : Account {
  TenantPolicy policy;
  bool removed = false;
  std::uint64_t ordinal = 0;  // of creation; the root's is 0
  std::map<std::string, std::unique_ptr<Tenant>, std::less<>> tenants;
  std::vector<Lease*> leases;
  std::vector<std::unique_ptr<ChildClass>> classes;
  std::array<IndexedHeap<Account, EarliestFirst>, 2> arrivals;  // eligible; [1]: leases

  // Of active children.
  Bytes surplus_sum = 0;
  std::int64_t weight_sum = 0;
  std::int32_t active_children = 0;
  // Of all children.
  Bytes children_hold = 0;
  Bytes children_promised = 0;
  Bytes children_excess = 0;
  Bytes children_reserve = 0;
  std::array<std::int32_t, 2> claimable_children{};  // by Stage
  std::array<std::int32_t, 2> eligible_children{};   // [1]: leases
  std::array<std::int32_t, 2> aged_children{};       // [1]: leases
  /// Nothing of what waits below can be granted or planned for until something at or below this
  /// node changes: the order of waiters leaves it out.
  bool set_aside = false;
  // Of the scan under way (scan.h).
  std::uint64_t blocked_in = 0;
  std::int32_t blocked = 0;
  std::uint64_t waits_further_up = 0;
  bool over = false;  // held - revoking > limit: listed in Tree::over()

  Average average() const { return {surplus_sum, weight_sum}; }
};

/// One Acquire that waits.
struct Request {
  Lease* lease = nullptr;
  RequestId id;
  Bytes want = 0;
  Bytes min = 0;
  std::int32_t priority = 0;
  Instant arrived;
  Instant deadline;
  std::uint64_t arrival = 0;  // number in order of arrival
  bool aged = false;
  bool hidden = false;  // looked at already in the pump or plan under way
  Bytes got = 0;        // promised by the plan under way

  std::uint64_t seen_in = 0;  // the pump that last looked at it, and its place there
  std::uint32_t position = 0;
  // As a head, past which others go.
  bool was_head = false;  // when it was last looked at
  std::int32_t passes_left = kPassesPerHead;
  Bytes lane_used = 0;
  Bytes last_room = 0;
  Instant stalled_since;

  std::uint32_t timer_place = kNoPlace;
};

/// The one revocation a lease can have open. Its bytes are the account's `revoking`.
struct Revocation {
  bool open = false;
  Stage stage = Stage::kSlack;
  RevokeReason reason = RevokeReason::kFairShare;
  Instant opened;
  Instant deadline;
  Bytes freed = 0;
  Bytes admin = 0;  // part of what is asked for an admin
  Lease* older = nullptr;
  Lease* younger = nullptr;
};

struct Lease : Account {
  SessionId session;
  SessionState state = SessionState::kActive;
  Bytes slack = 0;
  Bytes reclaimable = 0;
  std::array<Bytes, 2> reported_slack{};  // the last two reports'
  std::int32_t reports = 0;               // 0, 1, 2 = two or more

  Revocation revocation;
  Bytes asked_now = 0;  // by the plan being made, not yet sent
  Bytes admin_now = 0;  // part of it that an admin wants
  RevokeReason asked_reason = RevokeReason::kFairShare;

  Millis strike = 0;  // the last back-off's length; 0: none
  Instant backoff_until;
  bool backing_off = false;
  bool freed_since_strike = false;
  Bytes spill_rate = 0;                  // bytes per second; 0 until measured
  Instant policy_at = Instant::never();  // when on_overdue takes effect

  std::vector<std::unique_ptr<Request>> waits;
  std::uint32_t timer_place = kNoPlace;
  std::uint32_t index_in_tenant = 0;

  bool active_session() const { return state == SessionState::kActive; }
  /// What can be asked of it at a stage, open revocation deducted.
  Bytes claim(Stage stage) const;
  /// Of its requests that are not hidden the first by priority, arrival; null if none.
  Request* first_wait() const;
  Request* find_wait(RequestId id) const;
};

inline Lease& as_lease(Account& account) { return static_cast<Lease&>(account); }
inline Tenant& as_tenant(Account& account) { return static_cast<Tenant&>(account); }
inline const Lease& as_lease(const Account& a) { return static_cast<const Lease&>(a); }
inline const Tenant& as_tenant(const Account& a) { return static_cast<const Tenant&>(a); }

/// "acme/etl"; empty for the root.
std::string path_of(const Tenant& tenant);
/// Is `node` the tenant itself or above it?
bool on_path(const Tenant& node, const Tenant& tenant);

}  // namespace membroker::arbiter
