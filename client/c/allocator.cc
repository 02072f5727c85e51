#include "membroker/allocator.h"

#include <vector>

#include "client/c/handles.h"

using namespace membroker;
using namespace membroker::c;

namespace {

Result<std::shared_ptr<ReservationAllocator>> charging(const mb_allocator& allocator) {
  auto found = std::dynamic_pointer_cast<ReservationAllocator>(allocator.value);
  if (found != nullptr) return found;
  return fail(ErrorCode::kUnsupported,
              "the allocator (" + allocator.backend_name +
                  ") charges no reservation; mb_allocator_charged makes one that does");
}

// Runs `use` with the allocator as one that charges.
template <class Use>
mb_status with_charging(const char* function, mb_allocator* allocator,
                        std::initializer_list<Required> others, mb_error** error, Use use) {
  return guarded(function, others, error, [&]() -> Status {
    if (allocator == nullptr) {
      return fail(ErrorCode::kInvalid, std::string(function) + ": allocator is NULL");
    }
    const auto found = charging(*allocator);
    if (!found) return fail(found.error());
    return use(**found);
  });
}

}  // namespace

mb_status mb_allocator_system(mb_allocator** out, mb_error** error) {
  return guarded(__func__, {{out, "out"}}, error, [&]() -> Status {
    *out = new mb_allocator(system_allocator());
    return {};
  });
}

mb_status mb_allocator_mimalloc(mb_allocator** out, mb_error** error) {
  return guarded(__func__, {{out, "out"}}, error, [&]() -> Status {
    const auto found = mimalloc_allocator();
    if (!found) return fail(found.error());
    *out = new mb_allocator(*found);
    return {};
  });
}

mb_status mb_allocator_default(mb_allocator** out, mb_error** error) {
  return guarded(__func__, {{out, "out"}}, error, [&]() -> Status {
    *out = new mb_allocator(default_allocator());
    return {};
  });
}

mb_status mb_allocator_set_default(mb_allocator* allocator, mb_error** error) {
  return guarded(__func__, {}, error, [&]() -> Status {
    set_default_allocator(allocator_of(allocator));
    return {};
  });
}

const char* mb_allocator_supported_backend(int32_t index) {
  static const int here = 0;
  return value_or<const char*>(&here, nullptr, [&]() -> const char* {
    // Never destroyed: the names may be read while the process ends.
    static const auto& names = *new std::vector<std::string>(supported_backends());
    const auto name = at(names, "backend", index);
    return name ? (*name)->c_str() : nullptr;
  });
}

mb_status mb_allocator_charged(mb_pool* pool, const char* consumer_name, mb_allocator* backend,
                               mb_allocator** out, mb_error** error) {
  const auto required = {Required{pool, "pool"}, {consumer_name, "consumer_name"}, {out, "out"}};
  return guarded(__func__, required, error, [&]() -> Status {
    *out = new mb_allocator(make_allocator(pool->value, consumer_name, allocator_of(backend)));
    return {};
  });
}

mb_status mb_allocator_of_reservation(mb_reservation* reservation, mb_allocator* backend,
                                      mb_allocator** out, mb_error** error) {
  const auto required = {Required{reservation, "reservation"}, {out, "out"}};
  return guarded(__func__, required, error, [&]() -> Status {
    *out = new mb_allocator(make_allocator(std::move(reservation->value), allocator_of(backend)));
    drop(reservation);
    return {};
  });
}

mb_status mb_allocator_prepay(mb_allocator* allocator, int64_t min_bytes, int64_t want_bytes,
                              int64_t timeout_ms, const mb_acquire_options* options,
                              int64_t* granted, mb_error** error) {
  return with_charging(__func__, allocator, {{granted, "granted"}}, error,
                       [&](ReservationAllocator& charged) -> Status {
                         const Result<Deadline> deadline = deadline_of(timeout_ms);
                         if (!deadline) return fail(deadline.error());
                         const Result<AcquireOptions> how = acquire_options(options);
                         if (!how) return fail(how.error());
                         const auto got =
                             charged.reservation().acquire(min_bytes, want_bytes, *deadline, *how);
                         if (!got) return fail(got.error());
                         charged.add_prepaid(*got);
                         *granted = *got;
                         return {};
                       });
}

mb_status mb_allocator_prepaid(mb_allocator* allocator, int64_t* bytes, mb_error** error) {
  return with_charging(__func__, allocator, {{bytes, "bytes"}}, error,
                       [&](ReservationAllocator& charged) -> Status {
                         *bytes = charged.prepaid();
                         return {};
                       });
}

mb_status mb_allocator_return_prepaid(mb_allocator* allocator, int64_t* bytes, mb_error** error) {
  return with_charging(__func__, allocator, {}, error,
                       [&](ReservationAllocator& charged) -> Status {
                         const std::int64_t returned = charged.return_prepaid();
                         if (bytes != nullptr) *bytes = returned;
                         return {};
                       });
}

mb_status mb_allocator_keep_freed(mb_allocator* allocator, int32_t keep, mb_error** error) {
  return with_charging(__func__, allocator, {}, error,
                       [&](ReservationAllocator& charged) -> Status {
                         charged.keep_freed(keep != 0);
                         return {};
                       });
}

mb_status mb_allocator_reserved(mb_allocator* allocator, int64_t* bytes, mb_error** error) {
  return with_charging(__func__, allocator, {{bytes, "bytes"}}, error,
                       [&](ReservationAllocator& charged) -> Status {
                         *bytes = charged.reservation().size();
                         return {};
                       });
}

mb_status mb_allocate(mb_allocator* allocator, int64_t bytes, int64_t alignment, void** out,
                      mb_error** error) {
  return guarded(__func__, {{allocator, "allocator"}, {out, "out"}}, error, [&]() -> Status {
    const Result<std::uint8_t*> block = allocator->value->allocate(bytes, alignment);
    if (!block) return fail(block.error());
    *out = *block;
    return {};
  });
}

mb_status mb_reallocate(mb_allocator* allocator, void* block, int64_t old_bytes, int64_t new_bytes,
                        int64_t alignment, void** out, mb_error** error) {
  const auto required = {Required{allocator, "allocator"}, {block, "block"}, {out, "out"}};
  return guarded(__func__, required, error, [&]() -> Status {
    const auto moved = allocator->value->reallocate(static_cast<std::uint8_t*>(block), old_bytes,
                                                    new_bytes, alignment);
    if (!moved) return fail(moved.error());
    *out = *moved;
    return {};
  });
}

mb_status mb_deallocate(mb_allocator* allocator, void* block, int64_t bytes, int64_t alignment,
                        mb_error** error) {
  return guarded(__func__, {{allocator, "allocator"}}, error, [&]() -> Status {
    if (block != nullptr) {
      allocator->value->free(static_cast<std::uint8_t*>(block), bytes, alignment);
    }
    return {};
  });
}

mb_status mb_allocator_get_stats(const mb_allocator* allocator, mb_allocator_stats* out,
                                 mb_error** error) {
  return guarded(__func__, {{allocator, "allocator"}, {out, "out"}}, error, [&]() -> Status {
    const AllocatorStats stats = allocator->value->stats();
    mb_allocator_stats fields = MB_ALLOCATOR_STATS_INIT;
    fields.bytes_allocated = stats.bytes_allocated;
    fields.max_memory = stats.max_memory;
    fields.total_bytes_allocated = stats.total_bytes_allocated;
    fields.num_allocations = stats.num_allocations;
    return fill_in("mb_allocator_stats", out, fields);
  });
}

const char* mb_allocator_backend_name(const mb_allocator* allocator) {
  return allocator == nullptr ? "" : allocator->backend_name.c_str();
}

mb_status mb_allocator_release_unused(mb_allocator* allocator, mb_error** error) {
  return guarded(__func__, {{allocator, "allocator"}}, error, [&]() -> Status {
    allocator->value->release_unused();
    return {};
  });
}

void mb_allocator_drop(mb_allocator* allocator) { drop(allocator); }
