#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "client/transport/daemon_link.h"

/// \file
/// A client of the daemon with a lease and nothing else: what an acquire costs is the link, the
/// socket and the daemon. All it is granted it holds as slack, and returns when that is revoked.

namespace membroker::bench {

class LeaseHolder final : public lease::LeaseListener {
 public:
  /// Connected; stop() ends it.
  static Result<std::shared_ptr<LeaseHolder>> connect(const std::string& socket,
                                                      const std::string& tenant,
                                                      const std::string& name);
  void stop() { link_->stop(); }

  /// Waits until granted. The caller's wait is the daemon's, and a bound of our own above it.
  Status acquire(Bytes bytes);
  /// Gives everything but the floor back, and waits until the daemon has taken it: a later request
  /// is answered.
  Status give_all();
  Bytes held();

  lease::LeaseFigures figures() override;
  lease::LeaseTotals totals() const override;
  void on_attached(const lease::LeaseTotals& daemon, Bytes floor, Bytes debt) override;
  void on_detached(const Error& why, bool final) override;
  void on_lease_set(const lease::LeaseTotals& daemon, Bytes debt) override;
  void on_granted(RequestId id, Bytes bytes, Bytes granted_total) override;
  void on_denied(RequestId id, const Error& error) override;
  void on_revoke(const lease::Revocation& revocation) override;
  void on_pulse(bool tight, Bytes chunk) override;

 private:
  mutable std::mutex mutex_;  // guards what follows but the link
  std::condition_variable changed_;
  lease::LeaseTotals totals_;
  Bytes floor_ = kMiB;
  RequestId last_request_;
  RequestId last_answer_;
  std::string denied_;  // why the last answer was no grant
  std::shared_ptr<transport::DaemonLink> link_;
  std::shared_ptr<lease::LeaseSource> source_;
};

}  // namespace membroker::bench
