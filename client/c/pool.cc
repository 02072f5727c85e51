#include "membroker/c/pool.h"

#include "client/c/handles.h"
#include "shared/format.h"

using namespace membroker;
using namespace membroker::c;

struct mb_loan {
  NestedPool::Loan value;
};
struct mb_pool_metrics {
  PoolMetrics value;
};
struct mb_pool_holders {
  std::vector<PoolHolder> value;
};

static_assert(static_cast<int>(MemoryLimit::Kind::kInfinite) == MB_LIMIT_INFINITE);
static_assert(static_cast<int>(MemoryLimit::Kind::kFinite) == MB_LIMIT_FINITE);
static_assert(static_cast<int>(MemoryLimit::Kind::kUnknown) == MB_LIMIT_UNKNOWN);

namespace {

Status check_bytes(const char* function, const char* name, std::int64_t bytes) {
  if (bytes >= 0) return {};
  return fail(ErrorCode::kInvalid,
              strf("%s: %s is negative: %lld", function, name, static_cast<long long>(bytes)));
}

// The pool as what a special maker made it.
template <class Kind>
Result<std::shared_ptr<Kind>> as(const mb_pool& pool, const char* function, const char* maker) {
  auto kind = std::dynamic_pointer_cast<Kind>(pool.value);
  if (kind != nullptr) return kind;
  return fail(ErrorCode::kUnsupported, strf("%s: pool \"%s\" was not made by %s", function,
                                            pool.value->name().c_str(), maker));
}

Result<std::shared_ptr<NestedPool>> nested_of(const mb_pool& pool, const char* function) {
  return as<NestedPool>(pool, function, "mb_pool_nested");
}

template <class Make>
mb_status make_pool(const char* function, std::int64_t size, mb_pool** out, mb_error** error,
                    Make make) {
  return guarded(function, {{out, "out"}}, error, [&]() -> Status {
    if (Status ok = check_bytes(function, "size_bytes", size); !ok) return ok;
    *out = new mb_pool{make(size)};
    return {};
  });
}

void give_limit(const MemoryLimit& limit, mb_limit_kind* kind, std::int64_t* bytes) {
  *kind = static_cast<mb_limit_kind>(limit.kind);
  *bytes = limit.kind == MemoryLimit::Kind::kFinite ? limit.bytes : 0;
}

template <class Text>
mb_status give_text(const char* function, const mb_pool* pool, char** out, mb_error** error,
                    Text text) {
  return guarded(function, {{pool, "pool"}, {out, "out"}}, error, [&]() -> Status {
    *out = copy_text(text(*pool->value));
    return {};
  });
}

}  // namespace

mb_status mb_pool_unbounded(mb_pool** out, mb_error** error) {
  return make_pool(__func__, 0, out, error, [](std::int64_t) { return MemoryPool::unbounded(); });
}

mb_status mb_pool_greedy(int64_t size_bytes, mb_pool** out, mb_error** error) {
  return make_pool(__func__, size_bytes, out, error, MemoryPool::greedy);
}

mb_status mb_pool_fair_spill(int64_t size_bytes, mb_pool** out, mb_error** error) {
  return make_pool(__func__, size_bytes, out, error, MemoryPool::fair_spill);
}

mb_status mb_pool_task_fair(int64_t size_bytes, mb_pool** out, mb_error** error) {
  return make_pool(__func__, size_bytes, out, error, MemoryPool::task_fair);
}

mb_status mb_pool_task(mb_pool* pool, uint64_t id, mb_pool** out, mb_error** error) {
  const char* const function = __func__;
  return guarded(function, {{pool, "pool"}, {out, "out"}}, error, [&]() -> Status {
    const auto tasks = as<TaskFairPool>(*pool, function, "mb_pool_task_fair");
    if (!tasks) return fail(tasks.error());
    *out = new mb_pool{(*tasks)->task(id)};
    return {};
  });
}

mb_status mb_pool_tracked(mb_pool* pool, size_t top_n, mb_pool** out, mb_error** error) {
  return guarded(__func__, {{pool, "pool"}, {out, "out"}}, error, [&]() -> Status {
    *out = new mb_pool{pool->value->tracked(top_n)};
    return {};
  });
}

mb_status mb_pool_nested(mb_pool* parent, const char* name, int64_t retained_bytes, mb_pool** out,
                         mb_error** error) {
  const char* const function = __func__;
  const auto required = {Required{parent, "parent"}, {name, "name"}, {out, "out"}};
  return guarded(function, required, error, [&]() -> Status {
    if (Status ok = check_bytes(function, "retained_bytes", retained_bytes); !ok) return ok;
    *out = new mb_pool{parent->value->nested(name, retained_bytes)};
    return {};
  });
}

mb_status mb_pool_retain(mb_pool* nested, int64_t bytes, mb_error** error) {
  const char* const function = __func__;
  return guarded(function, {{nested, "nested"}}, error, [&]() -> Status {
    if (Status ok = check_bytes(function, "bytes", bytes); !ok) return ok;
    const auto pool = nested_of(*nested, function);
    if (!pool) return fail(pool.error());
    (*pool)->retain(bytes);
    return {};
  });
}

mb_status mb_pool_borrow(mb_pool* nested, int64_t bytes, mb_loan** out, mb_error** error) {
  const char* const function = __func__;
  return guarded(function, {{nested, "nested"}, {out, "out"}}, error, [&]() -> Status {
    if (Status ok = check_bytes(function, "bytes", bytes); !ok) return ok;
    const auto pool = nested_of(*nested, function);
    if (!pool) return fail(pool.error());
    *out = new mb_loan{(*pool)->borrow(bytes)};
    return {};
  });
}

mb_status mb_pool_release_unused(mb_pool* nested, mb_error** error) {
  const char* const function = __func__;
  return guarded(function, {{nested, "nested"}}, error, [&]() -> Status {
    const auto pool = nested_of(*nested, function);
    if (!pool) return fail(pool.error());
    (*pool)->release_unused();
    return {};
  });
}

int64_t mb_loan_bytes(const mb_loan* loan) {
  return value_or<int64_t>(loan, -1, [&] { return loan->value.bytes(); });
}

void mb_loan_drop(mb_loan* loan) { drop(loan); }

mb_status mb_pool_limit(const mb_pool* pool, mb_limit_kind* kind, int64_t* bytes,
                        mb_error** error) {
  const auto required = {Required{pool, "pool"}, {kind, "kind"}, {bytes, "bytes"}};
  return guarded(__func__, required, error, [&]() -> Status {
    give_limit(pool->value->limit(), kind, bytes);
    return {};
  });
}

mb_status mb_pool_limit_for(const mb_pool* pool, const mb_consumer* consumer, mb_limit_kind* kind,
                            int64_t* bytes, mb_error** error) {
  const auto required = {
      Required{pool, "pool"}, {consumer, "consumer"}, {kind, "kind"}, {bytes, "bytes"}};
  return guarded(__func__, required, error, [&]() -> Status {
    give_limit(pool->value->limit_for(consumer->value), kind, bytes);
    return {};
  });
}

int64_t mb_pool_reserved(const mb_pool* pool) {
  return value_or<int64_t>(pool, -1, [&] { return pool->value->reserved(); });
}

mb_status mb_pool_name(const mb_pool* pool, char** out, mb_error** error) {
  return give_text(__func__, pool, out, error, [](const MemoryPool& p) { return p.name(); });
}

mb_status mb_pool_describe(const mb_pool* pool, char** out, mb_error** error) {
  return give_text(__func__, pool, out, error, [](const MemoryPool& p) { return p.describe(); });
}

mb_status mb_pool_report_top(const mb_pool* pool, size_t k, char** out, mb_error** error) {
  return give_text(__func__, pool, out, error,
                   [k](const MemoryPool& p) { return p.report_top(k); });
}

mb_status mb_pool_get_metrics(const mb_pool* pool, mb_pool_metrics** out, mb_error** error) {
  return guarded(__func__, {{pool, "pool"}, {out, "out"}}, error, [&]() -> Status {
    *out = new mb_pool_metrics{pool->value->metrics()};
    return {};
  });
}

mb_status mb_pool_metrics_totals(const mb_pool_metrics* metrics, mb_pool_totals* out,
                                 mb_error** error) {
  return guarded(__func__, {{metrics, "metrics"}, {out, "out"}}, error, [&]() -> Status {
    const PoolMetrics& from = metrics->value;
    mb_pool_totals fields = MB_POOL_TOTALS_INIT;
    fields.reserved_bytes = from.reserved_bytes;
    fields.overdraft_bytes = from.overdraft_bytes;
    fields.overdrawn_total = from.overdrawn_total;
    fields.refusals = from.refusals;
    fields.spills = from.spills;
    fields.spilled_bytes = from.spilled_bytes;
    fields.consumer_count = static_cast<std::int64_t>(from.consumers.size());
    return fill_in("mb_pool_totals", out, fields);
  });
}

mb_status mb_pool_metrics_consumer(const mb_pool_metrics* metrics, int64_t index,
                                   mb_consumer_metrics* out, mb_error** error) {
  return guarded(__func__, {{metrics, "metrics"}, {out, "out"}}, error, [&]() -> Status {
    const auto consumer = at(metrics->value.consumers, "consumer", index);
    if (!consumer) return fail(consumer.error());
    mb_consumer_metrics fields = MB_CONSUMER_METRICS_INIT;
    fields.id = (*consumer)->id;
    fields.name = (*consumer)->name.c_str();
    fields.reserved_bytes = (*consumer)->reserved_bytes;
    fields.peak_bytes = (*consumer)->peak_bytes;
    fields.can_spill = (*consumer)->can_spill ? 1 : 0;
    return fill_in("mb_consumer_metrics", out, fields);
  });
}

void mb_pool_metrics_drop(mb_pool_metrics* metrics) { drop(metrics); }

mb_status mb_pool_get_holders(const mb_pool* pool, mb_pool_holders** out, mb_error** error) {
  return guarded(__func__, {{pool, "pool"}, {out, "out"}}, error, [&]() -> Status {
    *out = new mb_pool_holders{pool->value->holders()};
    return {};
  });
}

int64_t mb_pool_holders_count(const mb_pool_holders* holders) {
  return value_or<int64_t>(holders, -1, [&] { return holders->value.size(); });
}

mb_status mb_pool_holders_one(const mb_pool_holders* holders, int64_t index, mb_pool_holder* out,
                              mb_error** error) {
  return guarded(__func__, {{holders, "holders"}, {out, "out"}}, error, [&]() -> Status {
    const auto holder = at(holders->value, "holder", index);
    if (!holder) return fail(holder.error());
    mb_pool_holder fields = MB_POOL_HOLDER_INIT;
    fields.consumer = (*holder)->consumer.c_str();
    fields.consumer_id = (*holder)->consumer_id;
    fields.held_bytes = (*holder)->held_bytes;
    fields.within = (*holder)->within.c_str();
    fields.can_spill = (*holder)->can_spill ? 1 : 0;
    return fill_in("mb_pool_holder", out, fields);
  });
}

void mb_pool_holders_drop(mb_pool_holders* holders) { drop(holders); }

void mb_pool_drop(mb_pool* pool) { drop(pool); }
