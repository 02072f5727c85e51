#include "server/broker/ledger_file.h"

#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <string_view>

#include "shared/check.h"
#include "shared/utf8.h"

namespace membroker::broker::ledger_file {
namespace {

// One aligned 64-bit store that the compiler keeps in the order written. A killed process has done
// every store before the one it died at, so order is all that matters.
template <class T>
void publish(T& place, T value) {
  std::atomic_ref<T>(place).store(value, std::memory_order_release);
}

template <class T>
T load(const T& place) {
  return std::atomic_ref<T>(const_cast<T&>(place)).load(std::memory_order_acquire);
}

std::uint64_t header_checksum(const Header& header) {
  return XXH3_64bits(&header, offsetof(Header, checksum));
}

template <std::size_t N>
void put_text(std::array<char, N>& place, std::string_view text) {
  place.fill('\0');
  text = cut_text(text, N - 1);
  std::copy_n(text.data(), text.size(), place.data());
}

// An older version cut text anywhere.
template <std::size_t N>
std::string get_text(const std::array<char, N>& place) {
  return std::string(cut_text({place.data(), ::strnlen(place.data(), N - 1)}, N - 1));
}

}  // namespace

std::uint64_t identity_checksum(const Identity& identity) {
  return XXH3_64bits(&identity, sizeof identity);
}

std::size_t file_bytes(std::size_t slots) { return kHeaderBytes + slots * sizeof(Slot); }

void write_header(Header& header, const BootId& boot_id, std::size_t slots) {
  publish(header.magic, std::uint64_t{0});
  Header fresh{};
  fresh.magic = kMagic;
  fresh.layout = kLayout;
  fresh.slot_bytes = sizeof(Slot);
  fresh.boot_id = boot_id;
  fresh.slots = slots;
  fresh.checksum = header_checksum(fresh);
  constexpr std::size_t kAfterMagic = sizeof fresh.magic;
  std::memcpy(reinterpret_cast<char*>(&header) + kAfterMagic,
              reinterpret_cast<const char*>(&fresh) + kAfterMagic, sizeof fresh - kAfterMagic);
  publish(header.magic, kMagic);
}

HeaderState check_header(const Header& header, const BootId& boot_id) {
  if (load(header.magic) != kMagic || header.layout != kLayout ||
      header.slot_bytes != sizeof(Slot) || header.checksum != header_checksum(header)) {
    return HeaderState::kUnknown;
  }
  return header.boot_id == boot_id ? HeaderState::kGood : HeaderState::kOtherBoot;
}

void write_slot(Slot& slot, const LedgerIdentity& identity, const LedgerTotals& totals) {
  MB_CHECK(!slot_valid(slot));
  MB_CHECK(identity.tenant.size() <= kTenantMax);
  MB_CHECK(identity.resource.size() <= kNameMax);
  Identity& place = slot.identity;
  place.session = identity.session.value;
  place.start_time = identity.peer.start_time;
  place.floor = identity.floor;
  place.pid = identity.peer.pid;
  place.uid = identity.peer.uid;
  place.gid = identity.peer.gid;
  place.priority = identity.priority;
  place.token_hash = identity.token_hash;
  put_text(place.tenant, identity.tenant);
  put_text(place.resource, identity.resource);
  put_text(place.client_name, identity.client_name);
  publish(slot.checksum, identity_checksum(place));
  slot.image = identity.peer.image;
  slot.orphan_of = identity.orphan_of;
  write_totals(slot, totals);
  publish(slot.state, kSlotValid);
}

void write_totals(Slot& slot, const LedgerTotals& totals) {
  publish(slot.returned, totals.returned);
  publish(slot.overdrawn, totals.overdrawn);
  publish(slot.granted, totals.granted);
}

void clear_slot(Slot& slot) { publish(slot.state, std::uint64_t{0}); }

bool slot_valid(const Slot& slot) { return load(slot.state) == kSlotValid; }

std::optional<LedgerEntry> read_slot(const Slot& slot, std::size_t number) {
  const Identity& place = slot.identity;
  if (slot.checksum != identity_checksum(place)) return std::nullopt;
  LedgerTotals totals{load(slot.granted), load(slot.overdrawn), load(slot.returned)};
  if (totals.granted < 0 || totals.overdrawn < 0 || totals.returned < 0) return std::nullopt;
  const auto charged = checked_add(totals.granted, totals.overdrawn);
  if (!charged) return std::nullopt;
  // Killed between the stores of a batch that carried an overdraft and its return: the client has
  // overdrawn at least what it returned beyond the grants, which are on record before they leave.
  if (totals.returned > *charged) totals.overdrawn = totals.returned - totals.granted;
  LedgerEntry entry;
  entry.slot = number;
  entry.totals = totals;
  entry.identity.session = SessionId{place.session};
  entry.identity.peer = {place.pid, place.uid, place.gid, place.start_time, slot.image};
  entry.identity.orphan_of = static_cast<pid_t>(slot.orphan_of);
  entry.identity.token_hash = place.token_hash;
  entry.identity.priority = place.priority;
  entry.identity.floor = place.floor;
  entry.identity.tenant = get_text(place.tenant);
  entry.identity.resource = get_text(place.resource);
  entry.identity.client_name = get_text(place.client_name);
  return entry;
}

}  // namespace membroker::broker::ledger_file
