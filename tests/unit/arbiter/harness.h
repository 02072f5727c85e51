#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/arbiter/arbiter.h"
#include "tests/sim/effect_text.h"

/// \file
/// An arbiter of 1 GiB whose effects read like the specification's examples. Sizes in MiB.

namespace membroker::arbiter {

class Harness {
 public:
  explicit Harness(Bytes capacity = 1024 * kMiB, ArbiterOptions options = {})
      : arbiter_(capacity, options) {}

  Arbiter& arbiter() { return arbiter_; }
  SessionId id(const std::string& name) {
    const auto known = ids_.find(name);
    if (known != ids_.end()) return known->second;
    const SessionId made{ids_.size() + 1};
    names_[made] = name;
    return ids_[name] = made;
  }

  std::string apply(Millis at, const Event& event) {
    Effects effects;
    last_ = at;
    arbiter_.apply({at}, event, effects);
    return text(effects);
  }
  std::string tick(Millis at) {
    Effects effects;
    last_ = at;
    arbiter_.expire({at}, effects);
    return text(effects);
  }

  std::string tenant(const std::string& path, const TenantPolicy& policy = {}) {
    return apply(last_, SetTenant{path, policy});
  }
  std::string open(const std::string& name, const std::string& tenant, Bytes floor = 0,
                   bool optional = false, std::int32_t priority = 0) {
    return apply(last_, Open{id(name), name, tenant, priority, floor * kMiB, optional});
  }
  /// Holds `bytes` of which `slack` and `reclaimable` were reported.
  void hold(const std::string& name, Bytes bytes, Bytes slack = 0, Bytes reclaimable = 0) {
    apply(last_, Acquire{id(name), {++requests_}, bytes * kMiB, bytes * kMiB, 0, 0});
    report(last_, name, slack, reclaimable);
  }
  std::string acquire(Millis at, std::uint64_t request, const std::string& name, Bytes want,
                      Bytes min, Millis wait, std::int32_t priority = 0) {
    return apply(at, Acquire{id(name), {request}, want * kMiB, min * kMiB, wait, priority});
  }
  std::string release(Millis at, const std::string& name, Bytes bytes) {
    return apply(at, Release{id(name), bytes * kMiB});
  }
  std::string report(Millis at, const std::string& name, Bytes slack, Bytes reclaimable) {
    return apply(at, Report{id(name), slack * kMiB, reclaimable * kMiB});
  }
  std::string progress(Millis at, const std::string& name, ProgressState state, Bytes slack,
                       Bytes reclaimable, bool current = true) {
    return apply(at, Progress{id(name), current, state, slack * kMiB, reclaimable * kMiB});
  }
  LeaseView lease(const std::string& name) { return arbiter_.lease(id(name)).value(); }
  Bytes held(const std::string& name) { return lease(name).held / kMiB; }

 private:
  std::string text(const Effects& effects) {
    const std::string broken = arbiter_.check_invariants();
    return broken.empty() ? sim::effects_text(effects, names_) : "broken: " + broken;
  }

  Arbiter arbiter_;
  std::map<std::string, SessionId> ids_;
  sim::SessionNames names_;
  Millis last_ = 0;  // the latest instant, for what is set up without one
  std::uint64_t requests_ = 1'000'000;
};

/// Sessions without floors: "a1" and "a2" for the tenant "a", "b1" for "b".
inline Harness with_sessions(const std::vector<std::string>& names) {
  Harness h;
  std::set<std::string> tenants;
  for (const std::string& name : names) tenants.insert(name.substr(0, 1));
  for (const std::string& tenant : tenants) h.tenant(tenant);
  for (const std::string& name : names) h.open(name, name.substr(0, 1));
  return h;
}

}  // namespace membroker::arbiter
