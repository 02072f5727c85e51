#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "server/arbiter/account.h"
#include "server/arbiter/session_index.h"

/// \file
/// Owns the accounts and keeps every sum, key and ordered set of them right. A change of a lease's
/// figures costs O(depth * log children); a change of configuration O(tenants).

namespace membroker::arbiter {

/// What a step adds to a lease's figures and so to every node above it.
struct Change {
  Bytes held = 0;
  Bytes revoking = 0;
  Bytes debt = 0;
  Bytes overdue = 0;
  Bytes floor = 0;
  Bytes planned = 0;
  Wide waiting = 0;
  std::int32_t waiting_requests = 0;
};

/// The least bytes free on a path, and the lowest node where it is so.
struct Room {
  Bytes bytes = 0;
  const Tenant* tight = nullptr;
};

/// On the way from a tenant up to the root: what a node has free for it. The guarantees of others
/// that are kept free below a node are kept from each node above it, too.
struct Climb {
  explicit Climb(const Tenant& tenant);
  void up();
  Bytes free() const { return node->limit - node->held - kept; }

  const Tenant* node;  // null above the root
  Bytes kept = 0;      // for guarantees off the path
  Bytes promised = 0;  // of that, to those very waiters, by the plan under way
  Bytes reserved = 0;  // guarantees off the path that are kept free, whether used or not
};

class Tree {
 public:
  explicit Tree(Bytes capacity);

  Tenant& root() { return root_; }
  const Tenant& root() const { return root_; }
  Bytes capacity() const { return root_.limit; }
  Bytes chunk() const { return chunk_; }
  const SessionIndex& sessions() const { return sessions_; }
  /// Grows with every change that a plan could depend on.
  std::uint64_t version() const { return version_; }
  std::uint64_t visits() const { return visits_; }
  void visited(std::uint64_t accounts) const { visits_ += accounts; }

  Tenant* find(std::string_view path);
  const Tenant* find(std::string_view path) const;
  /// Every tenant but the root, parents first, siblings by name.
  std::vector<Tenant*> tenants();
  std::vector<const Tenant*> tenants() const;

  // ---- configuration ----
  void set_capacity(Bytes capacity);
  /// Finds or makes the tenant and what is missing above it; `made_removed`: as removed.
  Tenant& make_tenant(std::string_view path, bool made_removed);
  void set_policy(Tenant& tenant, const TenantPolicy& policy);
  void remove_subtree(Tenant& tenant);
  /// Deletes the tenant, and then its parents, while they are removed and empty.
  void prune(Tenant* tenant);
  /// Deletes what is removed and empty of the tenant and what is below it.
  void prune_subtree(Tenant& tenant);
  /// The sum of guarantees there would be below the root if the tenant at `path` had `guarantee`.
  Wide guarantees_with(std::string_view path, Bytes guarantee) const;

  // ---- leases ----
  Lease& add_lease(Tenant& tenant, SessionId session, std::string name, std::int32_t priority);
  /// All its figures must be 0.
  void drop_lease(Lease& lease);
  void add(Lease& lease, const Change& change);
  /// Leaves the node out of the order of waiters until a figure at or below it changes.
  void set_aside(Tenant& node);
  void show(Tenant& node);
  void show_all();
  bool all_shown() const { return set_aside_.empty(); }
  /// After a change of what is not summed: slack, state, back-off, ageing.
  void refresh(Lease& lease) { add(lease, Change{}); }
  /// Bytes promised to a waiter of the lease by the plan under way; taken back when negative.
  void promise(Lease& lease, Bytes bytes) { walk_up(lease, {.planned = bytes}, false); }
  /// After a request of the lease was hidden or shown again.
  void reorder(Lease& lease) { walk_up(lease, Change{}, false); }

  // ---- questions ----
  Room room(const Tenant& tenant) const;
  /// What a debt of a lease there may become part of the lease with.
  Room cover_room(const Tenant& tenant) const;
  /// The most that one lease there can ever hold.
  Bytes attainable(const Tenant& tenant) const;
  /// Least limit on the path.
  Bytes limit_on_path(const Tenant& tenant) const;
  /// More debt than that is an alarm.
  Bytes debt_cap(const Tenant& tenant) const { return limit_on_path(tenant) / kDebtCapDivisor; }

  struct DeepestFirst {
    bool operator()(const Tenant* a, const Tenant* b) const;
  };
  struct ByName {
    bool operator()(const Lease* a, const Lease* b) const { return name_before(*a, *b); }
  };
  /// Nodes with held - revoking > limit.
  const std::set<Tenant*, DeepestFirst>& over() const { return over_; }
  const std::set<Lease*, ByName>& debtors() const { return debtors_; }

 private:
  void detach_tenants();
  void attach_tenants();
  void settle_guarantees();
  void attach(Account& node);
  void detach(Account& node);
  void count(Account& node);
  void walk_up(Lease& lease, const Change& change, bool shows);
  void count_up(Tenant& node);
  Counted counts_of(const Lease& lease) const;
  Counted counts_of(const Tenant& tenant) const;
  static void count_in_parent(const Account& node, const Counted& now);
  static void place(Account& node);
  void note_over(Tenant& tenant);
  bool drop_if_done(Tenant& tenant);

  Tenant root_;
  Bytes chunk_ = 0;
  SessionIndex sessions_;
  std::set<Tenant*, DeepestFirst> over_;
  std::set<Lease*, ByName> debtors_;
  std::set<Tenant*, DeepestFirst> set_aside_;
  std::uint64_t version_ = 0;
  std::uint64_t tenants_made_ = 0;
  mutable std::uint64_t visits_ = 0;  // a measure, no state
};

}  // namespace membroker::arbiter
