#include "membroker/c/base.h"

#include <cstdlib>

#include "client/c/guard.h"

using membroker::Denial;
using membroker::DenialHint;
using membroker::Error;
using membroker::ErrorCode;
using membroker::HolderUse;
using membroker::Result;
using membroker::Status;
using namespace membroker::c;

static_assert(static_cast<int>(DenialHint::kNone) == MB_HINT_NONE);
static_assert(static_cast<int>(DenialHint::kSpill) == MB_HINT_SPILL);
static_assert(static_cast<int>(DenialHint::kRollback) == MB_HINT_ROLLBACK);
static_assert(static_cast<int>(DenialHint::kSmaller) == MB_HINT_SMALLER);
static_assert(static_cast<int>(DenialHint::kWait) == MB_HINT_WAIT);

namespace {

Result<const Denial*> denial_of(const mb_error& error) {
  if (error.value.denial() != nullptr) return error.value.denial();
  return membroker::fail(ErrorCode::kNotFound, std::string("the error \"") +
                                                   mb_status_name(error.status) +
                                                   "\" is no refusal: it has no denial");
}

}  // namespace

const char* mb_version() { return MEMBROKER_VERSION; }

const char* mb_status_name(mb_status status) {
  if (status == MB_OK) return "ok";
  if (status == MB_INTERNAL) return "internal";
  if (status < MB_INVALID || status > MB_UNSUPPORTED) return "unknown";
  return error_code_name(code_of(status)).data();  // a literal: it ends with 0
}

mb_status mb_error_status(const mb_error* error) {
  return error == nullptr ? MB_OK : error->status;
}

const char* mb_error_message(const mb_error* error) {
  return error == nullptr ? "" : error->value.message().c_str();
}

mb_status mb_error_denial(const mb_error* denied, mb_denial* out, mb_error** error) {
  return guarded(__func__, {{denied, "denied"}, {out, "out"}}, error, [&]() -> Status {
    const Result<const Denial*> found = denial_of(*denied);
    if (!found) return fail(found.error());
    const Denial& denial = **found;
    mb_denial fields = MB_DENIAL_INIT;
    fields.requested_bytes = denial.requested_bytes;
    fields.available_bytes = denial.available_bytes;
    fields.self_spill_bytes = denial.self_spill_bytes;
    fields.attainable_bytes = denial.attainable_bytes;
    fields.retry_after_ms = denial.retry_after_ms;
    fields.hint = static_cast<mb_denial_hint>(denial.hint);
    fields.holder_count = static_cast<std::int32_t>(denial.holders.size());
    fields.reason = denial.reason.c_str();
    fields.pool = denial.pool.c_str();
    return fill_in("mb_denial", out, fields);
  });
}

mb_status mb_error_holder(const mb_error* denied, int32_t index, mb_holder* out, mb_error** error) {
  return guarded(__func__, {{denied, "denied"}, {out, "out"}}, error, [&]() -> Status {
    const Result<const Denial*> denial = denial_of(*denied);
    if (!denial) return fail(denial.error());
    const Result<const HolderUse*> holder = at((*denial)->holders, "holder", index);
    if (!holder) return fail(holder.error());
    mb_holder fields = MB_HOLDER_INIT;
    fields.name = (*holder)->name.c_str();
    fields.held_bytes = (*holder)->held_bytes;
    fields.can_spill = (*holder)->can_spill ? 1 : 0;
    return fill_in("mb_holder", out, fields);
  });
}

void mb_error_drop(mb_error* error) {
  if (error != out_of_memory_error()) drop(error);
}

void mb_string_drop(char* text) { std::free(text); }
