#pragma once

#include "server/arbiter/account.h"

/// \file
/// What differs between the ways of sharing one resource: who is looked at first when bytes are
/// free, and who may lose bytes to whom when they are not. Capacity, limits, guarantees, debts,
/// earmarks, deadlines and answers are the same under every policy.

namespace membroker::arbiter {

class Policy {
 public:
  virtual ~Policy() = default;

  /// Of the node's children with a request that waits the one to look at next; null if none.
  virtual const Account* first_waiting(const Tenant& node, Bytes chunk) const = 0;

  /// The part of that order that holds between one who overdrew and one who asked: the less goes
  /// first, and of equals the one who asked.
  virtual int urgency(const Level& level, const Average& average, Bytes chunk) const = 0;

  /// What one child of a node may be asked for on behalf of another; none if not above 0. `taxed`
  /// is the victim's surplus with its idle bytes counted again. Never more than the surplus.
  virtual Bytes may_lose(const Side& victim, Bytes taxed, const Side& asker) const = 0;
};

/// Weighted max-min fairness, as the specification says it.
class FairPolicy final : public Policy {
 public:
  const Account* first_waiting(const Tenant& node, Bytes chunk) const override;
  int urgency(const Level& level, const Average& average, Bytes chunk) const override;
  Bytes may_lose(const Side& victim, Bytes taxed, const Side& asker) const override;
};

/// First come, first served: who lacks of its guarantee comes first and gets that back from others;
/// beyond it free bytes go in order of arrival, and nobody loses what it has to a request. Weights
/// and priorities count only where a limit, a capacity or a debt asks bytes back.
class GreedyPolicy final : public Policy {
 public:
  const Account* first_waiting(const Tenant& node, Bytes chunk) const override;
  int urgency(const Level& level, const Average& average, Bytes chunk) const override;
  Bytes may_lose(const Side& victim, Bytes taxed, const Side& asker) const override;
};

const Policy& policy_of(PolicyKind kind);

}  // namespace membroker::arbiter
