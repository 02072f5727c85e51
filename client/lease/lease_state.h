#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <vector>

#include "client/lease/lease_source.h"

/// \file
/// One lease as its client knows it: what is lent, what is used, what was asked for and what is
/// asked back. Pure: instants are handed in, nothing is called back, one thread at a time. The
/// daemon's protocol is in proto/membroker/v1/session.proto.
///
///     cap = held - returning = reserved + earmarked + free
///
/// earmarked: granted to an open request whose owner has not fetched it. returning: no longer the
/// client's to use, not yet said to be returned. The floor is never given back.

namespace membroker::lease {

/// A client has no more requests open than this; the rest wait for their turn locally.
inline constexpr std::size_t kOpenRequestsMax = 8;
/// A request asks for up to this many of the arbiter's chunks ("Growth").
inline constexpr Bytes kGrowthChunksMax = 16;
/// What an idle client keeps for a second, and for ten.
inline constexpr Bytes kIdleKeepMax = 64 * kMiB;
inline constexpr Bytes kIdleKeepDivisor = 16;
inline constexpr Millis kIdleSoon = 1'000;
inline constexpr Millis kIdleLate = 10'000;

class LeaseState {
 public:
  struct OpenRequest {
    LeaseRequest ask;
    Bytes opened_min = 0;  // before it was lowered: what was sent may be as large
    Instant deadline;
    bool owned = true;  // false: its grant becomes free bytes, its answer is told to nobody
    bool answered = false;
    Bytes earmarked = 0;
    std::optional<Error> denied;
  };
  struct OpenRevocation {
    Revocation asked;
    Instant deadline;
    bool answered = false;  // done or cannot was said
  };

  // ---- local use: no call moves a total but overdraw ----

  /// n of the free bytes become reserved. False: there are fewer; nothing changed.
  bool reserve(Bytes n);
  /// n bytes become reserved whatever there is; returns what was missing, which is overdrawn.
  Bytes overdraw(Bytes n);
  /// n reserved bytes become free. Call give_back() after it.
  void unreserve(Bytes n);

  // ---- giving back: lower the cap, let the memory go, then say so ----

  /// What is to be returned as soon as it is free: debt, or the open revocation's rest.
  Bytes owed() const;
  /// Takes at most n free bytes, but none of the floor's, out of the cap; returns how many.
  Bytes begin_return(Bytes n);
  void finish_return(Bytes n);
  Bytes give_back() {
    const Bytes n = begin_return(owed());
    finish_return(n);
    return n;
  }
  /// Free bytes that nobody wanted for long: to be returned at `now`. Call every second or so.
  Bytes idle(Instant now);

  // ---- requests ----

  /// Opens a request. want is raised to what growth by chunks suggests if `grow`.
  LeaseRequest open_request(Bytes min, Bytes want, bool grow, std::int32_t priority, Instant now,
                            Instant deadline);
  const OpenRequest* find(RequestId id) const;
  /// Before it is sent (again): `less` of what it needs has come from elsewhere.
  void lower_request(RequestId id, Bytes less);
  /// The owner takes its answer, or gives up: an earmark becomes free, and of a request not yet
  /// answered a later grant does. False: it was answered, or is unknown.
  bool close_request(RequestId id);
  /// Gives up, for good, every request that nobody owns but `kept`: what is still granted becomes
  /// free all the same.
  void forget_unowned(RequestId kept);
  /// Those still open, with the wait they have left.
  std::vector<LeaseRequest> unanswered(Instant now) const;
  std::size_t open_count() const { return requests_.size(); }

  // ---- what the daemon says ----

  void on_granted(RequestId id, Bytes bytes, Bytes granted_total);
  void on_denied(RequestId id, const Error& error);
  /// Takes the larger granted_total; the rest of the daemon's totals are the client's own.
  void on_lease_set(const LeaseTotals& daemon, Bytes debt);
  /// on_lease_set(), then open requests are served from free bytes, oldest first: a grant may have
  /// been lost with the stream; with `only` set none but that one. Returns the ids that are still
  /// to be sent.
  std::vector<RequestId> on_attached(const LeaseTotals& daemon, Bytes floor, Bytes debt,
                                     std::optional<RequestId> only = std::nullopt);
  void on_revoke(const Revocation& revocation, Instant now);
  /// done or cannot was said about the open revocation.
  void answer_revocation() { revocation_->answered = true; }
  void on_pulse(bool tight, Bytes chunk);

  // ---- figures ----

  const LeaseTotals& totals() const { return totals_; }
  Bytes cap() const { return totals_.held() - returning_; }
  /// The lease proper: what is overdrawn and not covered left out.
  Bytes size() const { return cap() - debt_; }
  Bytes free() const { return cap() - reserved_ - earmarked_; }
  Bytes reserved() const { return reserved_; }
  Bytes earmarked() const { return earmarked_; }
  Bytes floor() const { return floor_; }
  Bytes debt() const { return debt_; }
  bool tight() const { return tight_; }
  Bytes chunk() const { return chunk_; }
  /// Null when none is open: none came, or it was met, withdrawn or answered.
  const OpenRevocation* revocation() const;
  Bytes revocation_left() const;

  void check_invariants() const;

 private:
  void note_free();

  LeaseTotals totals_;
  Bytes returning_ = 0;
  Bytes reserved_ = 0;
  Bytes earmarked_ = 0;
  Bytes floor_ = 0;
  Bytes debt_ = 0;

  std::map<RequestId, OpenRequest> requests_;
  std::uint64_t last_request_ = 0;
  std::optional<OpenRevocation> revocation_;

  bool tight_ = false;
  Bytes chunk_ = kMiB;
  Bytes growth_ = 1;  // chunks a request asks for

  // Least free bytes since the start of each window.
  Bytes low_soon_ = 0;
  Bytes low_late_ = 0;
  Instant soon_since_;
  Instant late_since_;
};

}  // namespace membroker::lease
