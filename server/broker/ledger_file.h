#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "server/broker/ledger.h"
#include "server/broker/tenant_path.h"

/// \file
/// The bytes of the ledger file; ledger.cc maps and locks them.
///
/// File: one page of header, then `slots` slots of 512 bytes. Numbers are the machine's own: the
/// file never leaves the boot it was written in.
///
/// Thread: none of its own. Every function works on mapped memory handed in.

namespace membroker::broker::ledger_file {

inline constexpr std::uint64_t kMagic = 0x72656764656c626dULL;      // "mbledger"
inline constexpr std::uint64_t kSlotValid = 0x6c61766c74736c6dULL;  // any other value: free
inline constexpr std::uint32_t kLayout = 1;
inline constexpr std::size_t kHeaderBytes = 4'096;
inline constexpr std::size_t kTenantMax = kTenantPathBytesMax;
inline constexpr std::size_t kNameMax = 63;

using BootId = std::array<char, 36>;  // as /proc/sys/kernel/random/boot_id prints it

struct Header {
  std::uint64_t magic;
  std::uint32_t layout;
  std::uint32_t slot_bytes;
  BootId boot_id;
  std::uint32_t reserved;
  std::uint64_t checksum;  // of all above
  std::uint64_t slots;     // outside the checksum: grown in place by one store
};
static_assert(sizeof(Header) == 72);

/// What is written once and checksummed.
struct Identity {
  std::uint64_t session;
  std::uint64_t start_time;
  std::int64_t floor;
  std::int32_t pid;
  std::uint32_t uid;
  std::uint32_t gid;
  std::int32_t priority;
  std::array<std::uint8_t, 16> token_hash;
  std::array<char, kTenantMax + 1> tenant;
  std::array<char, kNameMax + 1> resource;
  std::array<char, kNameMax + 1> client_name;
};
static_assert(sizeof(Identity) == 440);

struct Slot {
  std::uint64_t state;  // kSlotValid is stored last, cleared first
  std::uint64_t checksum;
  std::int64_t granted;
  std::int64_t overdrawn;
  std::int64_t returned;
  Identity identity;
  // Written once, before the slot is valid; 0 in a file of a version that did not know of them.
  std::uint64_t image;
  std::int64_t orphan_of;
  std::array<std::uint8_t, 16> reserved;
};
static_assert(sizeof(Slot) == 512);

std::size_t file_bytes(std::size_t slots);

/// Fills a header for `boot_id`; makes magic valid last.
void write_header(Header& header, const BootId& boot_id, std::size_t slots);

enum class HeaderState { kGood, kOtherBoot, kUnknown };
HeaderState check_header(const Header& header, const BootId& boot_id);

std::uint64_t identity_checksum(const Identity& identity);

/// Records identity and totals in a free slot, valid last.
void write_slot(Slot& slot, const LedgerIdentity& identity, const LedgerTotals& totals);
void write_totals(Slot& slot, const LedgerTotals& totals);
void clear_slot(Slot& slot);
bool slot_valid(const Slot& slot);

/// What a valid slot says; nothing if it is damaged.
std::optional<LedgerEntry> read_slot(const Slot& slot, std::size_t number);

}  // namespace membroker::broker::ledger_file
