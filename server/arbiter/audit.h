#pragma once

#include <string>

#include "server/arbiter/queue.h"

/// \file
/// Finds what is wrong with a state; every method returns one sentence, or nothing.

namespace membroker::arbiter {

class Audit {
 public:
  Audit(const Core& core, Queue& queue) : core_(core), queue_(queue) {}

  std::string all() const;

 private:
  std::string node(const Tenant& tenant) const;
  std::string sums(const Tenant& tenant) const;
  std::string lease(const Lease& lease) const;
  std::string sets(const Tenant& tenant) const;
  std::string order() const;
  std::string left_out(const Tenant& tenant) const;

  // The definitions of section 1, by a walk.
  static Bytes hold(const Account& node);
  static Bytes excess(const Account& node);
  static bool active(const Account& node);
  bool claimable(const Account& node, Stage stage) const;
  static bool eligible(const Account& node);
  static bool aged(const Account& node);
  static std::uint64_t arrival(const Account& node);
  bool waits_before(const Account& a, const Account& b, const Tenant& node) const;

  static Lease* as_key(const Lease& lease) { return const_cast<Lease*>(&lease); }

  const Core& core_;
  Queue& queue_;
};

}  // namespace membroker::arbiter
