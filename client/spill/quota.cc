#include "client/spill/quota.h"

#include "shared/format.h"

namespace membroker {
namespace spill {

Status Quota::charge(Bytes bytes) {
  Bytes used = used_.load(std::memory_order_relaxed);
  Bytes after = 0;
  do {
    after = saturating_add(used, bytes);
    if (after > limit()) {
      return fail(ErrorCode::kDiskFull,
                  strf("spill quota of %s exceeded: %s in use, %s more asked for; raise the quota "
                       "or spill less",
                       format_bytes(limit()).c_str(), format_bytes(used).c_str(),
                       format_bytes(bytes).c_str()));
    }
  } while (!used_.compare_exchange_weak(used, after, std::memory_order_relaxed));
  return {};
}

}  // namespace spill

std::shared_ptr<SpillQuota> SpillQuota::create(std::int64_t limit_bytes) {
  return std::make_shared<spill::Quota>(limit_bytes);
}

}  // namespace membroker
