#include "client/lease/lease_state.h"

#include <algorithm>

#include "shared/check.h"

namespace membroker::lease {

void LeaseState::note_free() {
  low_soon_ = std::min(low_soon_, free());
  low_late_ = std::min(low_late_, free());
}

bool LeaseState::reserve(Bytes n) {
  MB_CHECK(n >= 0);
  if (n > free()) return false;
  reserved_ += n;
  note_free();
  return true;
}

Bytes LeaseState::overdraw(Bytes n) {
  MB_CHECK(n >= 0);
  const Bytes missing = std::max<Bytes>(0, n - free());
  // Totals are 64 bits for the life of a session; one that cannot hold another byte is our bug.
  MB_CHECK(checked_add(totals_.overdrawn, missing).has_value());
  totals_.overdrawn += missing;
  debt_ += missing;
  reserved_ += n;
  note_free();
  return missing;
}

void LeaseState::unreserve(Bytes n) {
  MB_CHECK(n >= 0 && n <= reserved_);
  reserved_ -= n;
}

Bytes LeaseState::revocation_left() const {
  if (!revocation_) return 0;
  return std::max<Bytes>(0, revocation_->asked.target - totals_.returned - returning_);
}

const LeaseState::OpenRevocation* LeaseState::revocation() const {
  if (!revocation_ || revocation_->answered || revocation_left() == 0) return nullptr;
  return &*revocation_;
}

Bytes LeaseState::owed() const {
  return std::max(debt_, revocation() != nullptr ? revocation_left() : 0);
}

Bytes LeaseState::begin_return(Bytes n) {
  const Bytes taken = std::max<Bytes>(0, std::min({n, free(), cap() - floor_}));
  returning_ += taken;
  note_free();
  return taken;
}

void LeaseState::finish_return(Bytes n) {
  MB_CHECK(n >= 0 && n <= returning_);
  returning_ -= n;
  totals_.returned += n;
  debt_ = std::max<Bytes>(0, debt_ - n);  // what is returned repays debt first
}

Bytes LeaseState::idle(Instant now) {
  Bytes idle = 0;
  if (now - soon_since_ >= kIdleSoon) {
    idle = low_soon_ - std::min(kIdleKeepMax, cap() / kIdleKeepDivisor);
    low_soon_ = free();
    soon_since_ = now;
  }
  if (now - late_since_ >= kIdleLate) {
    idle = std::max(idle, low_late_);
    low_late_ = free();
    late_since_ = now;
  }
  idle = std::clamp<Bytes>(idle, 0, std::max<Bytes>(0, std::min(free(), cap() - floor_)));
  if (idle > 0) growth_ = 1;
  return idle;
}

LeaseRequest LeaseState::open_request(Bytes min, Bytes want, bool grow, std::int32_t priority,
                                      Instant now, Instant deadline) {
  MB_CHECK(0 < min && min <= want);
  OpenRequest request;
  request.ask.id = RequestId{++last_request_};
  request.ask.min = request.opened_min = min;
  request.ask.want = grow && !tight_ ? std::max(want, chunk_ * growth_) : want;
  request.ask.wait = std::max<Millis>(0, deadline - now);
  request.ask.priority = priority;
  request.deadline = deadline;
  requests_.emplace(request.ask.id, request);
  return request.ask;
}

const LeaseState::OpenRequest* LeaseState::find(RequestId id) const {
  const auto found = requests_.find(id);
  return found == requests_.end() ? nullptr : &found->second;
}

void LeaseState::lower_request(RequestId id, Bytes less) {
  const auto found = requests_.find(id);
  if (found == requests_.end() || found->second.answered || less <= 0) return;
  LeaseRequest& ask = found->second.ask;
  ask.want = std::max<Bytes>(1, ask.want - less);
  ask.min = std::max<Bytes>(1, ask.min - less);
}

bool LeaseState::close_request(RequestId id) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return false;
  if (!found->second.answered) {
    found->second.owned = false;
    return true;
  }
  earmarked_ -= found->second.earmarked;
  requests_.erase(found);
  return false;
}

void LeaseState::forget_unowned(RequestId kept) {
  std::erase_if(requests_,
                [&](const auto& entry) { return !entry.second.owned && entry.first != kept; });
}

std::vector<LeaseRequest> LeaseState::unanswered(Instant now) const {
  std::vector<LeaseRequest> open;
  for (const auto& [id, request] : requests_) {
    if (request.answered) continue;
    open.push_back(request.ask);
    open.back().wait = std::max<Millis>(0, request.deadline - now);
  }
  return open;
}

void LeaseState::on_granted(RequestId id, Bytes bytes, Bytes granted_total) {
  totals_.granted = std::max(totals_.granted, granted_total);
  const auto found = requests_.find(id);
  if (found == requests_.end() || found->second.answered) return;
  if (bytes >= found->second.ask.want && !tight_) {
    growth_ = std::min(kGrowthChunksMax, growth_ * 2);
  }
  if (!found->second.owned) {
    requests_.erase(found);
    return;
  }
  found->second.answered = true;
  found->second.earmarked = std::clamp<Bytes>(bytes, 0, std::max<Bytes>(0, free()));
  earmarked_ += found->second.earmarked;
  note_free();
}

void LeaseState::on_denied(RequestId id, const Error& error) {
  const auto found = requests_.find(id);
  if (found == requests_.end() || found->second.answered) return;
  growth_ = 1;
  if (!found->second.owned) {
    requests_.erase(found);
    return;
  }
  found->second.answered = true;
  found->second.denied = error;
}

void LeaseState::on_lease_set(const LeaseTotals& daemon, Bytes debt) {
  totals_.granted = std::max(totals_.granted, daemon.granted);
  // Debt said before our latest overdraft was read is too low; before our latest return, too high.
  // The first lasts until the next LeaseSet, the second gives a little more back than asked.
  const Bytes unread = std::max<Bytes>(0, totals_.overdrawn - daemon.overdrawn);
  debt_ = std::max<Bytes>(0, debt) + unread;
}

std::vector<RequestId> LeaseState::on_attached(const LeaseTotals& daemon, Bytes floor, Bytes debt,
                                               std::optional<RequestId> only) {
  on_lease_set(daemon, debt);
  floor_ = std::max<Bytes>(0, floor);
  std::vector<RequestId> to_send;
  for (auto& [id, request] : requests_) {
    if (request.answered) continue;
    if (!request.owned || (only && id != *only) || free() < request.ask.min) {
      to_send.push_back(id);
      continue;
    }
    request.answered = true;
    request.earmarked = std::min(request.ask.want, free());
    earmarked_ += request.earmarked;
  }
  // An answered revocation is open again if the daemon says so: it repeats what still is.
  revocation_.reset();
  note_free();
  return to_send;
}

void LeaseState::on_revoke(const Revocation& revocation, Instant now) {
  revocation_ = OpenRevocation{revocation, now + std::max<Millis>(0, revocation.deadline), false};
}

void LeaseState::on_pulse(bool tight, Bytes chunk) {
  tight_ = tight;
  if (tight) growth_ = 1;
  if (chunk > 0) chunk_ = chunk;
}

void LeaseState::check_invariants() const {
  MB_CHECK(returning_ >= 0 && reserved_ >= 0 && earmarked_ >= 0 && debt_ >= 0);
  MB_CHECK(free() >= 0);
  MB_CHECK(totals_.held() >= 0);
  Bytes earmarks = 0;
  for (const auto& [id, request] : requests_) earmarks += request.earmarked;
  MB_CHECK(earmarks == earmarked_);
}

}  // namespace membroker::lease
