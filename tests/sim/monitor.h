#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "server/arbiter/arbiter.h"
#include "tests/sim/answers.h"
#include "tests/sim/fair_share.h"

/// \file
/// Watches an arbiter from outside, step by step, with a model of its own: what one state cannot
/// show (section 8 of the specification).

namespace membroker::sim {

struct Tally {
  std::uint64_t events = 0;
  std::uint64_t grants = 0;
  std::uint64_t partial_grants = 0;
  std::map<arbiter::DenyReason, std::uint64_t> denials;
  std::uint64_t revocations = 0;
  std::uint64_t top_ups = 0;
  std::uint64_t withdrawals = 0;
  std::uint64_t overdue = 0;
  std::uint64_t covered = 0;
  std::uint64_t rejected = 0;
  std::uint64_t fairness_checks = 0;
  std::uint64_t predicted = 0;  // answers
  Bytes peak_held = 0;
  double held_integral = 0;  // bytes x ms of what was held
  Millis elapsed = 0;
  std::uint64_t effects_hash = 14695981039346656037ull;
};

class Monitor {
 public:
  explicit Monitor(const arbiter::Arbiter& arbiter,
                   arbiter::PolicyKind policy = arbiter::PolicyKind::kFair)
      : arbiter_(arbiter), policy_(policy), answers_(arbiter) {}

  /// Before an event is applied (null: time passes).
  void before(Instant now, const arbiter::Event* event);
  /// After it; returns what is wrong, or nothing.
  std::string after(Instant now, const arbiter::Event* event, const arbiter::Effects& effects);
  /// All sessions are gone: everything is free and every request was answered.
  std::string at_end() const;

  const Tally& tally() const { return tally_; }
  Bytes held(SessionId session) const;

 private:
  struct Revocation {
    bool open = false;
    Instant opened;
    Instant deadline;
  };
  struct Session {
    Bytes held = 0;
    Bytes floor = 0;
    Bytes overdue = 0;
    Revocation revocation;
  };
  struct Wait {
    Instant deadline;
    Bytes want = 0;
    Bytes min = 0;
  };
  using RequestKey = std::pair<SessionId, RequestId>;

  void note_event(const arbiter::Event& event);
  void on(const arbiter::Opened& effect);
  void on(const arbiter::OpenRefused&) {}
  void on(const arbiter::Granted& effect);
  void on(const arbiter::Denied& effect);
  void on(const arbiter::Revoke& effect);
  void on(const arbiter::Withdraw& effect);
  void on(const arbiter::Overdue& effect);
  void on(const arbiter::Covered&) { ++tally_.covered; }
  void on(const arbiter::DebtOverCap&) {}
  void on(const arbiter::OverduePolicy&) {}
  void on(const arbiter::Rejected&);

  void check_answered();
  void check_sessions(const arbiter::Event* event);
  void check_limits();
  bool someone_is_over() const;
  void check_fairness(const arbiter::Revoke& effect);
  struct Move {
    int victim = 0;  // as nodes of the shares
    int asker = 0;
    Bytes asked = 0;  // of the victim, for whomever
    Bytes want = 0;   // of the asker
  };
  Bytes fair_claim(const FairShares& shares, const Move& move, std::string* why) const;
  void complain(const std::string& what);
  void hash(std::int64_t value);

  const arbiter::Arbiter& arbiter_;
  const arbiter::PolicyKind policy_;
  Answers answers_;
  Instant now_;
  std::string wrong_;
  Tally tally_;
  std::map<SessionId, Session> sessions_;
  std::map<RequestKey, Wait> waits_;
  std::map<RequestKey, Wait> waited_before_;  // as the step began
  std::map<SessionId, Bytes> revoking_before_;
  std::vector<arbiter::Revoke> asked_fairly_;  // in this step
  std::map<SessionId, Bytes> denied_now_;      // wants
  std::map<std::string, Bytes> over_before_;   // held - debt - limit, where above 0
  bool may_rise_ = false;                      // a cut or a recovered session may put a node over
};

}  // namespace membroker::sim
