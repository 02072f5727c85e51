#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "client/lease/session_protocol.h"
#include "server/broker/peer.h"

namespace membroker::sim {

/// Random numbers of one simulated run; the same seed gives the same run.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : engine_(seed) {}
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(engine_);
  }
  bool chance(int percent) { return between(1, 100) <= percent; }

 private:
  std::mt19937_64 engine_;
};

/// The least a lease must do to be honest: it never uses more than it holds, and raises
/// returned_total only after it has stopped using the bytes. Everything else is a throw of dice.
class ModelLease : public lease::LeaseListener {
 public:
  struct Open {
    Bytes want = 0;
    Bytes min = 0;
    Instant deadline;
  };

  ModelLease(Dice& dice, const Instant& now, Bytes floor) : dice_(dice), now_(now) {
    figures_.floor = floor;
  }
  void bind(lease::SessionProtocol& protocol, std::size_t index) {
    protocol_ = &protocol;
    index_ = index;
  }

  // ---- what the client does ----
  void use_or_ask(Bytes bytes, Millis wait);
  void stop_using(Bytes bytes);
  void give_back_slack();
  void overdraw(Bytes bytes);
  void cancel_one();
  /// Serves an open revocation, wholly or in part, honestly or not at all.
  void answer_revocation();
  /// Frees and returns all that can be returned.
  void give_back_all();

  Bytes reserved() const { return figures_.reserved; }
  Bytes slack() const { return figures_.totals.held() - figures_.reserved; }
  bool revocation_open() const { return revocation_.has_value(); }
  std::size_t open_requests() const { return open_.size(); }

  // ---- LeaseListener ----
  lease::LeaseFigures figures() override;
  lease::LeaseTotals totals() const override { return figures_.totals; }
  void on_attached(const lease::LeaseTotals& daemon, Bytes floor, Bytes debt) override;
  void on_detached(const Error&, bool) override {}
  void on_lease_set(const lease::LeaseTotals& daemon, Bytes debt) override;
  void on_granted(RequestId id, Bytes bytes, Bytes granted_total) override;
  void on_denied(RequestId id, const Error& error) override;
  void on_revoke(const lease::Revocation& revocation) override;
  void on_pulse(bool, Bytes) override {}

  std::uint64_t grants = 0, denials = 0, revocations = 0, answered = 0;

 private:
  void give_back(Bytes bytes, bool urgent);

  Dice& dice_;
  const Instant& now_;
  lease::SessionProtocol* protocol_ = nullptr;
  std::size_t index_ = 0;
  lease::LeaseFigures figures_;
  Bytes floor_ = 0;  // as the daemon has it
  std::map<RequestId, Open> open_;
  std::uint64_t last_request_ = 0;
  std::optional<lease::Revocation> revocation_;
};

/// One client process: a session's protocol, its leases, and what its links need to know.
struct SimClient {
  broker::Peer peer;
  bool alive = true;
  std::vector<std::unique_ptr<ModelLease>> leases;
  std::unique_ptr<lease::SessionProtocol> protocol;
  std::uint64_t connection = 0;  // 0: none
  Instant paused_until;          // SIGSTOP
  Instant wake_at = Instant::never();
  int failures = 0;
  bool ending = false;  // says Goodbye when all is returned
};

}  // namespace membroker::sim
