#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "membroker/error.h"
#include "server/broker/sqlite.h"
#include "server/broker/usage.h"

/// \file
/// The minutes of usage on disk: `usage.db` in the state directory, SQLite. A power failure may
/// take the last minutes, nothing else. It holds nothing the daemon needs: between
/// two runs it may be moved away.

namespace membroker::broker {

/// How much is kept; what is beyond goes with the next minute that is written, the oldest first.
struct UsageKeep {
  std::int64_t days = 7;
  std::int64_t rows_max = 1'000'000;  // of at most about 100 bytes but for the longest names
};

/// Where a row stands in the order of all.
struct UsageKey {
  std::int64_t minute_ms = 0;
  std::string tenant;
  std::string resource;

  friend bool operator==(const UsageKey&, const UsageKey&) = default;
};

struct UsageQuery {
  std::string tenant = {};    // it and those below; empty: all
  std::string resource = {};  // empty: all
  std::int64_t since_ms = 0;
  std::int64_t until_ms = INT64_MAX;  // minutes that begin before
  std::optional<UsageKey> after = {};
  std::size_t rows_max = 1'000;
};

struct UsageRecord {
  std::int64_t minute_ms = 0;
  std::int64_t looks = 0;  // above 60 where the clock was set back
  UsageRow row;

  Bytes mean_held() const { return looks > 0 ? row.held_sum / looks : 0; }
};

struct UsagePage {
  std::vector<UsageRecord> records;  // by minute, tenant, resource
  std::optional<UsageKey> next;      // as `after` for what follows; none: nothing does
  std::string not_recorded;          // why the latest minutes are missing; empty: they are not
};

/// Opens its file when it first needs it, and again after an error, so that a disk which is
/// repaired is used again without a restart.
///
/// Thread-safe; calls wait for the disk and for one another, so never from the broker's thread.
class UsageStore {
 public:
  explicit UsageStore(const std::string& directory, UsageKeep keep = {})
      : path_(directory + "/usage.db"), keep_(keep) {}

  /// Adds the minute to what is there of it already, and drops what is too old. All or nothing.
  Status write(const UsageMinute& minute);
  Result<UsagePage> read(const UsageQuery& query);

 private:
  Status open();
  Status add(const UsageMinute& minute);
  Status drop(std::int64_t now_ms);

  const std::string path_;
  const UsageKeep keep_;
  std::mutex mutex_;  // guards all below
  std::optional<Database> database_;
  std::string write_error_;  // of the last write; empty: it went well
};

}  // namespace membroker::broker
