#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "server/broker/broker.h"
#include "server/broker/process_facts.h"
#include "shared/check.h"

// The ends of client processes, and what they leave behind.

namespace membroker::broker {
namespace {

// Forked children share pages of the first resource, the machine's memory, and of no other.
constexpr std::size_t kRam = 0;
// Less than this is not worth an account, nor a change of one.
constexpr Bytes kOrphanBytesMin = 256 * kKiB;

arbiter::Orphaned account_of(const Orphan& orphan) {
  return {orphan.id, fmt::format("orphan {}#{}", orphan.process.pid, orphan.id.value),
          orphan.tenant, orphan.totals.held()};
}

// Charges the orphans no more than `held` in all, each in proportion to what it is charged now.
void divide(Bytes held, std::vector<Orphan>* orphans) {
  Bytes all = 0;
  for (const Orphan& orphan : *orphans) all += orphan.totals.granted;
  if (all <= held) return;
  const double part = static_cast<double>(held) / static_cast<double>(all);
  Bytes rest = held;
  for (Orphan& orphan : *orphans) {
    const auto own = static_cast<Bytes>(static_cast<double>(orphan.totals.granted) * part);
    orphan.totals.granted = std::min(own, rest);
    rest -= orphan.totals.granted;
  }
}

}  // namespace

void Broker::process_ended(const Peer& peer, Instant now, const std::vector<Kin>& left) {
  begin(now);
  const auto found = by_process_.find(peer.key());
  end_process(peer, found == by_process_.end() ? std::set<SessionId>() : found->second,
              orphans_.contains(peer.key()), "process_ended", left);
  // Its streams may outlive it: a forked child holds the socket.
  std::vector<ConnectionId> streams;
  for (const auto& [connection, record] : connections_) {
    if (record.peer == peer) streams.push_back(connection);
  }
  for (const ConnectionId connection : streams) {
    end_stream(connection, EndCode::kUnavailable, "the process that opened the stream has ended");
  }
  commit();
}

void Broker::process_execed(const Peer& peer, std::uint64_t image, Instant now,
                            const std::vector<Kin>& left) {
  begin(now);
  std::set<SessionId> before;
  if (const auto found = by_process_.find(peer.key()); found != by_process_.end()) {
    for (const SessionId id : found->second) {
      const std::uint64_t own = find(id)->peer.image;
      if (own != kImageUnknown && own != image) before.insert(id);
    }
  }
  const auto orphan = orphans_.find(peer.key());
  const bool of_it = orphan != orphans_.end() && orphan->second.process.image != kImageUnknown &&
                     orphan->second.process.image != image;
  if (!before.empty()) ++counters_.processes_execed;
  end_process(peer, before, of_it, "process_execed", left);
  commit();
}

void Broker::orphans_measured(const std::vector<MeasuredShare>& shares, Instant now) {
  begin(now);
  for (const MeasuredShare& share : shares) {
    const auto found = orphans_.find(share.process.key());
    if (found == orphans_.end()) continue;
    if (share.bytes > 0) {
      found->second.share = share.bytes;
    } else if (!found->second.watched) {
      end_process(share.process, {}, true, "process_ended", {});
    }
  }
  recharge_orphans();
  commit();
}

std::vector<Peer> Broker::take_orphans() { return std::exchange(fresh_orphans_, {}); }

std::vector<Peer> Broker::take_unneeded() {
  std::erase_if(unneeded_, [this](const Peer& peer) {
    return by_process_.contains(peer.key()) || orphans_.contains(peer.key());
  });
  return std::exchange(unneeded_, {});
}

/// Ends the sessions, and the orphan if the process was one, which may have forked, too. In the
/// ledger what is left is charged before anything is credited, in the arbiter at once. Where the
/// ledger is full only what ends makes room in it.
void Broker::end_process(const Peer& peer, const std::set<SessionId>& ids, bool orphan,
                         const char* why, const std::vector<Kin>& left) {
  Estate estate;
  arbiter::Ended ended;
  const auto inherit = [&](SessionId id, Bytes held, const std::string& tenant,
                           const std::string& name) {
    ended.gone.push_back(id);
    estate.held += held;
    if (!estate.tenant.empty() && held <= estate.most) return;
    estate.most = held;
    estate.tenant = tenant;
    estate.client_name = name;
  };
  for (const SessionId id : ids) {
    const Session* session = find(id);
    const SessionLease* lease = session->lease_of(kRam);
    if (lease == nullptr) continue;
    inherit(id, lease->totals.held(), session->tenant, session->client_name);
  }
  if (orphan) {
    const Orphan& own = orphans_.at(peer.key());
    inherit(own.id, own.totals.held(), own.tenant, own.client_name);
  }
  const SessionId first{next_session_};
  for (Orphan& heir : heirs(peer, estate, left, ids.size() + (orphan ? 1 : 0))) {
    heir.estate = first;
    put_on_record(heir);
    ended.left.push_back(account_of(heir));
    enter(std::move(heir));
  }
  if (!ended.gone.empty()) feed(kRam, ended);
  for (const SessionId id : ids) forget(*find(id), why, true);
  if (orphan) forget_orphan(peer.key(), why);
  record_the_rest();
  if (orphan) recharge_orphans();  // its siblings' shares have grown
}

/// The children to be charged for what their parent had: each for what it holds, or, where that is
/// more in all, since each one's pages may be shared by all, for its part in proportion. `freed`:
/// places that the parent gives up.
std::vector<Orphan> Broker::heirs(const Peer& parent, const Estate& estate,
                                  const std::vector<Kin>& left, std::size_t freed) {
  std::vector<Orphan> result;
  for (const Kin& kin : left) {
    // What a child with a session holds is charged to that, or counted already.
    const ProcessKey key = kin.process.key();
    if (by_process_.contains(key) || orphans_.contains(key)) continue;
    unneeded_.push_back(kin.process);
    const Bytes bytes = std::min(kin.bytes.value_or(estate.held), estate.held);
    if (bytes < kOrphanBytesMin) continue;
    if (!kin.measurable) {
      if (counters_.orphans_unmeasured++ > 0) continue;
      spdlog::warn(
          "orphan_unmeasured pid={} parent={} tenant={} why=\"no right to see its memory "
          "(CAP_SYS_PTRACE); nothing is charged; said once\"",
          kin.process.pid, parent.pid, estate.tenant);
      continue;
    }
    Orphan orphan;
    orphan.process = kin.process;
    orphan.parent = parent.pid;
    orphan.tenant = estate.tenant;
    orphan.client_name = estate.client_name;
    orphan.lent_max = estate.held;
    orphan.totals.granted = bytes;
    result.push_back(std::move(orphan));
  }
  std::stable_sort(result.begin(), result.end(), [](const Orphan& a, const Orphan& b) {
    return a.totals.granted > b.totals.granted;
  });
  if (const std::size_t places = orphan_places(parent.uid, freed); result.size() > places) {
    counters_.orphans_unmeasured += result.size() - places;
    spdlog::warn("orphans_left_out parent={} uid={} tenant={} count={} charged={}", parent.pid,
                 parent.uid, estate.tenant, result.size() - places, places);
    result.resize(places);
  }
  std::erase_if(result, [this](Orphan& orphan) { return !watch_orphan(orphan); });
  divide(estate.held, &result);
  return result;
}

/// False if it has ended. One that cannot be watched just now may live, and is charged.
bool Broker::watch_orphan(Orphan& orphan) {
  const Status watched = watch_(orphan.process);
  orphan.watched = watched.has_value();
  if (orphan.watched || watched.error().code() == ErrorCode::kNotFound) return orphan.watched;
  spdlog::error("orphan_not_watched pid={} parent={} why={}", orphan.process.pid, orphan.parent,
                log_text(watched.error().message()));
  return true;
}

/// A place is that of a session, with its slot in the ledger and its descriptors: a user has no
/// more of both together. Half of all places stay for sessions, so that orphans lock nobody out.
std::size_t Broker::orphan_places(uid_t uid, std::size_t freed) const {
  const BrokerLimits& limits = config_.limits;
  const auto left = [&](std::size_t most, std::size_t taken, std::size_t orphans) {
    const std::size_t half = (most + 1) / 2;
    return std::min(most + freed - std::min(most + freed, taken), half - std::min(half, orphans));
  };
  std::size_t orphans_of_uid = 0;
  for (const auto& [key, orphan] : orphans_) orphans_of_uid += orphan.process.uid == uid ? 1 : 0;
  const auto of_uid = places_of_uid_.find(uid);
  const std::size_t taken_by_uid = of_uid == places_of_uid_.end() ? 0 : of_uid->second;
  return std::min(left(limits.sessions_max, sessions_.size() + orphans_.size(), orphans_.size()),
                  left(limits.sessions_per_uid_max, taken_by_uid, orphans_of_uid));
}

/// On record, if there is room, before it is in the arbiter.
void Broker::put_on_record(Orphan& orphan) {
  orphan.id = SessionId{next_session_++};
  static_cast<void>(claim_slot(orphan));  // tried again when the parent's are free
  ++counters_.orphans_left;
  spdlog::warn("orphan_left pid={} parent={} tenant={} client={} bytes={}", orphan.process.pid,
               orphan.parent, orphan.tenant, log_text(orphan.client_name), orphan.totals.held());
  note("orphan_left", orphan, fmt::format("pid={} parent={}", orphan.process.pid, orphan.parent));
}

Status Broker::claim_slot(Orphan& orphan) {
  auto slot = ledger_.claim({orphan.id,
                             orphan.process,
                             {},
                             0,
                             0,
                             orphan.tenant,
                             resources_[kRam].config.name,
                             orphan.client_name,
                             orphan.parent},
                            orphan.totals);
  if (!slot) return fail(slot.error());
  orphan.slot = *slot;
  return {};
}

/// Orphans for which there was no room in the ledger.
void Broker::record_the_rest() {
  for (auto& [key, orphan] : orphans_) {
    if (orphan.slot) continue;
    if (auto recorded = claim_slot(orphan); !recorded) {
      spdlog::warn("orphan_not_on_record pid={} why={}", orphan.process.pid,
                   log_text(recorded.error().message()));
    }
  }
}

void Broker::enter(Orphan orphan) {
  fresh_orphans_.push_back(orphan.process);
  ++places_of_uid_[orphan.process.uid];
  orphans_.emplace(orphan.process.key(), std::move(orphan));
}

/// Charges each orphan what was last measured, and those of one parent together no more than that
/// had: first what has become less, then, of what is left, what has become more.
void Broker::recharge_orphans() {
  std::map<SessionId, Bytes> rooms;  // of estates
  for (auto& [key, orphan] : orphans_) {
    const Bytes less = orphan.totals.held() - orphan.share.value_or(orphan.totals.held());
    if (less >= kOrphanBytesMin) {
      orphan.totals.returned += less;
      if (orphan.slot) ledger_.store(*orphan.slot, orphan.totals);
      feed(kRam, arbiter::Release{orphan.id, less});
    }
    rooms.try_emplace(orphan.estate, orphan.lent_max).first->second -= orphan.totals.held();
  }
  for (auto& [key, orphan] : orphans_) {
    Bytes& room = rooms[orphan.estate];
    const Bytes more = std::min(orphan.share.value_or(0) - orphan.totals.held(), room);
    if (more < kOrphanBytesMin) continue;
    room -= more;
    orphan.totals.granted += more;
    if (orphan.slot) ledger_.store(*orphan.slot, orphan.totals);
    feed(kRam, arbiter::Ended{{orphan.id}, {account_of(orphan)}});
  }
}

/// Its account has ended in the arbiter.
void Broker::forget_orphan(const ProcessKey& process, const char* why) {
  const auto found = orphans_.find(process);
  const Orphan orphan = std::move(found->second);
  orphans_.erase(found);
  spdlog::info("orphan_gone pid={} parent={} tenant={} bytes={} why={}", orphan.process.pid,
               orphan.parent, orphan.tenant, orphan.totals.held(), why);
  note("orphan_gone", orphan,
       fmt::format("pid={} parent={} why={}", orphan.process.pid, orphan.parent, why));
  if (orphan.slot) ledger_.release(*orphan.slot);
  give_up_place(orphan.process);
  drop_counters(orphan.tenant);
}

/// Of a session or an orphan that is erased. The process may be of no interest any more.
void Broker::give_up_place(const Peer& process) {
  unneeded_.push_back(process);
  const auto uid = places_of_uid_.find(process.uid);
  if (--uid->second == 0) places_of_uid_.erase(uid);
}

/// From the ledger, where `entry` says that the process is one.
void Broker::recover_orphan(const LedgerEntry& entry) {
  const LedgerIdentity& identity = entry.identity;
  Orphan orphan;
  orphan.id = identity.session;
  orphan.process = identity.peer;
  orphan.parent = identity.orphan_of;
  orphan.tenant = identity.tenant;
  orphan.client_name = identity.client_name;
  orphan.totals = entry.totals;
  orphan.slot = entry.slot;
  const auto resource = resource_named(identity.resource);
  const bool twice = orphans_.contains(identity.peer.key());
  if (!resource || *resource != kRam || twice || !watch_orphan(orphan)) {
    ledger_.release(entry.slot);
    return;
  }
  feed(kRam, account_of(orphan));
  spdlog::info("orphan_recovered pid={} parent={} tenant={} bytes={}", orphan.process.pid,
               orphan.parent, orphan.tenant, orphan.totals.held());
  note("orphan_recovered", orphan,
       fmt::format("pid={} parent={}", orphan.process.pid, orphan.parent));
  enter(std::move(orphan));
}

/// What a recovered orphan's parent had is not on record; its children had all of it, at most. Nor
/// is which parent of a number: those of one number are one estate.
void Broker::recover_orphans(const std::vector<LedgerEntry>& entries) {
  struct Lent {
    SessionId first;
    Bytes bytes = 0;
  };
  std::map<pid_t, Lent> lent;
  for (const LedgerEntry& entry : entries) {
    if (entry.identity.orphan_of == 0) continue;
    Lent& of_parent =
        lent.try_emplace(entry.identity.orphan_of, Lent{entry.identity.session, 0}).first->second;
    of_parent.bytes += entry.totals.held();
    recover_orphan(entry);
  }
  for (auto& [key, orphan] : orphans_) {
    orphan.estate = lent[orphan.parent].first;
    orphan.lent_max = lent[orphan.parent].bytes;
  }
}

}  // namespace membroker::broker
