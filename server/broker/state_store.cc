#include "server/broker/state_store.h"

#include <sqlite3.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "shared/format.h"

namespace membroker::broker {
namespace {

constexpr int kVersion = 1;
constexpr int kBusyMs = 2'000;

constexpr const char* kSchema = R"(
  CREATE TABLE IF NOT EXISTS life (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    epoch INTEGER NOT NULL,
    boot_id TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS tenant (
    path TEXT NOT NULL,
    resource TEXT NOT NULL,
    guarantee INTEGER NOT NULL,
    guarantee_mode INTEGER NOT NULL,
    limit_bytes INTEGER NOT NULL,
    weight INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    priority_max INTEGER NOT NULL,
    on_overdue INTEGER NOT NULL,
    PRIMARY KEY (path, resource)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    wall_ms INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    pid INTEGER NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    detail TEXT NOT NULL,
    result TEXT NOT NULL);
)";

struct CloseDatabase {
  void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
};
struct FinalizeStatement {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Database = std::unique_ptr<sqlite3, CloseDatabase>;

Error error_of(sqlite3* database, const std::string& path) {
  const int code = database == nullptr ? SQLITE_NOMEM : sqlite3_errcode(database);
  const std::string message =
      path + ": " + (database == nullptr ? "out of memory" : sqlite3_errmsg(database));
  switch (code) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {ErrorCode::kUnavailable, message + "; is another membrokerd using it?"};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return {ErrorCode::kCorrupt, message + "; move it away to start with an empty one"};
    case SQLITE_FULL: return {ErrorCode::kDiskFull, message};
    case SQLITE_PERM:
    case SQLITE_READONLY: return {ErrorCode::kPermissionDenied, message};
    default: return {ErrorCode::kIo, message};
  }
}

// One statement, prepared, bound and stepped; the first failure is kept.
class Statement {
 public:
  Statement(sqlite3* database, const char* sql) {
    sqlite3_stmt* made = nullptr;
    code_ = sqlite3_prepare_v2(database, sql, -1, &made, nullptr);
    statement_.reset(made);
  }
  Statement& bind(std::int64_t value) {
    if (code_ == SQLITE_OK) code_ = sqlite3_bind_int64(statement_.get(), ++bound_, value);
    return *this;
  }
  Statement& bind(const std::string& value) {
    if (code_ == SQLITE_OK) {
      code_ = sqlite3_bind_text(statement_.get(), ++bound_, value.data(),
                                static_cast<int>(value.size()), SQLITE_TRANSIENT);
    }
    return *this;
  }
  /// True while there is a row.
  bool step() {
    if (code_ != SQLITE_OK && code_ != SQLITE_ROW) return false;
    code_ = sqlite3_step(statement_.get());
    return code_ == SQLITE_ROW;
  }
  bool done() { return !step() && code_ == SQLITE_DONE; }
  bool ended_well() const { return code_ == SQLITE_DONE; }

  std::int64_t number(int column) const { return sqlite3_column_int64(statement_.get(), column); }
  std::string text(int column) const {
    const auto* words = sqlite3_column_text(statement_.get(), column);
    const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column));
    return words == nullptr ? "" : std::string(reinterpret_cast<const char*>(words), size);
  }

 private:
  std::unique_ptr<sqlite3_stmt, FinalizeStatement> statement_;
  int code_ = SQLITE_OK;
  int bound_ = 0;
};

bool execute(sqlite3* database, const char* sql) {
  return sqlite3_exec(database, sql, nullptr, nullptr, nullptr) == SQLITE_OK;
}

}  // namespace

struct StateStore::Impl {
  mutable std::mutex mutex;  // guards all below, and a statement with its error
  Database database;
  std::string path;

  Error error() const { return error_of(database.get(), path); }
  Status set_up();
};

Status StateStore::Impl::set_up() {
  sqlite3* const db = database.get();
  sqlite3_extended_result_codes(db, 0);
  sqlite3_busy_timeout(db, kBusyMs);
  if (!execute(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")) return fail(error());
  Statement version(db, "PRAGMA user_version");
  if (!version.step()) return fail(error());
  if (version.number(0) > kVersion) {
    return fail(ErrorCode::kCorrupt,
                strf("%s is of version %lld, made by a later membrokerd; this one knows %d",
                     path.c_str(), static_cast<long long>(version.number(0)), kVersion));
  }
  if (!execute(db, kSchema)) return fail(error());
  if (!execute(db, strf("PRAGMA user_version=%d", kVersion).c_str())) return fail(error());
  return {};
}

StateStore::StateStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
StateStore::StateStore(StateStore&&) noexcept = default;
StateStore& StateStore::operator=(StateStore&&) noexcept = default;
StateStore::~StateStore() = default;

Result<StateStore> StateStore::open(const std::string& directory) {
  auto impl = std::make_unique<Impl>();
  impl->path = directory + "/state.db";
  sqlite3* opened = nullptr;
  const int code =
      sqlite3_open_v2(impl->path.c_str(), &opened,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  impl->database.reset(opened);
  if (code != SQLITE_OK) return fail(impl->error());
  if (auto ready = impl->set_up(); !ready) return fail(ready.error());
  return StateStore(std::move(impl));
}

Result<StateStore::Life> StateStore::begin_life(const std::string& boot_id,
                                                std::int64_t wall_seconds) {
  const std::lock_guard lock(impl_->mutex);
  sqlite3* const db = impl_->database.get();
  Statement last(db, "SELECT epoch, boot_id FROM life");
  std::int64_t epoch = std::max<std::int64_t>(wall_seconds, 1);
  Life life;
  if (last.step()) {
    if (last.number(0) < 0 || last.number(0) == INT64_MAX) {
      return fail(ErrorCode::kCorrupt, impl_->path + " holds an impossible epoch");
    }
    epoch = std::max(epoch, last.number(0) + 1);
    life.ledger_expected = last.text(1) == boot_id;
    last.step();
  }
  if (!last.ended_well()) return fail(impl_->error());
  Statement next(db, "INSERT OR REPLACE INTO life (only_row, epoch, boot_id) VALUES (1, ?, ?)");
  if (!next.bind(epoch).bind(boot_id).done()) return fail(impl_->error());
  life.epoch = Epoch{static_cast<std::uint64_t>(epoch)};
  return life;
}

Result<std::vector<StoredTenant>> StateStore::tenants() const {
  const std::lock_guard lock(impl_->mutex);
  Statement rows(impl_->database.get(),
                 "SELECT path, resource, guarantee, guarantee_mode, limit_bytes, weight, priority,"
                 " priority_max, on_overdue FROM tenant ORDER BY path, resource");
  std::vector<StoredTenant> result;
  while (rows.step()) {
    StoredTenant tenant;
    tenant.path = rows.text(0);
    tenant.resource = rows.text(1);
    tenant.policy.guarantee = rows.number(2);
    tenant.policy.mode =
        rows.number(3) == 1 ? arbiter::GuaranteeMode::kReserved : arbiter::GuaranteeMode::kLent;
    tenant.policy.limit = rows.number(4);
    tenant.policy.weight = static_cast<std::int32_t>(rows.number(5));
    tenant.policy.priority = static_cast<std::int32_t>(rows.number(6));
    tenant.policy.priority_max = static_cast<std::int32_t>(rows.number(7));
    tenant.policy.on_overdue =
        rows.number(8) == 1 ? arbiter::OnOverdue::kFence : arbiter::OnOverdue::kWarn;
    result.push_back(std::move(tenant));
  }
  if (!rows.ended_well()) return fail(impl_->error());
  return result;
}

Status StateStore::put_tenant(const StoredTenant& tenant) {
  const std::lock_guard lock(impl_->mutex);
  const arbiter::TenantPolicy& policy = tenant.policy;
  Statement put(impl_->database.get(),
                "INSERT OR REPLACE INTO tenant VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
  put.bind(tenant.path).bind(tenant.resource).bind(policy.guarantee);
  put.bind(policy.mode == arbiter::GuaranteeMode::kReserved ? 1 : 0).bind(policy.limit);
  put.bind(policy.weight).bind(policy.priority).bind(policy.priority_max);
  put.bind(policy.on_overdue == arbiter::OnOverdue::kFence ? 1 : 0);
  if (!put.done()) return fail(impl_->error());
  return {};
}

Status StateStore::remove_tenant(const std::string& path) {
  const std::lock_guard lock(impl_->mutex);
  Statement remove(impl_->database.get(), "DELETE FROM tenant WHERE path = ?");
  if (!remove.bind(path).done()) return fail(impl_->error());
  return {};
}

Status StateStore::append_audit(const AuditRow& row) {
  const std::lock_guard lock(impl_->mutex);
  sqlite3* const db = impl_->database.get();
  Statement add(db,
                "INSERT INTO audit (wall_ms, uid, pid, action, target, detail, result)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)");
  add.bind(row.wall_ms).bind(std::int64_t{row.uid}).bind(row.pid).bind(row.action);
  if (!add.bind(row.target).bind(row.detail).bind(row.result).done()) return fail(impl_->error());
  if (!execute(db, "DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - 10000")) {
    return fail(impl_->error());
  }
  return {};
}

Result<std::vector<AuditRow>> StateStore::audit(std::size_t rows_max) const {
  const std::lock_guard lock(impl_->mutex);
  Statement rows(impl_->database.get(),
                 "SELECT wall_ms, uid, pid, action, target, detail, result FROM audit"
                 " ORDER BY id DESC LIMIT ?");
  rows.bind(static_cast<std::int64_t>(std::min<std::size_t>(rows_max, 10'000)));
  std::vector<AuditRow> result;
  while (rows.step()) {
    result.push_back({rows.number(0), static_cast<std::uint32_t>(rows.number(1)), rows.number(2),
                      rows.text(3), rows.text(4), rows.text(5), rows.text(6)});
  }
  if (!rows.ended_well()) return fail(impl_->error());
  return result;
}

}  // namespace membroker::broker
