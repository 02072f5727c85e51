#include "server/arbiter/session_index.h"

#include <algorithm>
#include <utility>

#include "shared/check.h"

namespace membroker::arbiter {

std::size_t SessionIndex::home(SessionId session) const {
  const std::uint64_t mixed = session.value * 0x9E3779B97F4A7C15ull;
  return static_cast<std::size_t>(mixed >> 20) & (slots_.size() - 1);
}

// Where the session is, or the empty slot where it would be.
std::size_t SessionIndex::slot_of(SessionId session) const {
  std::size_t slot = home(session);
  while (slots_[slot] != nullptr && slots_[slot]->session != session) {
    slot = (slot + 1) & (slots_.size() - 1);
  }
  return slot;
}

Lease* SessionIndex::find(SessionId session) const { return slots_[slot_of(session)].get(); }

void SessionIndex::place(std::unique_ptr<Lease> lease) {
  const std::size_t slot = slot_of(lease->session);
  slots_[slot] = std::move(lease);
}

Lease& SessionIndex::insert(std::unique_ptr<Lease> lease) {
  Lease& inserted = *lease;
  MB_CHECK(find(inserted.session) == nullptr);
  if (2 * (size_ + 1) > slots_.size()) {
    std::vector<std::unique_ptr<Lease>> old(2 * slots_.size());
    old.swap(slots_);
    for (auto& moved : old) {
      if (moved != nullptr) place(std::move(moved));
    }
  }
  place(std::move(lease));
  ++size_;
  return inserted;
}

void SessionIndex::erase(SessionId session) {
  std::size_t hole = slot_of(session);
  MB_CHECK(slots_[hole] != nullptr);
  slots_[hole].reset();
  --size_;
  // Whoever probed past the hole moves into it, so that no search stops too early.
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t at = (hole + 1) & mask; slots_[at] != nullptr; at = (at + 1) & mask) {
    const std::size_t wanted = home(slots_[at]->session);
    if (((at - wanted) & mask) < ((at - hole) & mask)) continue;
    slots_[hole] = std::move(slots_[at]);
    hole = at;
  }
}

std::vector<Lease*> SessionIndex::by_session() const {
  std::vector<Lease*> leases;
  leases.reserve(size_);
  for (const auto& lease : slots_) {
    if (lease != nullptr) leases.push_back(lease.get());
  }
  std::sort(leases.begin(), leases.end(),
            [](const Lease* a, const Lease* b) { return a->session < b->session; });
  return leases;
}

}  // namespace membroker::arbiter
