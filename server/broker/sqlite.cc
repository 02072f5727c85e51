#include "server/broker/sqlite.h"

#include <utility>

#include "shared/format.h"

namespace membroker::broker {
namespace {

constexpr int kBusyMs = 2'000;

}  // namespace

Result<Database> Database::open(const std::string& path, const Schema& schema) {
  Database database(path);
  sqlite3* opened = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &opened,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  database.handle_.reset(opened);
  if (code != SQLITE_OK) return fail(database.error());
  if (auto ready = database.set_up(schema); !ready) return fail(ready.error());
  return database;
}

Status Database::set_up(const Schema& schema) {
  sqlite3_extended_result_codes(handle(), 0);
  sqlite3_busy_timeout(handle(), kBusyMs);
  const char* const sync =
      schema.sync_every_commit ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL";
  if (!execute("PRAGMA journal_mode=WAL") || !execute(sync)) return fail(error());
  Statement version(*this, "PRAGMA user_version");
  if (!version.step()) return fail(error());
  if (version.number(0) > schema.version) {
    return fail(ErrorCode::kCorrupt,
                strf("%s is of version %lld, made by a later membrokerd; this one knows %d",
                     path_.c_str(), static_cast<long long>(version.number(0)), schema.version));
  }
  if (!execute(schema.tables)) return fail(error());
  if (version.number(0) == schema.version) return {};  // a full disk can be read
  if (!execute(strf("PRAGMA user_version=%d", schema.version).c_str())) return fail(error());
  return {};
}

bool Database::execute(const char* sql) const {
  return sqlite3_exec(handle(), sql, nullptr, nullptr, nullptr) == SQLITE_OK;
}

Error Database::error() const {
  const int code = handle_ ? sqlite3_errcode(handle()) : SQLITE_NOMEM;
  const std::string message = path_ + ": " + (handle_ ? sqlite3_errmsg(handle()) : "out of memory");
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

Statement::Statement(const Database& database, const char* sql) {
  sqlite3_stmt* made = nullptr;
  code_ = sqlite3_prepare_v2(database.handle(), sql, -1, &made, nullptr);
  statement_.reset(made);
}

Statement& Statement::bind(std::int64_t value) {
  if (code_ == SQLITE_OK) code_ = sqlite3_bind_int64(statement_.get(), ++bound_, value);
  return *this;
}

Statement& Statement::bind(const std::string& value) {
  if (code_ == SQLITE_OK) {
    code_ = sqlite3_bind_text(statement_.get(), ++bound_, value.data(),
                              static_cast<int>(value.size()), SQLITE_TRANSIENT);
  }
  return *this;
}

bool Statement::step() {
  if (code_ != SQLITE_OK && code_ != SQLITE_ROW) return false;
  code_ = sqlite3_step(statement_.get());
  return code_ == SQLITE_ROW;
}

void Statement::again() {
  if (code_ != SQLITE_DONE && code_ != SQLITE_ROW) return;
  code_ = sqlite3_reset(statement_.get());
  bound_ = 0;
}

std::string Statement::text(int column) const {
  const auto* words = sqlite3_column_text(statement_.get(), column);
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column));
  return words == nullptr ? "" : std::string(reinterpret_cast<const char*>(words), size);
}

}  // namespace membroker::broker
