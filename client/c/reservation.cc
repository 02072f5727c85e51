#include "client/c/handles.h"
#include "membroker/c/consumer.h"

using namespace membroker;
using namespace membroker::c;

struct mb_ticket {
  AcquireTicket value;
};
struct mb_no_spill {
  explicit mb_no_spill(const MemoryReservation& reservation) : section(reservation) {}
  explicit mb_no_spill(const MemoryConsumer& consumer) : section(consumer) {}
  NoSpillSection section;
};

namespace membroker::c {

Result<AcquireOptions> acquire_options(const mb_acquire_options* given) {
  const mb_acquire_options defaults = MB_ACQUIRE_OPTIONS_INIT;
  const auto read = read_options("mb_acquire_options", given, defaults);
  if (!read) return fail(read.error());
  return AcquireOptions{.priority = read->priority,
                        .spillable_while_waiting = read->spillable_while_waiting != 0};
}

}  // namespace membroker::c

namespace {

// One call that changes a reservation by a number of bytes.
using Change = Status (MemoryReservation::*)(std::int64_t);

mb_status change(const char* function, Change how, mb_reservation* reservation, std::int64_t bytes,
                 mb_error** error) {
  return guarded(function, {{reservation, "reservation"}}, error,
                 [&]() -> Status { return (reservation->value.*how)(bytes); });
}

Status give(Result<MemoryReservation> made, std::unique_ptr<mb_reservation> handle,
            mb_reservation** out) {
  if (!made) return fail(made.error());
  handle->value = std::move(*made);
  *out = handle.release();
  return {};
}

}  // namespace

// The two calls of the fast path are not made through a pointer: their inline part is inlined.
mb_status mb_reservation_try_grow(mb_reservation* reservation, int64_t bytes, mb_error** error) {
  return guarded(__func__, {{reservation, "reservation"}}, error,
                 [&]() -> Status { return reservation->value.try_grow(bytes); });
}

mb_status mb_reservation_shrink(mb_reservation* reservation, int64_t bytes, mb_error** error) {
  return guarded(__func__, {{reservation, "reservation"}}, error,
                 [&]() -> Status { return reservation->value.shrink(bytes); });
}

mb_status mb_reservation_grow(mb_reservation* reservation, int64_t bytes, mb_error** error) {
  return change(__func__, &MemoryReservation::grow, reservation, bytes, error);
}

mb_status mb_reservation_try_shrink(mb_reservation* reservation, int64_t bytes, int64_t* size,
                                    mb_error** error) {
  const auto required = {Required{reservation, "reservation"}, {size, "size"}};
  return guarded(__func__, required, error, [&]() -> Status {
    const Result<std::int64_t> left = reservation->value.try_shrink(bytes);
    if (!left) return fail(left.error());
    *size = *left;
    return {};
  });
}

mb_status mb_reservation_resize(mb_reservation* reservation, int64_t bytes, mb_error** error) {
  return change(__func__, &MemoryReservation::resize, reservation, bytes, error);
}

mb_status mb_reservation_try_resize(mb_reservation* reservation, int64_t bytes, mb_error** error) {
  return change(__func__, &MemoryReservation::try_resize, reservation, bytes, error);
}

int64_t mb_reservation_free(mb_reservation* reservation) {
  return value_or<int64_t>(reservation, -1, [&] { return reservation->value.free(); });
}

mb_status mb_reservation_split(mb_reservation* reservation, int64_t bytes, mb_reservation** out,
                               mb_error** error) {
  const auto required = {Required{reservation, "reservation"}, {out, "out"}};
  return guarded(__func__, required, error, [&]() -> Status {
    auto handle = std::make_unique<mb_reservation>();
    return give(reservation->value.split(bytes), std::move(handle), out);
  });
}

mb_status mb_reservation_new_empty(const mb_reservation* reservation, mb_reservation** out,
                                   mb_error** error) {
  const auto required = {Required{reservation, "reservation"}, {out, "out"}};
  return guarded(__func__, required, error, [&]() -> Status {
    auto handle = std::make_unique<mb_reservation>();
    return give(reservation->value.new_empty(), std::move(handle), out);
  });
}

mb_status mb_reservation_take(mb_reservation* reservation, mb_reservation** out, mb_error** error) {
  const auto required = {Required{reservation, "reservation"}, {out, "out"}};
  return guarded(__func__, required, error, [&]() -> Status {
    auto handle = std::make_unique<mb_reservation>();
    return give(reservation->value.take(), std::move(handle), out);
  });
}

int64_t mb_reservation_size(const mb_reservation* reservation) {
  return value_or<int64_t>(reservation, -1, [&] { return reservation->value.size(); });
}

mb_status mb_reservation_acquire(mb_reservation* reservation, int64_t min_bytes, int64_t want_bytes,
                                 int64_t timeout_ms, const mb_acquire_options* options,
                                 int64_t* granted, mb_error** error) {
  const auto required = {Required{reservation, "reservation"}, {granted, "granted"}};
  return guarded(__func__, required, error, [&]() -> Status {
    const Result<Deadline> deadline = deadline_of(timeout_ms);
    if (!deadline) return fail(deadline.error());
    const Result<AcquireOptions> how = acquire_options(options);
    if (!how) return fail(how.error());
    const auto got = reservation->value.acquire(min_bytes, want_bytes, *deadline, *how);
    if (!got) return fail(got.error());
    *granted = *got;
    return {};
  });
}

mb_status mb_reservation_acquire_async(mb_reservation* reservation, int64_t min_bytes,
                                       int64_t want_bytes, int64_t timeout_ms,
                                       const mb_acquire_options* options, mb_acquire_function done,
                                       void* context, mb_ticket** ticket, mb_error** error) {
  const auto* const callable = reinterpret_cast<const void*>(done);
  const auto required = {Required{reservation, "reservation"}, {callable, "done"}};
  return guarded(__func__, required, error, [&]() -> Status {
    const Result<Deadline> deadline = deadline_of(timeout_ms);
    if (!deadline) return fail(deadline.error());
    const Result<AcquireOptions> how = acquire_options(options);
    if (!how) return fail(how.error());
    auto handle = std::make_unique<mb_ticket>();
    const auto tell = [done, context](const Result<std::int64_t>& got) {
      if (got) return done(context, *got, nullptr);
      const mb_error failed{status_of(got.error().code()), got.error()};
      done(context, 0, &failed);
    };
    handle->value = reservation->value.acquire_async(min_bytes, want_bytes, *deadline, tell, *how);
    if (ticket != nullptr) *ticket = handle.release();
    return {};
  });
}

void mb_ticket_cancel(mb_ticket* ticket) {
  value_or<int>(ticket, 0, [&] {
    ticket->value.cancel();
    return 0;
  });
}

void mb_ticket_drop(mb_ticket* ticket) { drop(ticket); }

int64_t mb_reservation_spill_requested(const mb_reservation* reservation) {
  return value_or<int64_t>(reservation, -1, [&] { return reservation->value.spill_requested(); });
}

mb_status mb_reservation_consumer(const mb_reservation* reservation, mb_consumer** out,
                                  mb_error** error) {
  const auto required = {Required{reservation, "reservation"}, {out, "out"}};
  return guarded(__func__, required, error, [&]() -> Status {
    *out = new mb_consumer{reservation->value.consumer()};
    return {};
  });
}

mb_status mb_reservation_pool(const mb_reservation* reservation, mb_pool** out, mb_error** error) {
  const auto required = {Required{reservation, "reservation"}, {out, "out"}};
  return guarded(__func__, required, error, [&]() -> Status {
    auto pool = reservation->value.pool();
    if (pool == nullptr) {
      return fail(ErrorCode::kForked,
                  "the reservation is of no pool: it was made out of the parent process's, from "
                  "which this one is cut off until it calls exec()");
    }
    *out = new mb_pool{std::move(pool)};
    return {};
  });
}

void mb_reservation_drop(mb_reservation* reservation) { drop(reservation); }

mb_status mb_no_spill_begin(const mb_reservation* reservation, mb_no_spill** out,
                            mb_error** error) {
  const auto required = {Required{reservation, "reservation"}, {out, "out"}};
  return guarded(__func__, required, error, [&]() -> Status {
    *out = new mb_no_spill(reservation->value);
    return {};
  });
}

mb_status mb_consumer_no_spill_begin(const mb_consumer* consumer, mb_no_spill** out,
                                     mb_error** error) {
  return guarded(__func__, {{consumer, "consumer"}, {out, "out"}}, error, [&]() -> Status {
    *out = new mb_no_spill(consumer->value);
    return {};
  });
}

void mb_no_spill_end(mb_no_spill* section) { drop(section); }
