#include <algorithm>

#include "client/lease/session_protocol.h"
#include "client/lease/session_words.h"
#include "shared/check.h"
#include "shared/format.h"
#include "shared/utf8.h"

/// \file
/// The outgoing half of SessionProtocol: what is to be said, and when.

namespace membroker::lease {
namespace {

constexpr Millis kChangeDelay = 10;          // an ordinary change waits for company this long
constexpr std::size_t kOutgoingMax = 4'096;  // requests a daemon that does not read may pile up

/// A request's number on the wire: unique in the session although each lease counts its own.
std::uint64_t wire_id(std::size_t lease, RequestId id) {
  return id.value * kLeasesPerSessionMax + lease;
}

bool same_use(const LeaseFigures& a, const LeaseFigures& b) {
  return a.reserved == b.reserved && a.slack == b.slack && a.reclaimable == b.reclaimable &&
         a.allocated == b.allocated && a.spilled == b.spilled;
}

}  // namespace

void SessionProtocol::acquire(std::size_t lease, const LeaseRequest& request, Instant now) {
  saw(now);
  MB_CHECK(lease < leases_.size());
  if (!leases_[lease].attached || closing_) return;
  const bool queued = std::any_of(outgoing_.begin(), outgoing_.end(), [&](const Outgoing& out) {
    return !out.is_cancel && out.lease == lease && out.request.id == request.id;
  });
  // Asked while the stream came up, then again by on_attached(): once is enough.
  if (!queued) outgoing_.push_back({lease, false, request, now + request.wait});
}

void SessionProtocol::cancel(std::size_t lease, RequestId id) {
  MB_CHECK(lease < leases_.size());
  if (!leases_[lease].attached) return;
  outgoing_.push_back({lease, true, {.id = id}, {}});
}

void SessionProtocol::changed(std::size_t lease, bool urgent, Instant now) {
  saw(now);
  MB_CHECK(lease < leases_.size());
  if (!welcomed_) return;
  change_due_ = std::min(change_due_, urgent ? now : now + kChangeDelay);
}

void SessionProtocol::progress(std::size_t lease, RevocationId id, Bytes target, RevokeState state,
                               const std::string& reason) {
  MB_CHECK(lease < leases_.size());
  if (!leases_[lease].attached) return;
  leases_[lease].progress = {id, target, state,
                             std::string(cut_text(reason, kProgressReasonBytesMax))};
}

std::optional<v1::ClientFrame> SessionProtocol::next_frame(Instant now) {
  saw(now);
  if (!attached_ || goodbye_sent_) return std::nullopt;
  if (!closing_ && send_deadline() > now) return std::nullopt;

  v1::ClientFrame frame;
  frame.set_epoch(epoch_.value);
  frame.set_attach(attach_.value);
  std::vector<LeaseFigures> figures;
  bool all_returned = true;  // by the very figures this frame tells
  for (Lease& lease : leases_) {
    figures.push_back(lease.listener->figures());
    compose_totals(lease, figures.back(), frame);
    all_returned = all_returned && only_floor(lease, figures.back());
  }
  change_due_ = Instant::never();
  compose_requests(frame, now);
  compose_inventory(figures, frame, now);
  if (closing_ && outgoing_.empty() && asked_.empty() && all_returned) {
    frame.add_messages()->mutable_goodbye();
    goodbye_sent_ = true;
  }
  if (frame.messages_size() == 0) return std::nullopt;
  return frame;
}

void SessionProtocol::compose_totals(Lease& lease, const LeaseFigures& figures,
                                     v1::ClientFrame& frame) {
  // Overdraft first: a returned_total above what the daemon knows as taken ends the stream.
  if (figures.totals.overdrawn > lease.sent_overdrawn) {
    lease.sent_overdrawn = figures.totals.overdrawn;
    v1::Overdraft& overdraft = *frame.add_messages()->mutable_overdraft();
    overdraft.set_resource(lease.resource);
    overdraft.set_overdrawn_total(figures.totals.overdrawn);
  }
  if (figures.totals.returned > lease.sent_returned) {
    lease.sent_returned = figures.totals.returned;
    v1::Release& release = *frame.add_messages()->mutable_release();
    release.set_resource(lease.resource);
    release.set_returned_total(figures.totals.returned);
  }
  if (lease.progress) {
    v1::RevokeProgress& progress = *frame.add_messages()->mutable_progress();
    progress.set_resource(lease.resource);
    progress.set_revocation_id(lease.progress->id.value);
    progress.set_target_returned_total(lease.progress->target);
    progress.set_state(to_wire(lease.progress->state));
    progress.set_reason(lease.progress->reason);
    progress.set_slack_bytes(figures.slack);
    progress.set_reclaimable_bytes(figures.reclaimable);
    lease.progress.reset();
  }
}

void SessionProtocol::compose_requests(v1::ClientFrame& frame, Instant now) {
  // One place is kept for the Inventory and one for Goodbye.
  const int most = static_cast<int>(kFrameMessagesMax) - 2;
  for (auto& [request, cancelled] : asked_) {
    if (!closing_ || cancelled || frame.messages_size() >= most) continue;
    frame.add_messages()->mutable_cancel()->set_request_id(request);
    cancelled = true;
  }
  while (!outgoing_.empty() && frame.messages_size() < most) {
    const Outgoing& out = outgoing_.front();
    if (out.is_cancel) {
      frame.add_messages()->mutable_cancel()->set_request_id(wire_id(out.lease, out.request.id));
    } else {
      v1::Acquire& acquire = *frame.add_messages()->mutable_acquire();
      acquire.set_request_id(wire_id(out.lease, out.request.id));
      asked_.try_emplace(acquire.request_id(), false);
      acquire.set_resource(leases_[out.lease].resource);
      acquire.set_want_bytes(out.request.want);
      acquire.set_min_bytes(out.request.min);
      acquire.set_wait_ms(
          static_cast<std::uint32_t>(std::clamp<Millis>(out.deadline - now, 0, UINT32_MAX)));
      acquire.set_priority(out.request.priority);
    }
    outgoing_.pop_front();
  }
}

void SessionProtocol::compose_inventory(const std::vector<LeaseFigures>& figures,
                                        v1::ClientFrame& frame, Instant now) {
  bool moved = false;
  for (std::size_t i = 0; i < leases_.size(); ++i) {
    moved = moved || !same_use(figures[i], leases_[i].said);
  }
  // With company the arbiter hears new figures at once: it chooses victims by them.
  if (inventory_due_ > now && !moved) return;
  v1::Inventory& inventory = *frame.add_messages()->mutable_inventory();
  for (std::size_t i = 0; i < leases_.size(); ++i) {
    v1::LeaseUse& use = *inventory.add_uses();
    use.set_resource(leases_[i].resource);
    use.set_reserved_bytes(figures[i].reserved);
    use.set_slack_bytes(figures[i].slack);
    use.set_reclaimable_bytes(figures[i].reclaimable);
    use.set_allocated_bytes(figures[i].allocated);
    use.set_spilled_bytes(figures[i].spilled);
    leases_[i].said = figures[i];
  }
  inventory_due_ = now + heartbeat_;
}

Instant SessionProtocol::send_deadline() const {
  if (!attached_ || goodbye_sent_) return Instant::never();
  if (!outgoing_.empty()) return {};
  for (const Lease& lease : leases_) {
    if (lease.progress) return {};
  }
  return std::min(inventory_due_, change_due_);
}

void SessionProtocol::saw(Instant now) {
  // A gap between two calls far above alive_deadline()'s is a pause of this process: what the
  // daemon said meanwhile is still to be read.
  if (now - last_seen_ > ttl_ / 2) heard_ = now;
  last_seen_ = now;
}

Status SessionProtocol::check_alive(Instant now) {
  saw(now);
  if (!streaming_) return {};
  if (outgoing_.size() > kOutgoingMax) {
    return fail(ErrorCode::kUnavailable,
                strf("membrokerd does not read: %zu requests wait to be sent", outgoing_.size()));
  }
  if (now - heard_ < ttl_) return {};
  return fail(ErrorCode::kUnavailable, strf("membrokerd was silent for %lld ms (stopped?)",
                                            static_cast<long long>(now - heard_)));
}

Instant SessionProtocol::alive_deadline() const {
  if (!streaming_) return Instant::never();
  return std::min(heard_ + ttl_, last_seen_ + ttl_ / 4);
}

bool SessionProtocol::only_floors() const {
  return std::all_of(leases_.begin(), leases_.end(), [](const Lease& lease) {
    return only_floor(lease, lease.listener->figures());
  });
}

bool SessionProtocol::only_floor(const Lease& lease, const LeaseFigures& figures) {
  return figures.reserved == 0 && figures.totals.held() <= lease.floor;
}

void SessionProtocol::begin_goodbye() {
  closing_ = true;
  change_due_ = {};
  std::erase_if(outgoing_, [](const Outgoing& out) { return !out.is_cancel; });
}

}  // namespace membroker::lease
