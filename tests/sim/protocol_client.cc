#include "tests/sim/protocol_client.h"

#include <algorithm>

namespace membroker::sim {

void ModelLease::use_or_ask(Bytes bytes, Millis wait) {
  if (slack() >= bytes) {
    figures_.reserved += bytes;
    return;
  }
  if (open_.size() >= 4) return;
  const Bytes least = bytes - std::max<Bytes>(0, slack());
  const RequestId id{++last_request_};
  open_[id] = {2 * least, least, now_ + wait};
  protocol_->acquire(index_, {id, 2 * least, least, wait, 0}, now_);
}

void ModelLease::stop_using(Bytes bytes) {
  figures_.reserved -= std::min(bytes, figures_.reserved);
}

void ModelLease::give_back(Bytes bytes, bool urgent) {
  bytes = std::min({bytes, slack(), figures_.totals.held() - floor_});
  if (bytes <= 0) return;
  figures_.totals.returned += bytes;
  protocol_->changed(index_, urgent, now_);
}

void ModelLease::give_back_slack() {
  if (slack() > 0) give_back(dice_.between(1, slack()), dice_.chance(50));
}

void ModelLease::overdraw(Bytes bytes) {
  figures_.totals.overdrawn += bytes;
  figures_.reserved += bytes;
  protocol_->changed(index_, true, now_);
}

void ModelLease::cancel_one() {
  if (!open_.empty()) protocol_->cancel(index_, open_.begin()->first);
}

void ModelLease::answer_revocation() {
  if (!revocation_) return;
  const Bytes wanted = revocation_->target - figures_.totals.returned;
  if (wanted > 0) {
    const Bytes share = dice_.chance(60) ? wanted : dice_.between(0, wanted);
    if (slack() < share && revocation_->stage == lease::RevokeStage::kSpill) {
      stop_using(share - std::max<Bytes>(0, slack()));
    }
    give_back(share, true);
  }
  const bool met = figures_.totals.returned >= revocation_->target;
  const auto state = met                ? lease::RevokeState::kDone
                     : dice_.chance(70) ? lease::RevokeState::kWorking
                     : dice_.chance(50) ? lease::RevokeState::kCannot
                                        : lease::RevokeState::kDone;
  protocol_->progress(index_, revocation_->id, revocation_->target, state, "simulated");
  if (state == lease::RevokeState::kWorking) return;
  ++answered;
  revocation_.reset();
}

void ModelLease::give_back_all() {
  figures_.reserved = 0;
  give_back(kBytesMax, true);
}

lease::LeaseFigures ModelLease::figures() {
  figures_.slack = std::max<Bytes>(0, slack());
  figures_.reclaimable = figures_.reserved;
  figures_.allocated = figures_.reserved;
  return figures_;
}

void ModelLease::on_attached(const lease::LeaseTotals& daemon, Bytes floor, Bytes) {
  figures_.totals.granted = std::max(figures_.totals.granted, daemon.granted);
  floor_ = floor;
  revocation_.reset();  // the daemon names it again if it still wants it
  for (auto it = open_.begin(); it != open_.end();) {
    if (it->second.deadline <= now_) {
      it = open_.erase(it);
      continue;
    }
    protocol_->acquire(
        index_, {it->first, it->second.want, it->second.min, it->second.deadline - now_, 0}, now_);
    ++it;
  }
}

void ModelLease::on_lease_set(const lease::LeaseTotals& daemon, Bytes) {
  figures_.totals.granted = std::max(figures_.totals.granted, daemon.granted);
}

void ModelLease::on_granted(RequestId id, Bytes bytes, Bytes granted_total) {
  figures_.totals.granted = std::max(figures_.totals.granted, granted_total);
  ++grants;
  if (open_.erase(id) > 0 && dice_.chance(80)) {
    figures_.reserved += std::clamp<Bytes>(slack(), 0, bytes);
  }
}

void ModelLease::on_denied(RequestId id, const Error&) {
  ++denials;
  open_.erase(id);
}

void ModelLease::on_revoke(const lease::Revocation& revocation) {
  ++revocations;
  revocation_ = revocation;
  if (revocation.target <= figures_.totals.returned) revocation_.reset();
}

}  // namespace membroker::sim
