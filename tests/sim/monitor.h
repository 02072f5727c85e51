#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "server/arbiter/arbiter.h"
#include "tests/sim/accounts.h"
#include "tests/sim/answers.h"
#include "tests/sim/judge.h"

/// \file
/// Watches an arbiter from outside, step by step, with books of its own: what one state cannot
/// show (section 8 of the specification). After a step its effects are undone one by one, and each
/// is judged in the state it was made in.

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
  std::uint64_t alarms = 0;             // of debts
  std::uint64_t fairness_checks = 0;    // revocations judged
  std::uint64_t chosen_of_several = 0;  // grants judged with others waiting
  std::uint64_t predicted = 0;          // answers
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
    Bytes bytes = 0;  // still asked
    Instant opened;
    Instant deadline;
  };
  struct Session {
    Bytes held = 0;
    Bytes floor = 0;
    Bytes overdue = 0;
    std::int32_t priority = 0;
    Revocation revocation;
    int reports = 0;
    Bytes last_slack = 0;    // of the last report
    Bytes before_slack = 0;  // and the one before
  };
  using RequestKey = std::pair<SessionId, RequestId>;

  void note_event(const arbiter::Event& event);
  void note_acquire(const arbiter::Acquire& event);
  void note_report(SessionId session, Bytes slack, Bytes reclaimable);
  void note_debt(SessionId session, Bytes more);
  void close(SessionId session);
  void on(const arbiter::Opened& effect);
  void on(const arbiter::OpenRefused&) {}
  void on(const arbiter::Granted& effect);
  void on(const arbiter::Denied& effect);
  void on(const arbiter::Revoke& effect);
  void on(const arbiter::Withdraw& effect);
  void on(const arbiter::Overdue& effect);
  void on(const arbiter::Covered&) { ++tally_.covered; }
  void on(const arbiter::DebtOverCap& effect);
  void on(const arbiter::OverduePolicy&) {}
  void on(const arbiter::Rejected&);

  void check_answered();
  void check_sessions(const arbiter::Event* event);
  void check_limits();
  void judge_effects(const arbiter::Event* event, const arbiter::Effects& effects);
  /// Effects that are all revocations.
  struct Run {
    std::size_t first = 0;
    std::size_t last = 0;
    std::size_t first_of_wish = 0;  // the one that carries an admin's wish
  };
  void judge_revocations(Accounts& accounts, const arbiter::Effects& effects, const Run& run);
  Bytes idle(const arbiter::LeaseView& lease) const;
  void complain(const std::string& what);
  void hash(std::int64_t value);

  const arbiter::Arbiter& arbiter_;
  const arbiter::PolicyKind policy_;
  Answers answers_;
  Instant now_;
  std::string wrong_;
  Tally tally_;
  std::map<SessionId, Session> sessions_;
  Waiters waits_;
  Waiters answered_;  // in this step
  std::uint64_t arrivals_ = 0;
  bool in_order_ = false;  // no deadline passes before the event of this step is applied
  bool draining_ = false;
  std::int32_t opening_ = 0;                  // the priority of the session that this step opens
  Bytes wished_ = 0;                          // by an admin in this step, of one session
  std::vector<Bytes> increments_;             // what each effect asked for more, in this step
  std::vector<arbiter::DebtOverCap> alarms_;  // that this step must raise
  std::size_t raised_ = 0;
  std::map<std::string, Bytes> over_before_;  // held - debt - limit, where above 0
  bool may_rise_ = false;                     // a cut or a recovered session may put a node over
};

}  // namespace membroker::sim
