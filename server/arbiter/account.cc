#include "server/arbiter/account.h"

#include <algorithm>

namespace membroker::arbiter {

bool name_before(const Account& a, const Account& b) {
  const int order = a.name.compare(b.name);
  if (order != 0) return order < 0;
  if (a.is_lease != b.is_lease) return b.is_lease;
  return a.is_lease && as_lease(a).session < as_lease(b).session;
}

Bytes Lease::claim(Stage stage) const {
  if (!active_session()) return 0;
  const Bytes offered = stage == Stage::kSlack ? slack - std::min(slack, held / kSlackKeptDivisor)
                                               : slack + reclaimable;
  return std::max(Bytes{0}, std::min(offered, held - floor) - revoking);
}

Request* Lease::first_wait() const {
  Request* first = nullptr;
  for (const auto& wait : waits) {
    if (wait->hidden) continue;
    if (first == nullptr || wait->priority > first->priority ||
        (wait->priority == first->priority && wait->arrival < first->arrival)) {
      first = wait.get();
    }
  }
  return first;
}

Request* Lease::find_wait(RequestId id) const {
  for (const auto& wait : waits) {
    if (wait->id == id) return wait.get();
  }
  return nullptr;
}

std::string path_of(const Tenant& tenant) {
  if (tenant.parent == nullptr) return {};
  const std::string above = path_of(*tenant.parent);
  return above.empty() ? tenant.name : above + "/" + tenant.name;
}

bool on_path(const Tenant& node, const Tenant& tenant) {
  const Tenant* at = &tenant;
  while (at->depth > node.depth) at = at->parent;
  return at == &node;
}

}  // namespace membroker::arbiter
