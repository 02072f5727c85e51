#include "server/broker/usage_store.h"

#include <algorithm>
#include <utility>

namespace membroker::broker {
namespace {

constexpr std::int64_t kDayMs = 24 * 60 * kUsageMinuteMs;
/// Minutes that go with one that is written: a few, for the disk's sake.
constexpr std::int64_t kDroppedMax = 60;

// A minute's looks and number of rows are kept once: all its means are over the same looks, also of
// a tenant that was not there at first.
constexpr const char* kTables = R"(
  CREATE TABLE IF NOT EXISTS minute (
    minute INTEGER PRIMARY KEY,
    looks INTEGER NOT NULL,
    row_count INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS usage (
    minute INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    resource TEXT NOT NULL,
    held_sum INTEGER NOT NULL,
    peak_held INTEGER NOT NULL,
    peak_waiting INTEGER NOT NULL,
    spilled INTEGER NOT NULL,
    revoked INTEGER NOT NULL,
    PRIMARY KEY (minute, tenant, resource)) WITHOUT ROWID;
)";

// The last value is kUsageSumMax: of sums that are no larger one of two fits.
constexpr const char* kAddRow = R"(
  INSERT INTO usage VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
  ON CONFLICT DO UPDATE SET
    held_sum = min(held_sum + excluded.held_sum, ?9),
    peak_held = max(peak_held, excluded.peak_held),
    peak_waiting = max(peak_waiting, excluded.peak_waiting),
    spilled = min(spilled + excluded.spilled, ?9),
    revoked = min(revoked + excluded.revoked, ?9))";

// '0' is the byte after '/': names below a tenant are between the two. CROSS JOIN keeps the order
// of the two tables, and so that of the rows.
constexpr const char* kRead = R"(
  SELECT usage.minute, looks, tenant, resource, held_sum, peak_held, peak_waiting, spilled, revoked
  FROM usage CROSS JOIN minute USING (minute)
  WHERE usage.minute >= ?1 AND usage.minute < ?2
    AND (usage.minute, tenant, resource) > (?3, ?4, ?5)
    AND (?6 = '' OR tenant = ?6 OR (tenant > ?6 || '/' AND tenant < ?6 || '0'))
    AND (?7 = '' OR resource = ?7)
  ORDER BY usage.minute, tenant, resource LIMIT ?8)";

UsageKey key_of(const UsageRecord& record) {
  return {record.minute_ms, record.row.tenant, record.row.resource};
}

}  // namespace

Status UsageStore::open() {
  if (database_) return {};
  auto opened = Database::open(path_, {.tables = kTables, .sync_every_commit = false});
  if (!opened) return fail(opened.error());
  database_ = std::move(*opened);
  return {};
}

Status UsageStore::write(const UsageMinute& minute) {
  const std::lock_guard lock(mutex_);
  Status written = open();
  if (written) written = add(minute);
  write_error_ = written ? std::string() : written.error().message();
  if (!written) database_.reset();
  return written;
}

Status UsageStore::add(const UsageMinute& minute) {
  const Database& db = *database_;
  Transaction transaction(db);
  if (!transaction.is_open()) return fail(db.error());
  Statement add(db, kAddRow);
  for (const UsageRow& row : minute.rows) {
    add.bind(minute.minute_ms).bind(row.tenant).bind(row.resource).bind(row.held_sum);
    add.bind(row.peak_held).bind(row.peak_waiting).bind(row.spilled).bind(row.revoked);
    if (!add.bind(kUsageSumMax).done()) return fail(db.error());
    add.again();
  }
  Statement looked(db, R"(
    INSERT INTO minute VALUES (?1, ?2, (SELECT count(*) FROM usage WHERE minute = ?1))
    ON CONFLICT DO UPDATE SET looks = looks + excluded.looks, row_count = excluded.row_count)");
  if (!looked.bind(minute.minute_ms).bind(minute.looks).done()) return fail(db.error());
  if (auto dropped = drop(minute.minute_ms); !dropped) return dropped;
  if (!transaction.commit()) return fail(db.error());
  return {};
}

/// The oldest minutes that are past their days, or of which the younger ones have rows enough.
Status UsageStore::drop(std::int64_t now_ms) {
  const Database& db = *database_;
  Statement old(db, R"(
    SELECT minute FROM (
      SELECT minute, sum(row_count) OVER (ORDER BY minute DESC) AS rows_since FROM minute)
    WHERE minute < ?1 OR rows_since > ?2 ORDER BY minute LIMIT ?3)");
  old.bind(now_ms - keep_.days * kDayMs).bind(keep_.rows_max).bind(kDroppedMax);
  std::vector<std::int64_t> minutes;
  while (old.step()) minutes.push_back(old.number(0));
  if (!old.ended_well()) return fail(db.error());
  Statement drop_rows(db, "DELETE FROM usage WHERE minute = ?");
  Statement drop_minute(db, "DELETE FROM minute WHERE minute = ?");
  for (const std::int64_t minute : minutes) {
    if (!drop_rows.bind(minute).done()) return fail(db.error());
    if (!drop_minute.bind(minute).done()) return fail(db.error());
    drop_rows.again();
    drop_minute.again();
  }
  return {};
}

Result<UsagePage> UsageStore::read(const UsageQuery& query) {
  const std::lock_guard lock(mutex_);
  if (auto opened = open(); !opened) return fail(opened.error());
  const UsageKey after = query.after.value_or(UsageKey{-1, "", ""});
  Statement rows(*database_, kRead);
  rows.bind(std::max(query.since_ms, after.minute_ms)).bind(query.until_ms);
  rows.bind(after.minute_ms).bind(after.tenant).bind(after.resource);
  rows.bind(query.tenant).bind(query.resource).bind(static_cast<std::int64_t>(query.rows_max));
  UsagePage page;
  while (rows.step()) {
    UsageRow row{rows.text(2),   rows.text(3),   rows.number(4), rows.number(5),
                 rows.number(6), rows.number(7), rows.number(8)};
    page.records.push_back({rows.number(0), rows.number(1), std::move(row)});
  }
  if (!rows.ended_well()) {
    Error error = database_->error();
    database_.reset();
    return fail(std::move(error));
  }
  if (page.records.size() == query.rows_max) page.next = key_of(page.records.back());
  page.not_recorded = write_error_;
  return page;
}

}  // namespace membroker::broker
