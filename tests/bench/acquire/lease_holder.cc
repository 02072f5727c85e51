#include "tests/bench/acquire/lease_holder.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>

namespace membroker::bench {
namespace {

constexpr Millis kConnectMost = 10'000;
constexpr Millis kWaitMost = 10'000;
constexpr auto kAnswerMost = std::chrono::seconds(20);

transport::LinkOptions link_options(const std::string& socket, const std::string& tenant,
                                    const std::string& name) {
  transport::LinkOptions options;
  options.socket = socket;
  options.identity.tenant = tenant;
  options.identity.client_name = name;
  options.resources = {"ram"};
  return options;
}

}  // namespace

Result<std::shared_ptr<LeaseHolder>> LeaseHolder::connect(const std::string& socket,
                                                          const std::string& tenant,
                                                          const std::string& name) {
  auto holder = std::make_shared<LeaseHolder>();
  holder->link_ = transport::DaemonLink::make(link_options(socket, tenant, name));
  holder->link_->bind(0, holder);
  holder->source_ = holder->link_->source(0);
  if (Status up = holder->link_->wait_connected(kConnectMost); !up) return fail(up.error());
  return holder;
}

Status LeaseHolder::acquire(Bytes bytes) {
  lease::LeaseRequest request;
  std::unique_lock lock(mutex_);
  request.id = last_request_ = RequestId{last_request_.value + 1};
  lock.unlock();
  request.want = request.min = bytes;
  request.wait = kWaitMost;
  source_->acquire(request);
  lock.lock();
  if (!changed_.wait_for(lock, kAnswerMost, [&] { return last_answer_ == request.id; })) {
    return fail(ErrorCode::kTimeout, "an acquire was not answered");
  }
  if (!denied_.empty()) return fail(ErrorCode::kResourcesExhausted, denied_);
  return {};
}

Status LeaseHolder::give_all() {
  {
    const std::lock_guard lock(mutex_);
    totals_.returned = std::max(totals_.returned, totals_.granted - floor_);
  }
  source_->changed(true);
  // Messages of a session keep their order.
  return acquire(1);
}

Bytes LeaseHolder::held() {
  const std::lock_guard lock(mutex_);
  return totals_.held();
}

lease::LeaseFigures LeaseHolder::figures() {
  const std::lock_guard lock(mutex_);
  lease::LeaseFigures figures;
  figures.totals = totals_;
  figures.floor = floor_;
  figures.reserved = std::min(floor_, totals_.held());
  figures.slack = totals_.held() - figures.reserved;
  return figures;
}

lease::LeaseTotals LeaseHolder::totals() const {
  const std::lock_guard lock(mutex_);
  return totals_;
}

void LeaseHolder::on_attached(const lease::LeaseTotals& daemon, Bytes floor, Bytes) {
  const std::lock_guard lock(mutex_);
  totals_.granted = std::max(totals_.granted, daemon.granted);
  floor_ = floor;
}

void LeaseHolder::on_detached(const Error& why, bool) {
  const std::lock_guard lock(mutex_);
  denied_ = "the connection was lost: " + why.message();
  last_answer_ = last_request_;
  changed_.notify_all();
}

void LeaseHolder::on_lease_set(const lease::LeaseTotals& daemon, Bytes) {
  const std::lock_guard lock(mutex_);
  totals_.granted = std::max(totals_.granted, daemon.granted);
}

void LeaseHolder::on_granted(RequestId id, Bytes, Bytes granted_total) {
  const std::lock_guard lock(mutex_);
  totals_.granted = std::max(totals_.granted, granted_total);
  denied_.clear();
  last_answer_ = id;
  changed_.notify_all();
}

void LeaseHolder::on_denied(RequestId id, const Error& error) {
  const std::lock_guard lock(mutex_);
  denied_ = error.message();
  last_answer_ = id;
  changed_.notify_all();
}

void LeaseHolder::on_revoke(const lease::Revocation& revocation) {
  {
    const std::lock_guard lock(mutex_);
    const Bytes most = totals_.granted + totals_.overdrawn - floor_;
    totals_.returned = std::max(totals_.returned, std::min(revocation.target, most));
  }
  source_->changed(true);
  source_->progress(revocation.id, revocation.target, lease::RevokeState::kDone, "");
}

void LeaseHolder::on_pulse(bool, Bytes) {}

}  // namespace membroker::bench
