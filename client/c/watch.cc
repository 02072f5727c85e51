#include "client/c/handles.h"
#include "membroker/c/pool.h"
#include "membroker/pool_watch.h"

using namespace membroker;
using namespace membroker::c;

struct mb_watch {
  std::shared_ptr<PoolWatch> value;  // shared with the pools tracked with it
};

mb_status mb_watch_open(int64_t (*allocated)(void* context), void* context,
                        mb_context_drop context_drop, mb_watch** out, mb_error** error) {
  return guarded(__func__, {{out, "out"}}, error, [&]() -> Status {
    auto owned = std::make_shared<Context>(context, context_drop);
    std::function<std::int64_t()> call;
    if (allocated != nullptr) call = [allocated, owned] { return allocated(owned->get()); };
    *out = new mb_watch{PoolWatch::make(std::move(call))};
    if (allocated != nullptr) owned->arm();
    return {};
  });
}

mb_status mb_pool_watched(mb_pool* pool, size_t top_n, mb_watch* watch, mb_pool** out,
                          mb_error** error) {
  const auto required = {Required{pool, "pool"}, {watch, "watch"}, {out, "out"}};
  return guarded(__func__, required, error, [&]() -> Status {
    *out = new mb_pool{pool->value->tracked(top_n, watch->value)};
    return {};
  });
}

mb_status mb_watch_report(const mb_watch* watch, mb_watch_figures* out, mb_error** error) {
  return guarded(__func__, {{watch, "watch"}, {out, "out"}}, error, [&]() -> Status {
    const WatchReport from = watch->value->report();
    mb_watch_figures fields = MB_WATCH_FIGURES_INIT;
    fields.reserved_bytes = from.reserved_bytes;
    fields.peak_bytes = from.peak_bytes;
    fields.max_bytes = from.max_bytes;
    fields.allocated_bytes = from.allocated_bytes;
    fields.drift_bytes = from.drift_bytes;
    fields.peak_drift_bytes = from.peak_drift_bytes;
    fields.peak_drift_reserved_bytes = from.peak_drift_reserved_bytes;
    return fill_in("mb_watch_figures", out, fields);
  });
}

mb_status mb_watch_describe(const mb_watch* watch, char** out, mb_error** error) {
  return guarded(__func__, {{watch, "watch"}, {out, "out"}}, error, [&]() -> Status {
    *out = copy_text(watch->value->report().to_string());
    return {};
  });
}

mb_status mb_watch_peak_drift(const mb_watch* watch, char** consumer, char** pool,
                              mb_error** error) {
  const auto required = {Required{watch, "watch"}, {consumer, "consumer"}, {pool, "pool"}};
  return guarded(__func__, required, error, [&]() -> Status {
    const WatchReport from = watch->value->report();
    *consumer = copy_text(from.peak_drift_consumer);
    *pool = copy_text(from.peak_drift_pool);
    return {};
  });
}

mb_status mb_watch_reset_peaks(mb_watch* watch, mb_error** error) {
  return guarded(__func__, {{watch, "watch"}}, error, [&]() -> Status {
    watch->value->reset_peaks();
    return {};
  });
}

void mb_watch_drop(mb_watch* watch) { drop(watch); }
