#pragma once

#include "server/arbiter/breaker.h"
#include "server/arbiter/planner.h"
#include "server/arbiter/pump.h"
#include "server/arbiter/sessions.h"
#include "server/arbiter/tenants.h"

/// \file
/// The arbiter's parts, and which of them each event goes to.

namespace membroker::arbiter {

struct Arbiter::State {
  State(Bytes capacity, const ArbiterOptions& options) : core(capacity, options) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void begin(Instant now, Effects& effects);
  void settle();
  bool unsettled() const;
  Instant next_deadline() const;

  void on(const SetTenant& event) { tenants.set(event); }
  void on(const RemoveTenant& event) { tenants.remove(event); }
  void on(const SetCapacity& event) { tenants.set_capacity(event); }
  void on(const Open& event) { sessions.open(event); }
  void on(const Gone& event) { sessions.gone(event); }
  void on(const Acquire& event);
  void on(const Cancel& event);
  void on(const Release& event) { sessions.release(event); }
  void on(const Over& event) { sessions.over(event); }
  void on(const Report& event) { sessions.report(event); }
  void on(const Progress& event) { sessions.progress(event); }
  void on(const Suspect& event) { sessions.suspend(event.session, SessionState::kSuspect); }
  void on(const Fence& event) { sessions.suspend(event.session, SessionState::kFenced); }
  void on(const Resumed& event) { sessions.resumed(event); }
  void on(const Recovered& event) { sessions.recovered(event); }
  void on(const Orphaned& event) { sessions.orphaned(event); }
  void on(const Ended& event) { sessions.ended(event); }
  void on(const Ask& event) { sessions.ask(event); }
  void on(const Drain&) { sessions.drain(); }

  Core core;
  Queue queue{core};
  Revocations revocations{core};
  Pump pump{core, queue};
  Planner planner{core, queue, revocations};
  Breaker breaker{core, queue};
  Sessions sessions{core, queue, revocations};
  Tenants tenants{core, queue};
  Instant settled_at;
  Instant shown_at;  // when what is set aside was last looked at
};

}  // namespace membroker::arbiter
