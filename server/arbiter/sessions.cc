#include "server/arbiter/sessions.h"

#include <algorithm>
#include <utility>

#include "server/arbiter/tenant_path.h"
#include "shared/format.h"

namespace membroker::arbiter {

namespace {

unsigned long long number(SessionId session) { return session.value; }
long long number(Bytes bytes) { return bytes; }

}  // namespace

void Sessions::reject(std::string reason) { core_.emit(Rejected{std::move(reason)}); }

void Sessions::refuse(SessionId session, std::string reason) {
  core_.emit(OpenRefused{session, std::move(reason)});
}

Lease* Sessions::find(SessionId session, const char* what) {
  Lease* lease = core_.tree.sessions().find(session);
  if (lease == nullptr) {
    reject(strf("%s of an unknown session: %llu is not open", what, number(session)));
  }
  return lease;
}

// ---- opening and ending ----

// What a further floor may take there.
Bytes Sessions::floor_room(const Tenant& tenant) const {
  Bytes least = std::min(core_.options.floor_max, core_.tree.room(tenant).bytes);
  for (const Tenant* node = &tenant; node != nullptr; node = node->parent) {
    const Bytes share = std::max(node->guarantee, node->limit / kFloorShareDivisor);
    least = std::min(least, share - node->floor);
  }
  return std::max(Bytes{0}, least);
}

void Sessions::open(const Open& event) {
  if (!event.session || core_.tree.sessions().find(event.session) != nullptr) {
    refuse(event.session, strf("session %llu is already open", number(event.session)));
    return;
  }
  Tenant* tenant = core_.tree.find(event.tenant);
  if (tenant == nullptr || tenant == &core_.tree.root() || tenant->removed) {
    refuse(event.session, strf("tenant \"%s\" %s", event.tenant.c_str(),
                               tenant == nullptr ? "is not configured" : "has been removed"));
    return;
  }
  if (core_.draining) {
    refuse(event.session, "draining: no new sessions");
    return;
  }
  const Bytes room = floor_room(*tenant);
  if (event.floor < 0 || (event.floor > room && !event.optional_floor)) {
    refuse(event.session,
           strf("floor of %lld bytes is refused: tenant \"%s\" has room for floors of %lld bytes",
                number(event.floor), event.tenant.c_str(), number(room)));
    return;
  }
  const Bytes floor = std::min(event.floor, room);
  Lease& lease = core_.tree.add_lease(*tenant, event.session, event.name, event.priority);
  core_.tree.add(lease, {.held = floor, .floor = floor});
  core_.emit(Opened{event.session, floor});
}

void Sessions::gone(const Gone& event) {
  Lease* lease = find(event.session, "end");
  if (lease == nullptr) return;
  queue_.deny_all(*lease, DenyReason::kSessionGone, Hint::kNone);
  revocations_.forget(*lease);
  if (lease->held > 0) core_.progress_at = core_.now;
  core_.tree.add(*lease, {.held = -lease->held,
                          .revoking = -lease->revoking,
                          .debt = -lease->debt,
                          .overdue = -lease->overdue,
                          .floor = -lease->floor});
  Tenant* tenant = lease->parent;
  core_.tree.drop_lease(*lease);
  core_.tree.prune(tenant);
}

// ---- bytes ----

void Sessions::release(const Release& event) {
  Lease* lease = find(event.session, "release");
  if (lease == nullptr) return;
  if (event.bytes < 0 || event.bytes > lease->held) {
    reject(strf("release of more than is held: session %llu returns %lld bytes of %lld",
                number(event.session), number(event.bytes), number(lease->held)));
    return;
  }
  revocations_.release(*lease, event.bytes);
}

bool Sessions::fits(Bytes held) {
  if (held >= 0 && held <= kFigureMax - core_.tree.root().held) return true;
  reject(strf("%lld bytes are no possible holding", number(held)));
  return false;
}

void Sessions::over(const Over& event) {
  Lease* lease = find(event.session, "overdraft");
  if (lease == nullptr || !fits(event.bytes)) return;
  overdraw(*lease, event.bytes);
}

void Sessions::overdraw(Lease& lease, Bytes bytes) {
  if (bytes == 0) return;
  core_.tree.add(lease, {.held = bytes, .debt = bytes});
  for (const Tenant* node = lease.parent; node->parent != nullptr; node = node->parent) {
    const Bytes cap = core_.tree.debt_cap(*node);
    if (node->debt <= cap) continue;
    core_.emit(DebtOverCap{path_of(*node), node->debt, cap, node->debt - bytes <= cap});
  }
}

// ---- reports ----

void Sessions::report(const Report& event) {
  Lease* lease = find(event.session, "report");
  if (lease == nullptr) return;
  if (event.slack < 0 || event.reclaimable < 0) {
    reject(strf("report of session %llu with a negative figure", number(event.session)));
    return;
  }
  revocations_.report(*lease, event.slack, event.reclaimable);
  revocations_.ask_to_floor(*lease, false);
}

void Sessions::progress(const Progress& event) {
  Lease* lease = find(event.session, "progress");
  if (lease == nullptr) return;
  if (event.slack < 0 || event.reclaimable < 0) {
    reject(strf("progress of session %llu with a negative figure", number(event.session)));
    return;
  }
  revocations_.progress(*lease, event);
  revocations_.ask_to_floor(*lease, false);
}

// ---- states ----

void Sessions::suspend(SessionId session, SessionState state) {
  Lease* lease = find(session, state == SessionState::kFenced ? "fence" : "suspect");
  if (lease == nullptr || lease->state == SessionState::kOrphan) return;
  if (lease->state == SessionState::kFenced) return;  // stays so until it resumes
  suspend(*lease, state);
}

void Sessions::suspend(Lease& lease, SessionState state) {
  const bool fenced = state == SessionState::kFenced;
  lease.state = state;
  queue_.deny_all(lease, fenced ? DenyReason::kSessionFenced : DenyReason::kSessionSuspect,
                  Hint::kNone);
  revocations_.suspend(lease);
}

void Sessions::resumed(const Resumed& event) {
  Lease* lease = find(event.session, "resume");
  if (lease == nullptr) return;
  if (lease->state == SessionState::kOrphan || event.held < 0 || event.slack < 0 ||
      event.reclaimable < 0) {
    reject(strf("session %llu cannot resume with %lld bytes held, %lld slack, %lld reclaimable",
                number(event.session), number(event.held), number(event.slack),
                number(event.reclaimable)));
    return;
  }
  const Bytes more = event.held - std::min(event.held, lease->held);
  if (!fits(more)) return;
  if (lease->active_session()) suspend(*lease, SessionState::kSuspect);
  lease->state = SessionState::kActive;
  lease->reports = 0;
  if (event.held < lease->held) revocations_.release(*lease, lease->held - event.held);
  overdraw(*lease, more);
  revocations_.report(*lease, event.slack, event.reclaimable);
  revocations_.resume(*lease);
}

// Whatever the limits; suspect, and never debt.
Lease& Sessions::charge(const Recovered& event) {
  Tenant& tenant = core_.tree.make_tenant(event.tenant, true);
  Lease& lease = core_.tree.add_lease(tenant, event.session, event.name, event.priority);
  lease.state = SessionState::kSuspect;
  core_.tree.add(lease, {.held = event.held, .floor = std::min(event.floor, event.held)});
  return lease;
}

void Sessions::recovered(const Recovered& event) {
  if (!event.session || core_.tree.sessions().find(event.session) != nullptr) {
    reject(strf("recovered session %llu is already open", number(event.session)));
  } else if (!valid_tenant_path(event.tenant) || event.floor < 0) {
    reject(strf("recovered session %llu names no tenant (\"%s\") or has a negative floor",
                number(event.session), event.tenant.c_str()));
  } else if (fits(event.held)) {
    charge(event);
  }
}

void Sessions::orphaned(const Orphaned& event) {
  if (!event.id || core_.tree.sessions().find(event.id) != nullptr) {
    reject(strf("orphan %llu has the id of an open session", number(event.id)));
  } else if (!valid_tenant_path(event.tenant)) {
    reject(strf("orphan %llu names no tenant: \"%s\"", number(event.id), event.tenant.c_str()));
  } else if (fits(event.bytes)) {
    charge({event.id, event.name, event.tenant, 0, event.bytes, 0}).state = SessionState::kOrphan;
  }
}

void Sessions::ended(const Ended& event) {
  for (const SessionId session : event.gone) gone({session});
  for (const Orphaned& orphan : event.left) orphaned(orphan);
}

// ---- by an admin ----

void Sessions::ask(const Ask& event) {
  Lease* lease = find(event.session, "revocation");
  if (lease == nullptr) return;
  const Bytes claim = lease->backing_off ? 0 : lease->claim(Stage::kSpill);
  if (event.bytes <= 0 || claim == 0) {
    reject(strf("nothing to ask of session %llu: wanted %lld bytes, it can give %lld",
                number(event.session), number(event.bytes), number(claim)));
    return;
  }
  revocations_.ask_for_admin(*lease, std::min(event.bytes, claim));
}

void Sessions::drain() {
  if (core_.draining) return;
  core_.draining = true;
  for (Lease* lease : core_.tree.sessions().by_session()) {
    queue_.deny_all(*lease, DenyReason::kDraining, Hint::kWait);
    revocations_.ask_to_floor(*lease, true);
  }
}

}  // namespace membroker::arbiter
