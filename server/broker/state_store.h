#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "membroker/error.h"
#include "server/arbiter/events.h"
#include "shared/ids.h"

/// \file
/// What changes rarely and must survive a reboot: the epoch, tenants set at run time, who changed
/// what. SQLite in the state directory, synced at every commit. The bytes that are lent are not
/// here; they are in the ledger.
///
/// Thread-safe; calls wait for the disk, so never from the broker's thread.

namespace membroker::broker {

struct StoredTenant {
  std::string path;
  std::string resource;
  arbiter::TenantPolicy policy;

  friend bool operator==(const StoredTenant&, const StoredTenant&) = default;
};

/// One change by an admin.
struct AuditRow {
  std::int64_t wall_ms = 0;  // since 1970
  std::uint32_t uid = 0;
  std::int64_t pid = 0;
  std::string action;  // "set_tenant"
  std::string target;  // "acme/etl"
  std::string detail;  // "limit=1073741824"
  std::string result;  // "ok", or the error
};

class StateStore {
 public:
  /// Opens or makes `<directory>/state.db`. kUnavailable if another daemon has it, kCorrupt if it
  /// is damaged or of a later version; the file is left as it is.
  static Result<StateStore> open(const std::string& directory);

  StateStore(StateStore&&) noexcept;
  StateStore& operator=(StateStore&&) noexcept;
  ~StateStore();

  /// The daemon's life that begins now, on disk before this returns.
  struct Life {
    Epoch epoch;                   // max(the last one + 1, wall_seconds)
    bool ledger_expected = false;  // a daemon has run in this boot before
  };
  Result<Life> begin_life(const std::string& boot_id, std::int64_t wall_seconds);

  /// Tenants set at run time, by path and resource.
  Result<std::vector<StoredTenant>> tenants() const;
  Status put_tenant(const StoredTenant& tenant);
  /// Of every resource; fine if there is none.
  Status remove_tenant(const std::string& path);

  /// Keeps the last 10,000.
  Status append_audit(const AuditRow& row);
  /// The latest first.
  Result<std::vector<AuditRow>> audit(std::size_t rows_max) const;

 private:
  struct Impl;
  explicit StateStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace membroker::broker
