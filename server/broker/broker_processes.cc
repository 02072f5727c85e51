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

}  // namespace

void Broker::process_ended(const Peer& peer, Instant now, const std::vector<Kin>& left) {
  begin(now);
  const auto found = by_process_.find(peer.key());
  end_sessions_of(peer, found == by_process_.end() ? std::set<SessionId>() : found->second,
                  "process_ended", left);
  end_orphan(peer.key(), "process_ended");
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
  if (!before.empty()) ++counters_.processes_execed;
  end_sessions_of(peer, before, "process_execed", left);
  commit();
}

void Broker::orphan_measured(const Peer& process, Bytes share, Instant now) {
  begin(now);
  const auto found = orphans_.find(process.key());
  if (found == orphans_.end()) return;
  Orphan& orphan = found->second;
  Bytes room = orphan.lent_max;
  for (const auto& [key, other] : orphans_) {
    if (other.parent == orphan.parent && key != process.key()) room -= other.totals.held();
  }
  recharge(orphan, std::clamp<Bytes>(share, 0, std::max<Bytes>(room, 0)));
  commit();
}

std::vector<Peer> Broker::take_orphans() { return std::exchange(fresh_orphans_, {}); }

/// The orphans are charged before anything is credited: never is more free than there is.
void Broker::end_sessions_of(const Peer& peer, const std::set<SessionId>& ids, const char* why,
                             const std::vector<Kin>& left) {
  Estate estate;
  const auto inherit = [&estate](Bytes held, const std::string& tenant, const std::string& name) {
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
    inherit(lease->totals.held(), session->tenant, session->client_name);
  }
  // An orphan may have forked, too.
  if (const auto orphan = orphans_.find(peer.key()); orphan != orphans_.end()) {
    inherit(orphan->second.totals.held(), orphan->second.tenant, orphan->second.client_name);
  }
  leave_orphans(peer, estate, left);
  for (const SessionId id : ids) forget(*find(id), why);
}

void Broker::leave_orphans(const Peer& parent, const Estate& estate, const std::vector<Kin>& left) {
  Bytes room = estate.held;
  for (const Kin& kin : left) {
    const ProcessKey key = kin.process.key();
    // What a child with a session holds is charged to that, or counted already.
    if (room <= 0 || by_process_.contains(key) || orphans_.contains(key)) continue;
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
    orphan.totals.granted = std::min(kin.bytes, room);
    if (orphan.totals.granted < kOrphanBytesMin) continue;
    const Bytes bytes = orphan.totals.granted;
    if (open_orphan(std::move(orphan))) room -= bytes;
  }
}

/// False if the process has ended meanwhile, or its end could not be seen: then nothing is charged.
bool Broker::open_orphan(Orphan orphan) {
  if (auto watched = watch_(orphan.process); !watched) {
    if (watched.error().code() != ErrorCode::kNotFound) ++counters_.orphans_unmeasured;
    return false;
  }
  charge(orphan);
  ++counters_.orphans_left;
  spdlog::warn("orphan_left pid={} parent={} tenant={} client={} bytes={}", orphan.process.pid,
               orphan.parent, orphan.tenant, log_text(orphan.client_name), orphan.totals.held());
  note("orphan_left", orphan, fmt::format("pid={} parent={}", orphan.process.pid, orphan.parent));
  fresh_orphans_.push_back(orphan.process);
  orphans_.emplace(orphan.process.key(), std::move(orphan));
  return true;
}

/// Opens an account of what it holds, in the ledger before in the arbiter.
void Broker::charge(Orphan& orphan) {
  orphan.id = SessionId{next_session_++};
  const Resource& ram = resources_[kRam];
  auto slot = ledger_.claim({orphan.id,
                             orphan.process,
                             {},
                             0,
                             0,
                             orphan.tenant,
                             ram.config.name,
                             orphan.client_name,
                             orphan.parent},
                            orphan.totals);
  if (slot) {
    orphan.slot = *slot;
  } else {
    orphan.slot.reset();
    spdlog::warn("orphan_not_on_record pid={} why={}", orphan.process.pid,
                 log_text(slot.error().message()));
  }
  feed(kRam, arbiter::Orphaned{orphan.id,
                               fmt::format("orphan {}#{}", orphan.process.pid, orphan.id.value),
                               orphan.tenant, orphan.totals.held()});
}

void Broker::recharge(Orphan& orphan, Bytes bytes) {
  const Bytes held = orphan.totals.held();
  if (bytes < kOrphanBytesMin) {
    end_orphan(orphan.process.key(), "holds_nothing");
  } else if (bytes + kOrphanBytesMin <= held) {
    orphan.totals.returned += held - bytes;
    if (orphan.slot) ledger_.store(*orphan.slot, orphan.totals);
    feed(kRam, arbiter::Release{orphan.id, held - bytes});
  } else if (bytes >= held + kOrphanBytesMin) {
    // A new account before the old one ends: in between nothing is free that is not.
    const SessionId before = orphan.id;
    const std::optional<std::size_t> slot = orphan.slot;
    orphan.totals = {bytes, 0, 0};
    charge(orphan);
    if (slot) ledger_.release(*slot);
    feed(kRam, arbiter::Gone{before});
  }
}

void Broker::end_orphan(const ProcessKey& process, const char* why) {
  const auto found = orphans_.find(process);
  if (found == orphans_.end()) return;
  const Orphan orphan = std::move(found->second);
  orphans_.erase(found);
  spdlog::info("orphan_gone pid={} parent={} tenant={} bytes={} why={}", orphan.process.pid,
               orphan.parent, orphan.tenant, orphan.totals.held(), why);
  note("orphan_gone", orphan,
       fmt::format("pid={} parent={} why={}", orphan.process.pid, orphan.parent, why));
  if (orphan.slot) ledger_.release(*orphan.slot);
  feed(kRam, arbiter::Gone{orphan.id});
}

/// From the ledger, where `entry` says that the process is one.
void Broker::recover_orphan(const LedgerEntry& entry) {
  const LedgerIdentity& identity = entry.identity;
  const auto resource = resource_named(identity.resource);
  const bool twice = orphans_.contains(identity.peer.key());
  const Status watched = watch_(identity.peer);
  if (!resource || *resource != kRam || twice || !watched) {
    ledger_.release(entry.slot);
    return;
  }
  Orphan orphan;
  orphan.id = identity.session;
  orphan.process = identity.peer;
  orphan.parent = identity.orphan_of;
  orphan.tenant = identity.tenant;
  orphan.client_name = identity.client_name;
  orphan.lent_max = entry.totals.granted;
  orphan.totals = entry.totals;
  orphan.slot = entry.slot;
  feed(kRam, arbiter::Orphaned{orphan.id,
                               fmt::format("orphan {}#{}", orphan.process.pid, orphan.id.value),
                               orphan.tenant, orphan.totals.held()});
  spdlog::info("orphan_recovered pid={} parent={} tenant={} bytes={}", orphan.process.pid,
               orphan.parent, orphan.tenant, orphan.totals.held());
  note("orphan_recovered", orphan,
       fmt::format("pid={} parent={}", orphan.process.pid, orphan.parent));
  fresh_orphans_.push_back(orphan.process);
  orphans_.emplace(orphan.process.key(), std::move(orphan));
}

}  // namespace membroker::broker
