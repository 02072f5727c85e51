#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>

#include "membroker/error.h"

/// \file
/// The daemon's SQLite files, as its stores use them: opened with their tables, one statement at a
/// time, errors as values that say what to do.
///
/// Thread: one caller at a time; the stores lock.

namespace membroker::broker {

/// A file of its own in WAL mode. Waits up to 2 s for another process that has it locked.
class Database {
 public:
  struct Schema {
    int version = 1;                // a file of a later one is refused
    const char* tables;             // CREATE … IF NOT EXISTS
    bool sync_every_commit = true;  // else a power failure may take the last ones, in order
  };

  /// Opens or makes it. kUnavailable if another process has it locked, kCorrupt if it is damaged or
  /// of a later version; the file is left as it is.
  static Result<Database> open(const std::string& path, const Schema& schema);

  /// Statements without values or rows; false if one fails.
  bool execute(const char* sql) const;
  /// Of the call that failed last.
  Error error() const;
  const std::string& path() const { return path_; }
  sqlite3* handle() const { return handle_.get(); }

 private:
  struct Close {
    void operator()(sqlite3* handle) const { sqlite3_close_v2(handle); }
  };
  explicit Database(std::string path) : path_(std::move(path)) {}
  Status set_up(const Schema& schema);

  std::string path_;
  std::unique_ptr<sqlite3, Close> handle_;
};

/// One statement, prepared, bound and stepped; the first failure is kept, and then nothing is done
/// any more.
///
///     Statement rows(database, "SELECT name FROM thing WHERE size > ?");
///     rows.bind(least);
///     while (rows.step()) use(rows.text(0));
///     if (!rows.ended_well()) return fail(database.error());
class Statement {
 public:
  Statement(const Database& database, const char* sql);

  Statement& bind(std::int64_t value);
  Statement& bind(const std::string& value);
  /// True while there is a row.
  bool step();
  /// For one without rows: runs it.
  bool done() { return !step() && ended_well(); }
  bool ended_well() const { return code_ == SQLITE_DONE; }
  /// To be bound and stepped again from the beginning.
  void again();

  std::int64_t number(int column) const { return sqlite3_column_int64(statement_.get(), column); }
  std::string text(int column) const;

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  int code_ = SQLITE_OK;
  int bound_ = 0;
};

/// All or nothing: what is not committed is undone at the end of the block.
class Transaction {
 public:
  explicit Transaction(const Database& database)
      : database_(database), open_(database.execute("BEGIN IMMEDIATE")) {}
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction() {
    if (open_) static_cast<void>(database_.execute("ROLLBACK"));
  }

  /// False: it could not begin, see the database's error.
  bool is_open() const { return open_; }
  bool commit() {
    if (!database_.execute("COMMIT")) return false;
    open_ = false;
    return true;
  }

 private:
  const Database& database_;
  bool open_;
};

}  // namespace membroker::broker
