#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "client/lease/lease_source.h"

namespace membroker::testing {

/// A lease that keeps what it is told and says what the test sets. Thread-safe.
class FakeLease : public lease::LeaseListener {
 public:
  lease::LeaseFigures figures() override {
    const std::lock_guard lock(mutex);
    return state;
  }
  lease::LeaseTotals totals() const override {
    const std::lock_guard lock(mutex);
    return state.totals;
  }
  void on_attached(const lease::LeaseTotals& daemon, Bytes floor, Bytes debt) override {
    const std::lock_guard lock(mutex);
    state.totals.granted = std::max(state.totals.granted, daemon.granted);
    attached = {daemon, floor, debt};
    ++attaches;
  }
  void on_detached(const Error& why, bool final) override {
    const std::lock_guard lock(mutex);
    detached.emplace_back(why, final);
  }
  void on_lease_set(const lease::LeaseTotals& daemon, Bytes debt) override {
    const std::lock_guard lock(mutex);
    state.totals.granted = std::max(state.totals.granted, daemon.granted);
    sets.push_back({daemon, 0, debt});
  }
  void on_granted(RequestId id, Bytes bytes, Bytes granted_total) override {
    const std::lock_guard lock(mutex);
    state.totals.granted = std::max(state.totals.granted, granted_total);
    granted[id] = bytes;
  }
  void on_denied(RequestId id, const Error& error) override {
    const std::lock_guard lock(mutex);
    denied.emplace(id, error);
  }
  void on_revoke(const lease::Revocation& revocation) override {
    const std::lock_guard lock(mutex);
    revoked = revocation;
  }
  void on_pulse(bool tight, Bytes chunk) override {
    const std::lock_guard lock(mutex);
    pulse = {tight, chunk};
  }

  struct LeaseSetSeen {
    lease::LeaseTotals totals;
    Bytes floor = 0;
    Bytes debt = 0;
  };

  mutable std::mutex mutex;
  lease::LeaseFigures state;
  int attaches = 0;
  std::optional<LeaseSetSeen> attached;
  std::vector<LeaseSetSeen> sets;
  std::vector<std::pair<Error, bool>> detached;
  std::map<RequestId, Bytes> granted;
  std::map<RequestId, Error> denied;
  std::optional<lease::Revocation> revoked;
  std::optional<std::pair<bool, Bytes>> pulse;
};

}  // namespace membroker::testing
