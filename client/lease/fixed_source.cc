#include "client/lease/fixed_source.h"

#include <algorithm>
#include <utility>

#include "shared/bytes.h"
#include "shared/format.h"

namespace membroker::lease {

void FixedSource::attach(Bytes floor) {
  const Bytes lent = std::clamp<Bytes>(floor, 0, capacity_);
  {
    const std::lock_guard lock(mutex_);
    granted_ = lent;
  }
  listener_.on_attached({lent, 0, 0}, lent, 0);
}

void FixedSource::acquire(const LeaseRequest& request) {
  const LeaseTotals client = listener_.totals();
  Bytes bytes = 0;
  Bytes total = 0;
  Bytes room = 0;
  {
    const std::lock_guard lock(mutex_);
    room = std::max<Bytes>(0, capacity_ - (granted_ + client.overdrawn - client.returned));
    if (room >= request.min) bytes = std::min(room, request.want);
    granted_ += bytes;
    total = granted_;
  }
  if (bytes > 0) {
    listener_.on_granted(request.id, bytes, total);
    return;
  }
  Denial denial;
  denial.requested_bytes = request.min;
  denial.available_bytes = room;
  denial.attainable_bytes = capacity_;
  denial.self_spill_bytes = request.min - room;
  denial.hint = DenialHint::kSpill;
  denial.reason = "full";
  listener_.on_denied(request.id,
                      Error(ErrorCode::kResourcesExhausted,
                            strf("the fixed capacity of %s has %s left, %s were asked for",
                                 format_bytes(capacity_).c_str(), format_bytes(room).c_str(),
                                 format_bytes(request.min).c_str()),
                            std::move(denial)));
}

void FixedSource::cancel(RequestId) {}  // every request is answered before the next call
void FixedSource::changed(bool) {}      // the totals are asked for when they matter
void FixedSource::progress(RevocationId, Bytes, RevokeState, const std::string&) {}

}  // namespace membroker::lease
