#include "client/lease/session_protocol.h"

#include <algorithm>
#include <utility>

#include "client/lease/session_words.h"
#include "shared/check.h"
#include "shared/format.h"

namespace membroker::lease {
namespace {

constexpr std::uint32_t kProtocolVersion = 1;
constexpr Bytes kFloorMin = 1 * kMiB;
constexpr Millis kHeartbeatMin = 20, kHeartbeatMax = 60'000;
constexpr Millis kTtlMax = 600'000;

/// The lease's own number of a request; see wire_id() in session_frames.cc.
RequestId lease_id(std::uint64_t wire) { return {wire / kLeasesPerSessionMax}; }

bool sane(const LeaseTotals& totals) {
  if (totals.granted < 0 || totals.overdrawn < 0 || totals.returned < 0) return false;
  const auto taken = checked_add(totals.granted, totals.overdrawn);
  return taken && totals.returned <= *taken;
}

Error against_protocol(const std::string& what) {
  return Error(ErrorCode::kUnavailable, "membrokerd broke the session protocol: " + what +
                                            "; the session is attached again");
}

}  // namespace

SessionProtocol::SessionProtocol(SessionIdentity identity, std::vector<SessionLease> leases)
    : identity_(std::move(identity)) {
  MB_CHECK(!leases.empty());
  MB_CHECK(leases.size() <= kLeasesPerSessionMax);
  for (SessionLease& lease : leases) {
    MB_CHECK(lease.listener != nullptr);
    Lease& mine = leases_.emplace_back();
    mine.resource = std::move(lease.resource);
    mine.listener = lease.listener;
  }
}

v1::ClientFrame SessionProtocol::begin_attach(Instant now) {
  saw(now);
  heard_ = now;
  attach_.value += 1;
  epoch_ = {};
  streaming_ = true;
  attached_ = welcomed_ = goodbye_sent_ = false;
  inventory_due_ = change_due_ = Instant::never();
  outgoing_.clear();
  asked_.clear();

  v1::ClientFrame frame;
  frame.set_attach(attach_.value);
  v1::Hello& hello = *frame.add_messages()->mutable_hello();
  hello.set_protocol_version(kProtocolVersion);
  hello.set_tenant(identity_.tenant);
  hello.set_client_name(identity_.client_name);
  hello.mutable_labels()->insert(identity_.labels.begin(), identity_.labels.end());
  hello.set_token(identity_.token.data(), identity_.token.size());
  hello.set_priority(identity_.priority);
  for (Lease& lease : leases_) {
    const LeaseFigures figures = lease.listener->figures();
    lease.attached = false;
    lease.progress.reset();
    lease.sent_overdrawn = figures.totals.overdrawn;
    lease.sent_returned = figures.totals.returned;
    lease.said = figures;
    v1::LeaseClaim& claim = *hello.add_leases();
    claim.set_resource(lease.resource);
    claim.set_floor_bytes(std::min(figures.floor, floor_cap_));
    claim.set_granted_total(figures.totals.granted);
    claim.set_overdrawn_total(figures.totals.overdrawn);
    claim.set_returned_total(figures.totals.returned);
    claim.set_slack_bytes(figures.slack);
    claim.set_reclaimable_bytes(figures.reclaimable);
  }
  return frame;
}

Status SessionProtocol::on_frame(const v1::ServerFrame& frame, Instant now) {
  saw(now);
  if (!streaming_ || frame.attach() != attach_.value ||
      (welcomed_ && frame.epoch() != epoch_.value)) {
    ++counters_.stale_frames;
    return {};
  }
  heard_ = now;
  int first = 0;
  if (!welcomed_) {
    if (Status status = on_welcome(frame, now); !status) return status;
    first = 1;
  }
  for (int i = first; i < frame.messages_size(); ++i) {
    if (Status status = on_message(frame.messages(i)); !status) return status;
  }
  return {};
}

Status SessionProtocol::on_welcome(const v1::ServerFrame& frame, Instant now) {
  if (frame.messages_size() == 0 || !frame.messages(0).has_welcome()) {
    return fail(against_protocol("its first message is not Welcome"));
  }
  const v1::Welcome& welcome = frame.messages(0).welcome();
  if (welcome.attach() != attach_.value || welcome.epoch() != frame.epoch() ||
      welcome.epoch() == 0) {
    return fail(against_protocol("Welcome and its frame disagree about epoch or attach"));
  }
  if (welcome.epoch() < last_epoch_.value) {
    return fail(against_protocol(strf("epoch %llu came after %llu: an older daemon answered",
                                      static_cast<unsigned long long>(welcome.epoch()),
                                      static_cast<unsigned long long>(last_epoch_.value))));
  }
  welcomed_ = true;
  epoch_ = last_epoch_ = {welcome.epoch()};
  session_id_ = welcome.session_id();
  if (welcome.heartbeat_ms() != 0) {
    heartbeat_ = std::clamp<Millis>(welcome.heartbeat_ms(), kHeartbeatMin, kHeartbeatMax);
  }
  if (welcome.session_ttl_ms() != 0) ttl_ = welcome.session_ttl_ms();
  ttl_ = std::clamp<Millis>(ttl_, 2 * heartbeat_, kTtlMax);
  inventory_due_ = now + heartbeat_;
  change_due_ = now;  // what has changed since Hello was composed
  if (ever_attached_) ++counters_.resumed;
  return {};
}

Status SessionProtocol::on_message(const v1::ServerMessage& message) {
  switch (message.kind_case()) {
    case v1::ServerMessage::kLeaseSet: return on_lease_set(message.lease_set());
    case v1::ServerMessage::kGranted: return on_granted(message.granted());
    case v1::ServerMessage::kDenied: return on_denied(message.denied());
    case v1::ServerMessage::kRevoke: on_revoke(message.revoke()); return {};
    case v1::ServerMessage::kPulse: on_pulse(message.pulse()); return {};
    case v1::ServerMessage::kDraining: return {};  // the end of the stream says the same
    case v1::ServerMessage::kFenced:
      return fail(ErrorCode::kUnavailable, "membrokerd fenced the session (" +
                                               message.fenced().reason().substr(0, 256) +
                                               "); it is attached again with its totals");
    case v1::ServerMessage::kWelcome: return fail(against_protocol("a second Welcome"));
    case v1::ServerMessage::kSharedCharge:
    case v1::ServerMessage::KIND_NOT_SET: break;
  }
  ++counters_.odd_messages;
  return {};
}

SessionProtocol::Lease* SessionProtocol::find(const std::string& resource) {
  for (Lease& lease : leases_) {
    if (lease.resource == resource) return &lease;
  }
  ++counters_.odd_messages;
  return nullptr;
}

Status SessionProtocol::on_lease_set(const v1::LeaseSet& set) {
  Lease* lease = find(set.resource());
  if (lease == nullptr) return {};
  const LeaseTotals totals{set.granted_total(), set.overdrawn_total(), set.returned_total()};
  if (!sane(totals) || set.floor_bytes() < 0 || set.debt_bytes() < 0) {
    return fail(against_protocol("totals of " + lease->resource + " that cannot be"));
  }
  lease->floor = set.floor_bytes();
  lease->debt = set.debt_bytes();
  if (lease->attached) {
    lease->listener->on_lease_set(totals, lease->debt);
    return {};
  }
  lease->attached = true;
  lease->listener->on_attached(totals, lease->floor, lease->debt);
  attached_ =
      std::all_of(leases_.begin(), leases_.end(), [](const Lease& l) { return l.attached; });
  ever_attached_ = ever_attached_ || attached_;
  return {};
}

Status SessionProtocol::on_granted(const v1::Granted& granted) {
  Lease* lease = find(granted.resource());
  if (lease == nullptr) return {};
  if (granted.bytes() <= 0 || granted.granted_total() < granted.bytes()) {
    return fail(against_protocol("a grant of " + lease->resource + " that cannot be"));
  }
  if (!lease->attached) return fail(against_protocol("a grant before the LeaseSet"));
  answered(granted.request_id());
  lease->listener->on_granted(lease_id(granted.request_id()), granted.bytes(),
                              granted.granted_total());
  return {};
}

void SessionProtocol::answered(std::uint64_t request) {
  asked_.erase(request);
  if (closing_) change_due_ = {};  // it may have been the last
}

Status SessionProtocol::on_denied(const v1::Denied& denied) {
  Lease* lease = find(denied.resource());
  if (lease == nullptr) return {};
  answered(denied.request_id());
  lease->listener->on_denied(lease_id(denied.request_id()), denied_error(denied));
  return {};
}

void SessionProtocol::on_revoke(const v1::Revoke& revoke) {
  Lease* lease = find(revoke.resource());
  if (lease == nullptr) return;
  if (!lease->attached || revoke.revocation_id() == 0 || revoke.target_returned_total() < 0) {
    ++counters_.odd_messages;
    return;
  }
  lease->listener->on_revoke({{revoke.revocation_id()},
                              revoke.target_returned_total(),
                              from_wire(revoke.stage()),
                              reason_word(revoke.reason()),
                              revoke.deadline_ms()});
}

void SessionProtocol::on_pulse(const v1::Pulse& pulse) {
  for (const v1::PulseLease& beat : pulse.leases()) {
    Lease* lease = find(beat.resource());
    if (lease == nullptr) continue;
    lease->listener->on_pulse(beat.tight(), std::max<Bytes>(0, beat.chunk_hint_bytes()));
  }
}

void SessionProtocol::on_stream_lost(const Error& why, bool final) {
  streaming_ = attached_ = welcomed_ = false;
  inventory_due_ = change_due_ = Instant::never();
  outgoing_.clear();
  for (Lease& lease : leases_) {
    lease.attached = false;
    lease.listener->on_detached(why, final);
  }
}

bool SessionProtocol::lower_floors() {
  Bytes largest = 0;
  for (Lease& lease : leases_) largest = std::max(largest, lease.listener->figures().floor);
  largest = std::min(largest, floor_cap_);
  if (ever_attached_ || largest <= 0) return false;
  floor_cap_ = largest <= kFloorMin ? 0 : std::max(kFloorMin, largest / 2);
  return true;
}

}  // namespace membroker::lease
