#include "tests/sim/judge.h"

#include <algorithm>
#include <optional>

#include "shared/format.h"
#include "tests/sim/fair_share.h"

namespace membroker::sim {

namespace {

using namespace membroker::arbiter;  // NOLINT: one function for each of its effects

using Wide = __int128;

// Numbers of section 9, written down again.
constexpr std::size_t kScan = 16;
constexpr std::int64_t kPasses = 16;
constexpr Millis kStall = 250;
constexpr Bytes kIdleCounts = 3;

unsigned long long number(SessionId session) { return session.value; }
long long number(Bytes bytes) { return bytes; }

/// < 0, 0, > 0 as a's level is below, at or above b's.
int compare_levels(const Accounts::Node& a, const Accounts::Node& b) {
  const bool below = a.surplus() < 0;
  if (below != (b.surplus() < 0)) return below ? -1 : 1;
  const Wide left = Wide{a.surplus()} * (below ? b.guarantee : Bytes{b.weight});
  const Wide right = Wide{b.surplus()} * (below ? a.guarantee : Bytes{a.weight});
  return left < right ? -1 : (left > right ? 1 : 0);
}

std::string name_of(const Waiter& waiter) {
  return strf("request %llu of session %llu", static_cast<unsigned long long>(waiter.id.value),
              number(waiter.session));
}

}  // namespace

// ---- who waits, and for what ----

Bytes Judge::enough(const Waiter& waiter) const {
  return std::max(waiter.min, std::min(waiter.want, chunk_));
}

bool Judge::fits(const Accounts& accounts, const Waiter& waiter) const {
  const int lease = accounts.lease(waiter.session);
  if (accounts.node(accounts.node(lease).parent).debt > 0) return false;  // it does not count
  return accounts.room(lease).bytes >= enough(waiter);
}

// The nodes that have less free than would do; none while its tenant has debt.
std::vector<int> Judge::short_at(const Accounts& accounts, const Waiter& waiter) const {
  std::vector<int> nodes;
  const int lease = accounts.lease(waiter.session);
  if (accounts.node(accounts.node(lease).parent).debt > 0) return nodes;
  for (const Accounts::Room& at : accounts.free(lease)) {
    if (at.bytes < enough(waiter)) nodes.push_back(at.tight);
  }
  return nodes;
}

// Whom else does a node of its path lack bytes for? Only such a one can be a head before it.
bool Judge::behind_someone(const Accounts& accounts, const Waiters& waiters,
                           const Waiter& waiter) const {
  const int lease = accounts.lease(waiter.session);
  return std::any_of(waiters.begin(), waiters.end(), [&](const auto& other) {
    if (&other.second == &waiter || other.second.arrival == waiter.arrival) return false;
    const std::vector<int> nodes = short_at(accounts, other.second);
    return std::any_of(nodes.begin(), nodes.end(),
                       [&](int node) { return accounts.is_above(node, lease); });
  });
}

// Bytes of nodes above the lease are earmarked to it, wherever exactly it was found blocked.
bool Judge::surely_head_for(const Accounts& accounts, const Waiters& waiters, const Waiter& head,
                            int lease) const {
  const std::vector<int> nodes = short_at(accounts, head);
  if (nodes.empty() || behind_someone(accounts, waiters, head)) return false;
  return std::all_of(nodes.begin(), nodes.end(),
                     [&](int node) { return accounts.is_above(node, lease); });
}

bool Judge::aged(const Waiter& waiter) const {
  return now_ - waiter.arrived > (waiter.deadline - waiter.arrived) / 2;
}

// Keys (1) and (2) of section 2; `more` bytes are counted as still held.
int Judge::urgency(const Accounts& accounts, int parent, int node, Bytes more) const {
  const Accounts::Node& account = accounts.node(node);
  const Bytes surplus = account.surplus() + more;
  if (surplus < 0) return 0;
  if (policy_ == PolicyKind::kGreedy) return 1;
  const Accounts::Average average = accounts.average(parent);
  const bool within =
      Wide{surplus - chunk_} * average.weight <= Wide{average.surplus} * account.weight;
  return within ? 1 : 2;
}

// Does `first` come before `second` whichever others have been looked at already? Those no longer
// count for ages and arrivals, so its side is taken at its worst and the other's at its best.
bool Judge::surely_before(const Accounts& accounts, const Waiters& waiters, const Waiter& first,
                          const Waiter& second) const {
  if (first.session == second.session) {
    if (first.priority != second.priority) return first.priority > second.priority;
    return first.arrival < second.arrival;
  }
  const auto sides = accounts.sides(accounts.lease(first.session), accounts.lease(second.session));
  const Accounts::Node& a = accounts.node(sides.first);
  const Accounts::Node& b = accounts.node(sides.second);
  bool second_aged = false;
  std::uint64_t second_arrival = UINT64_MAX;
  for (const auto& [key, waiter] : waiters) {
    if (!accounts.is_above(sides.second, accounts.lease(waiter.session))) continue;
    second_aged = second_aged || aged(waiter);
    second_arrival = std::min(second_arrival, waiter.arrival);
  }
  const int level = compare_levels(a, b);
  const bool earlier = first.arrival < second_arrival;
  const int first_urgency = urgency(accounts, sides.common, sides.first, 0);
  const int second_urgency = urgency(accounts, sides.common, sides.second, 0);
  if (first_urgency != second_urgency) return first_urgency < second_urgency;
  if (policy_ == PolicyKind::kGreedy) return first_urgency == 0 && level != 0 ? level < 0 : earlier;
  if (aged(first) != second_aged) return aged(first);
  if (a.priority != b.priority) return a.priority > b.priority;
  return level != 0 ? level < 0 : earlier;
}

// ---- grants ----

// At most 16 others go past a head until it has stalled for 250 ms, then 16 more; beside them the
// small lane.
std::string Judge::count_pass(Waiter& head, const Waiter& request) const {
  if (request.want <= capacity_ / 1024 && head.lane + request.want <= capacity_ / 128) {
    head.lane += request.want;
    return {};
  }
  if (head.session == request.session) {
    return name_of(request) + " passes one of its own lease, " + name_of(head);
  }
  const std::int64_t most = kPasses * (1 + (now_ - head.arrived) / kStall);
  if (++head.passes <= most) return {};
  return strf("%s was passed %lld times", name_of(head).c_str(),
              static_cast<long long>(head.passes));
}

std::string Judge::grant(const Accounts& accounts, Waiters& waiters, const Waiter& request,
                         Bytes bytes) const {
  const int lease = accounts.lease(request.session);
  const Accounts::Room room = accounts.room(lease);
  const auto wrong = [&](const std::string& what) {
    return strf("a grant of %lld bytes to %s, room %lld: ", number(bytes), name_of(request).c_str(),
                number(room.bytes)) +
           what;
  };
  if (accounts.node(accounts.node(lease).parent).debt > 0) return wrong("its tenant has debt");
  if (bytes != std::min(room.bytes, request.want)) return wrong("not what there is of its want");
  const bool late = request.deadline <= now_;
  if (!late && bytes < enough(request) && accounts.node(room.tight).revoking > 0) {
    return wrong("less than a chunk, and more was coming");
  }
  if (waiters.size() > kScan) return {};  // not all of them are looked at
  for (auto& [key, other] : waiters) {
    if (other.arrival == request.arrival) continue;
    if (!surely_before(accounts, waiters, other, request)) continue;
    if (fits(accounts, other) && !behind_someone(accounts, waiters, other)) {
      return wrong("before it comes " + name_of(other) + ", for which there is room");
    }
    if (late || !surely_head_for(accounts, waiters, other, lease)) continue;
    if (bytes < request.want) return wrong("a part, of bytes earmarked to " + name_of(other));
    if (const std::string too_often = count_pass(other, request); !too_often.empty()) {
      return wrong(too_often);
    }
  }
  return {};
}

// ---- denials ----

std::string Judge::denial(const Accounts& accounts, const Waiters& waiters, const Waiter& request,
                          const Denied& effect) const {
  const bool spill_yourself = effect.reason == DenyReason::kSelfSpill;
  if (!spill_yourself && effect.reason != DenyReason::kDeadline) return {};
  const int lease = accounts.lease(request.session);
  const Accounts::Node& account = accounts.node(lease);
  const Bytes room = accounts.room(lease).bytes;
  const Bytes has = account.slack + account.reclaimable;
  const auto wrong = [&](const char* what) {
    return strf("%s is denied %s with %lld bytes to spill, has %lld, room %lld: %s",
                name_of(request).c_str(), spill_yourself ? "self_spill" : "deadline",
                number(effect.self_spill), number(has), number(room), what);
  };
  const bool in_debt = accounts.node(account.parent).debt > 0;
  const bool enough = room >= request.min && !in_debt;
  if (!spill_yourself) {
    if (effect.self_spill != std::min(request.min, has)) return wrong("another figure");
    if ((effect.hint == Hint::kSpill) != (has > 0)) return wrong("another hint");
    if (now_ < request.deadline) return wrong("too early");
    const bool earmarked = waiters.size() > kScan || behind_someone(accounts, waiters, request);
    return enough && !earmarked ? wrong("there was its min") : "";
  }
  // What is there is less by what the plan has promised to others, which is not seen.
  const Bytes least = std::min(request.min - room, has);
  const Bytes most =
      waiters.size() == 1 ? least : std::min(request.min - std::min(room, Bytes{0}), has);
  if (effect.self_spill <= 0 || effect.self_spill < least || effect.self_spill > most) {
    return wrong("another figure");
  }
  if (account.revoking > 0) return wrong("it is being asked itself");
  if (accounts.below_guarantee(lease)) return wrong("it is below its guarantee");
  if (policy_ == PolicyKind::kGreedy || waiters.size() > 1) return {};  // promises are not seen
  int side = lease;
  for (int at = account.parent;; side = at, at = accounts.node(at).parent) {
    const Accounts::Node& asker = accounts.node(side);
    for (const int child : accounts.node(at).children) {
      if (child == side || !accounts.active(child)) continue;
      const Accounts::Node& sibling = accounts.node(child);
      const Wide weights = Wide{sibling.weight} + asker.weight;
      const Wide over =
          Wide{sibling.surplus()} * asker.weight - Wide{asker.surplus()} * sibling.weight;
      if (sibling.surplus() >= chunk_ && over >= chunk_ * weights) {
        return wrong("someone beside it could lose a chunk to it");
      }
    }
    if (at == accounts.room(lease).tight) return {};
  }
}

// ---- debts ----

std::string Judge::cover(const Accounts& accounts, const Accounts& pumped, const Waiters& waiters,
                         const Covered& effect) const {
  const int lease = accounts.lease(effect.session);
  const auto wrong = [&](const std::string& what) {
    return strf("%lld bytes of the debt of session %llu are covered: ", number(effect.bytes),
                number(effect.session)) +
           what;
  };
  const Bytes fit = std::min(accounts.node(lease).debt, accounts.cover_room(lease));
  if (effect.bytes != fit) return wrong(strf("%lld fit", number(fit)));
  if (waiters.size() > kScan) return {};
  for (const auto& [key, waiter] : waiters) {
    if (!surely_head_for(pumped, waiters, waiter, lease)) continue;
    const auto sides = accounts.sides(lease, accounts.lease(waiter.session));
    const Bytes asked = accounts.node(sides.first).revoking;
    const int owes = urgency(accounts, sides.common, sides.first, asked);
    if (owes >= urgency(accounts, sides.common, sides.second, 0)) {
      return wrong("past " + name_of(waiter));
    }
  }
  return {};
}

// ---- at rest ----

std::string Judge::rest(const Accounts& accounts, const Waiters& waiters) const {
  for (const auto& [key, waiter] : waiters) {
    if (waiters.size() > kScan) break;
    if (!fits(accounts, waiter) || behind_someone(accounts, waiters, waiter)) continue;
    return name_of(waiter) + " waits, and there is room for it";
  }
  for (const auto& [session, lease] : accounts.leases()) {
    if (accounts.node(lease).debt == 0 || accounts.cover_room(lease) <= 0) continue;
    const bool earmarked =
        std::any_of(waiters.begin(), waiters.end(), [&, lease = lease](const auto& waiter) {
          const std::vector<int> nodes = short_at(accounts, waiter.second);
          return std::any_of(nodes.begin(), nodes.end(),
                             [&](int node) { return accounts.is_above(node, lease); });
        });
    if (!earmarked) return strf("the debt of session %llu is not covered", number(session));
  }
  return {};
}

// ---- revocations ----

// What debts and what is above limits lack, before this was asked, where the lease may be asked for
// it. Nodes below such a one keep their guarantees, but for what their own debtors and admins take.
Judge::Needs Judge::needs(const Accounts& accounts, int victim, const Asked& asked) const {
  Needs needs;
  const Accounts::Node& lease = accounts.node(victim);
  needs.debt = std::max(Bytes{0}, lease.debt - (lease.revoking - asked.bytes));
  bool kept = true;
  const bool keeps_all = needs.debt == 0 && asked.wished == 0;
  for (int at = lease.parent; at >= 0 && kept; at = accounts.node(at).parent) {
    const Accounts::Node& node = accounts.node(at);
    const Bytes revoking = node.revoking - asked.bytes;
    const bool owes = std::any_of(node.children.begin(), node.children.end(), [&](int child) {
      return accounts.node(child).is_lease && accounts.node(child).debt > 0;
    });
    if (owes) needs.debt += std::max(Bytes{0}, node.debt - revoking);
    (at == 0 ? needs.capacity : needs.tenants) +=
        std::max(Bytes{0}, node.held - revoking - node.limit);
    kept = !keeps_all || node.surplus() >= 0;
  }
  return needs;
}

std::string Judge::revoke(const Accounts& accounts, const Waiters& waiters, const Revoke& effect,
                          const Asked& asked) const {
  const int victim = accounts.lease(effect.session);
  const Accounts::Node& lease = accounts.node(victim);
  const auto wrong = [&](const std::string& what) {
    return strf("session %llu (held %s, revoking %s) is asked for %lld bytes: ",
                number(effect.session), format_bytes(lease.held).c_str(),
                format_bytes(lease.revoking).c_str(), number(asked.bytes)) +
           what;
  };
  if (asked.bytes <= 0) return wrong("nothing more than before");
  if (asked.draining) {
    const bool all = lease.revoking == lease.held - lease.floor;
    return effect.reason != RevokeReason::kDrain || all ? "" : wrong("a drain is for everything");
  }
  if (accounts.claim(victim) < 0) return wrong("it did not say it can give as much");
  if (asked.bytes < asked.wished) return wrong("less than an admin wants");
  const Needs need = needs(accounts, victim, asked);
  const bool needed = asked.bytes <= asked.wished + need.all();
  std::optional<bool> by_reason;  // of a new one; a top-up keeps the reason it had
  if (effect.opened) {
    switch (effect.reason) {
      case RevokeReason::kAdmin: by_reason = needed && asked.wished > 0; break;
      case RevokeReason::kDebt: by_reason = needed && need.debt > 0; break;
      case RevokeReason::kLimit: by_reason = needed && need.tenants > 0; break;
      case RevokeReason::kCapacity: by_reason = needed && need.capacity > 0; break;
      case RevokeReason::kDrain: by_reason = false; break;
      case RevokeReason::kGuarantee:
      case RevokeReason::kFairShare: break;
    }
  } else if (needed) {
    by_reason = true;
  }
  if (by_reason) return *by_reason ? "" : wrong("there is no such reason for it");
  std::string why = "nobody has a fair claim to them";
  for (const auto& [key, waiter] : waiters) {
    const std::string not_for =
        claim(accounts, waiter, {victim, asked.bytes, effect.reason, effect.opened});
    if (not_for.empty()) return {};
    why += "\n  not " + name_of(waiter) + ": " + not_for;
  }
  return wrong(why);
}

// Why the waiter has no claim to what was asked; one plan, and so one effect, is for one waiter.
std::string Judge::claim(const Accounts& accounts, const Waiter& waiter, const Ask& ask) const {
  const int asker = accounts.lease(waiter.session);
  if (asker == ask.victim) return "the same lease";
  if (accounts.node(accounts.node(asker).parent).debt > 0) return "its tenant has debt";
  // Beyond its want: what a cut took below nothing, which must be free first, and a slice's rest.
  Bytes most = saturating_add(waiter.want, chunk_);
  Bytes least = 0;
  for (const Accounts::Room& at : accounts.free(asker)) {
    least = std::min(least, at.bytes + accounts.node(at.tight).revoking - ask.bytes);
  }
  most = saturating_add(most, -least);
  if (ask.bytes > most) return "it wants less";
  const bool below = accounts.below_guarantee(asker);
  if (ask.opened && below != (ask.reason == RevokeReason::kGuarantee)) {
    return below ? "it is below its guarantee" : "it is not below its guarantee";
  }
  const auto sides = accounts.sides(ask.victim, asker);
  for (int at = ask.victim; at != sides.common; at = accounts.node(at).parent) {
    if (accounts.node(at).surplus() < 0) return "the victim's side goes below a guarantee";
  }
  const Accounts::Node& gains = accounts.node(sides.second);
  if (policy_ == PolicyKind::kFair) return fair_claim(accounts, waiter, ask);
  return gains.surplus() < 0 ? "" : "its side has its guarantee";
}

// Invariant 5: by levels, which is exact, and by fair shares.
std::string Judge::fair_claim(const Accounts& accounts, const Waiter& waiter,
                              const Ask& ask) const {
  const auto sides = accounts.sides(ask.victim, accounts.lease(waiter.session));
  const Accounts::Node& loses = accounts.node(sides.first);
  const Accounts::Node& gains = accounts.node(sides.second);
  // Unused bytes count more, where nothing else was asked for.
  const Bytes unused = accounts.slack_claim(ask.victim) + ask.bytes;
  const bool only_unused = unused >= chunk_ / 8 && ask.bytes <= unused;
  const Bytes tax = only_unused ? kIdleCounts * loses.idle : 0;
  const Wide loser = (Wide{loses.surplus()} + tax) * gains.weight;
  if (loser < Wide{gains.surplus()} * loses.weight) return "the victim's side is now the lower one";
  if (accounts.below_guarantee(accounts.lease(waiter.session))) return {};
  if (loses.debt + loses.overdue + gains.debt + gains.overdue > 0) return {};
  // Which of the bytes were unused ones cannot be told here.
  const FairShares shares(accounts);
  const Bytes tolerance = 2 * chunk_ + waiter.want / 32;
  const Bytes share = shares.of(sides.first);
  if (loses.keeps() + kIdleCounts * loses.idle >= share - tolerance) return {};
  const Bytes more = std::min(ask.bytes, waiter.want);
  if (gains.keeps() + more <= shares.of(sides.second) + tolerance) return {};
  return strf("the victim's side keeps %s (idle %s) of its share of %s, its own %s of %s",
              format_bytes(loses.keeps()).c_str(), format_bytes(loses.idle).c_str(),
              format_bytes(share).c_str(), format_bytes(gains.keeps()).c_str(),
              format_bytes(shares.of(sides.second)).c_str());
}

}  // namespace membroker::sim
