#include "membroker/c/consumer.h"

#include "client/c/handles.h"

using namespace membroker;
using namespace membroker::c;

static_assert(static_cast<int>(SpillTrigger::kRevocation) == MB_SPILL_REVOCATION);
static_assert(static_cast<int>(SpillTrigger::kOther) == MB_SPILL_OTHER);
static_assert(static_cast<int>(SpillTrigger::kSelf) == MB_SPILL_SELF);
static_assert(static_cast<int>(SpillTrigger::kExplicit) == MB_SPILL_EXPLICIT);

namespace {

SpillFunction spill_function(mb_spill_function spill, std::shared_ptr<Context> context) {
  return [spill, context = std::move(context)](const SpillRequest& request) {
    const mb_spill_request fields = {sizeof(mb_spill_request), request.bytes,
                                     remaining_ms(request.deadline),
                                     static_cast<mb_spill_trigger>(request.trigger), 0};
    return spill(context->get(), &fields);
  };
}

Status give_page(const Result<Page>& page, mb_page* out) {
  if (!page) return fail(page.error());
  *out = {page->data, page->bytes};
  return {};
}

}  // namespace

mb_status mb_consumer_new(const mb_consumer_options* options, mb_consumer** out, mb_error** error) {
  return guarded(__func__, {{options, "options"}, {out, "out"}}, error, [&]() -> Status {
    const mb_consumer_options defaults = MB_CONSUMER_OPTIONS_INIT;
    const auto given = read_options("mb_consumer_options", options, defaults);
    if (!given) return fail(given.error());
    if (given->name == nullptr) {
      return fail(ErrorCode::kInvalid, "mb_consumer_options.name is NULL");
    }
    if (given->page_bytes <= 0) {
      return fail(ErrorCode::kInvalid, "mb_consumer_options.page_bytes must be more than 0, not " +
                                           std::to_string(given->page_bytes));
    }
    auto consumer = std::make_unique<mb_consumer>(mb_consumer{MemoryConsumer(given->name)});
    consumer->value.with_can_spill(given->can_spill != 0)
        .with_spill_priority(given->spill_priority)
        .with_page_size(given->page_bytes);
    auto context = std::make_shared<Context>(given->spill_context, given->spill_context_drop);
    if (given->spill != nullptr) consumer->value.with_spill(spill_function(given->spill, context));
    context->arm();
    *out = consumer.release();
    return {};
  });
}

mb_status mb_consumer_register(mb_consumer* consumer, mb_pool* pool, mb_reservation** out,
                               mb_error** error) {
  const auto required = {Required{consumer, "consumer"}, {pool, "pool"}, {out, "out"}};
  return guarded(__func__, required, error, [&]() -> Status {
    auto reservation = std::make_unique<mb_reservation>();
    reservation->value = consumer->value.register_with(pool->value);
    *out = reservation.release();
    return {};
  });
}

mb_status mb_consumer_clone(const mb_consumer* consumer, mb_consumer** out, mb_error** error) {
  return guarded(__func__, {{consumer, "consumer"}, {out, "out"}}, error, [&]() -> Status {
    *out = new mb_consumer{consumer->value.clone_with_new_id()};
    return {};
  });
}

const char* mb_consumer_name(const mb_consumer* consumer) {
  return consumer == nullptr ? "" : consumer->value.name().c_str();
}

uint64_t mb_consumer_id(const mb_consumer* consumer) {
  return consumer == nullptr ? 0 : consumer->value.id();
}

int32_t mb_consumer_can_spill(const mb_consumer* consumer) {
  return value_or<int32_t>(consumer, -1, [&] { return consumer->value.can_spill() ? 1 : 0; });
}

int32_t mb_consumer_spill_priority(const mb_consumer* consumer) {
  return consumer == nullptr ? 0 : consumer->value.spill_priority();
}

int64_t mb_consumer_used(const mb_consumer* consumer) {
  return value_or<int64_t>(consumer, -1, [&] { return consumer->value.used(); });
}

int64_t mb_consumer_peak(const mb_consumer* consumer) {
  return value_or<int64_t>(consumer, -1, [&] { return consumer->value.peak(); });
}

void mb_consumer_reset_peak(mb_consumer* consumer) {
  if (consumer != nullptr) consumer->value.reset_peak();
}

mb_status mb_consumer_spill(mb_consumer* consumer, int64_t bytes, int64_t* freed,
                            mb_error** error) {
  return guarded(__func__, {{consumer, "consumer"}, {freed, "freed"}}, error, [&]() -> Status {
    const Result<std::int64_t> spilled = consumer->value.spill(bytes);
    if (!spilled) return fail(spilled.error());
    *freed = *spilled;
    return {};
  });
}

mb_status mb_consumer_allocate_page(mb_consumer* consumer, int64_t required_bytes, mb_page* out,
                                    mb_error** error) {
  return guarded(__func__, {{consumer, "consumer"}, {out, "out"}}, error, [&]() -> Status {
    return give_page(consumer->value.allocate_page(required_bytes), out);
  });
}

mb_status mb_consumer_allocate_array(mb_consumer* consumer, int64_t elements, mb_page* out,
                                     mb_error** error) {
  return guarded(__func__, {{consumer, "consumer"}, {out, "out"}}, error, [&]() -> Status {
    return give_page(consumer->value.allocate_array(elements), out);
  });
}

mb_status mb_consumer_free_page(mb_consumer* consumer, const mb_page* page, mb_error** error) {
  return guarded(__func__, {{consumer, "consumer"}, {page, "page"}}, error, [&]() -> Status {
    return consumer->value.free_page({page->data, page->bytes});
  });
}

void mb_consumer_drop(mb_consumer* consumer) { drop(consumer); }
