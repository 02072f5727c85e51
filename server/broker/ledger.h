#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "membroker/error.h"
#include "server/broker/peer.h"
#include "shared/bytes.h"
#include "shared/fd.h"
#include "shared/ids.h"

/// \file
/// The record of what is lent that survives the daemon: a fixed-slot MAP_SHARED file in the runtime
/// directory, stamped with the boot id. One slot per (session, resource). A killed daemon does not
/// lose the page cache, and a host crash kills the clients too, so nothing is ever synced.
///
/// Slot: identity, written once, checksummed, made valid last (of the peer no groups); and three
/// totals, each one aligned 64-bit store outside the checksum. At any instruction of the daemon's
/// death, bytes on record are
/// >= bytes held: `store` writes returned_total first, and the caller stores before frames leave.
///
/// Thread: the broker's, after open().

namespace membroker::broker {

struct LedgerIdentity {
  SessionId session;
  Peer peer;
  std::array<std::uint8_t, 16> token_hash{};
  std::int32_t priority = 0;
  Bytes floor = 0;
  std::string tenant;       // at most 255 bytes
  std::string resource;     // at most 63 bytes
  std::string client_name;  // cut to 63 bytes, in whole characters
  // Bytes left behind by the process with this pid, held by `peer`, its forked child; 0: a lease.
  pid_t orphan_of = 0;
};

struct LedgerTotals {
  Bytes granted = 0;
  Bytes overdrawn = 0;
  Bytes returned = 0;

  Bytes held() const { return granted + overdrawn - returned; }
  friend bool operator==(const LedgerTotals&, const LedgerTotals&) = default;
};

struct LedgerEntry {
  std::size_t slot = 0;
  LedgerIdentity identity;
  LedgerTotals totals;
};

class Ledger {
 public:
  /// Makes the file if there is none, and takes the exclusive lock that a daemon has for its life:
  /// a second one on the same path gets kUnavailable. To be had before anything else is changed
  /// that belongs to the daemon that runs.
  static Result<UniqueFd> lock(const std::string& path);
  /// Opens the locked file. Space is allocated up front; a file of more slots is kept so.
  ///
  /// lost(): some session's bytes may be unknown. So where the file is of another layout or its
  /// header is damaged (it is replaced by an empty one), where a slot is damaged (it is dropped,
  /// the others stay), and where there is no file of this boot although one is `expected` (this
  /// boot's daemon has run before, by the state store). A file of another boot is replaced, and
  /// nothing is lost by that: its sessions ended with that boot.
  static Result<Ledger> open(UniqueFd locked, const std::string& path, std::size_t slots,
                             bool expected);
  static Result<Ledger> open(const std::string& path, std::size_t slots, bool expected);  // locks

  Ledger(Ledger&&) noexcept;
  Ledger& operator=(Ledger&&) noexcept;
  ~Ledger();  // unmaps and unlocks; the file stays

  bool lost() const;
  /// Every valid slot, by slot number.
  std::vector<LedgerEntry> entries() const;
  /// Takes a free slot and records; kResourcesExhausted when all are taken.
  Result<std::size_t> claim(const LedgerIdentity& identity, const LedgerTotals& totals);
  /// Three stores; never fails.
  void store(std::size_t slot, const LedgerTotals& totals);
  /// Frees the slot.
  void release(std::size_t slot);

 private:
  struct Impl;
  explicit Ledger(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace membroker::broker
