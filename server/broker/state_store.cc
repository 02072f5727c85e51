#include "server/broker/state_store.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "server/broker/sqlite.h"

namespace membroker::broker {
namespace {

constexpr const char* kTables = R"(
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

}  // namespace

struct StateStore::Impl {
  mutable std::mutex mutex;  // guards all below, and a statement with its error
  Database database;
};

StateStore::StateStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
StateStore::StateStore(StateStore&&) noexcept = default;
StateStore& StateStore::operator=(StateStore&&) noexcept = default;
StateStore::~StateStore() = default;

Result<StateStore> StateStore::open(const std::string& directory) {
  auto database = Database::open(directory + "/state.db", {.version = 1, .tables = kTables});
  if (!database) return fail(database.error());
  return StateStore(std::unique_ptr<Impl>(new Impl{{}, std::move(*database)}));
}

Result<StateStore::Life> StateStore::begin_life(const std::string& boot_id,
                                                std::int64_t wall_seconds) {
  const std::lock_guard lock(impl_->mutex);
  const Database& db = impl_->database;
  Statement last(db, "SELECT epoch, boot_id FROM life");
  std::int64_t epoch = std::max<std::int64_t>(wall_seconds, 1);
  Life life;
  if (last.step()) {
    if (last.number(0) < 0 || last.number(0) == INT64_MAX) {
      return fail(ErrorCode::kCorrupt, impl_->database.path() + " holds an impossible epoch");
    }
    epoch = std::max(epoch, last.number(0) + 1);
    life.ledger_expected = last.text(1) == boot_id;
    last.step();
  }
  if (!last.ended_well()) return fail(impl_->database.error());
  Statement next(db, "INSERT OR REPLACE INTO life (only_row, epoch, boot_id) VALUES (1, ?, ?)");
  if (!next.bind(epoch).bind(boot_id).done()) return fail(impl_->database.error());
  life.epoch = Epoch{static_cast<std::uint64_t>(epoch)};
  return life;
}

Result<std::vector<StoredTenant>> StateStore::tenants() const {
  const std::lock_guard lock(impl_->mutex);
  Statement rows(impl_->database,
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
  if (!rows.ended_well()) return fail(impl_->database.error());
  return result;
}

Status StateStore::put_tenant(const StoredTenant& tenant) {
  const std::lock_guard lock(impl_->mutex);
  const arbiter::TenantPolicy& policy = tenant.policy;
  Statement put(impl_->database,
                "INSERT OR REPLACE INTO tenant VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
  put.bind(tenant.path).bind(tenant.resource).bind(policy.guarantee);
  put.bind(policy.mode == arbiter::GuaranteeMode::kReserved ? 1 : 0).bind(policy.limit);
  put.bind(policy.weight).bind(policy.priority).bind(policy.priority_max);
  put.bind(policy.on_overdue == arbiter::OnOverdue::kFence ? 1 : 0);
  if (!put.done()) return fail(impl_->database.error());
  return {};
}

Status StateStore::remove_tenant(const std::string& path) {
  const std::lock_guard lock(impl_->mutex);
  Statement remove(impl_->database, "DELETE FROM tenant WHERE path = ?");
  if (!remove.bind(path).done()) return fail(impl_->database.error());
  return {};
}

Status StateStore::append_audit(const AuditRow& row) {
  const std::lock_guard lock(impl_->mutex);
  const Database& db = impl_->database;
  Statement add(db,
                "INSERT INTO audit (wall_ms, uid, pid, action, target, detail, result)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)");
  add.bind(row.wall_ms).bind(std::int64_t{row.uid}).bind(row.pid).bind(row.action);
  add.bind(row.target).bind(row.detail).bind(row.result);
  if (!add.done()) return fail(db.error());
  if (!db.execute("DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - 10000")) {
    return fail(db.error());
  }
  return {};
}

Result<std::vector<AuditRow>> StateStore::audit(std::size_t rows_max) const {
  const std::lock_guard lock(impl_->mutex);
  Statement rows(impl_->database,
                 "SELECT wall_ms, uid, pid, action, target, detail, result FROM audit"
                 " ORDER BY id DESC LIMIT ?");
  rows.bind(static_cast<std::int64_t>(std::min<std::size_t>(rows_max, 10'000)));
  std::vector<AuditRow> result;
  while (rows.step()) {
    result.push_back({rows.number(0), static_cast<std::uint32_t>(rows.number(1)), rows.number(2),
                      rows.text(3), rows.text(4), rows.text(5), rows.text(6)});
  }
  if (!rows.ended_well()) return fail(impl_->database.error());
  return result;
}

}  // namespace membroker::broker
