#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "membroker/membroker.h"

/// \file
/// Owners for the handles of the C ABI, so that a test that fails does not leak.

namespace membroker::testing {

inline constexpr std::int64_t kMiB = std::int64_t{1} << 20;

struct Drop {
  void operator()(mb_client* h) const { mb_client_drop(h); }
  void operator()(mb_client_stats* h) const { mb_client_stats_drop(h); }
  void operator()(mb_close_report* h) const { mb_close_report_drop(h); }
  void operator()(mb_error* h) const { mb_error_drop(h); }
  void operator()(mb_pool* h) const { mb_pool_drop(h); }
  void operator()(mb_pool_metrics* h) const { mb_pool_metrics_drop(h); }
  void operator()(mb_pool_holders* h) const { mb_pool_holders_drop(h); }
  void operator()(mb_no_spill* h) const { mb_no_spill_end(h); }
  void operator()(mb_watch* h) const { mb_watch_drop(h); }
  void operator()(mb_loan* h) const { mb_loan_drop(h); }
  void operator()(mb_consumer* h) const { mb_consumer_drop(h); }
  void operator()(mb_reservation* h) const { mb_reservation_drop(h); }
  void operator()(mb_ticket* h) const { mb_ticket_drop(h); }
  void operator()(mb_allocator* h) const { mb_allocator_drop(h); }
  void operator()(mb_buffer* h) const { mb_buffer_drop(h); }
  void operator()(mb_mutable_buffer* h) const { mb_mutable_buffer_drop(h); }
  void operator()(mb_spill_directories* h) const { mb_spill_directories_drop(h); }
  void operator()(mb_spill_quota* h) const { mb_spill_quota_drop(h); }
  void operator()(mb_spill_workspace* h) const { mb_spill_workspace_drop(h); }
  void operator()(mb_spill_writer* h) const { mb_spill_writer_drop(h); }
  void operator()(mb_spill_reader* h) const { mb_spill_reader_drop(h); }
  void operator()(mb_batch* h) const { mb_batch_drop(h); }
  void operator()(char* text) const { mb_string_drop(text); }
};

template <class Handle>
using Owned = std::unique_ptr<Handle, Drop>;

/// What a maker makes: `make<mb_pool>(mb_pool_greedy, 100)`. Fails the test if it does not.
template <class Handle, class Maker, class... Given>
Owned<Handle> make(Maker maker, Given... given) {
  Handle* handle = nullptr;
  mb_error* error = nullptr;
  EXPECT_EQ(maker(given..., &handle, &error), MB_OK) << mb_error_message(error);
  mb_error_drop(error);
  return Owned<Handle>(handle);
}

/// The message and status of a call that fails: `failure([&](mb_error** e) { return …; })`.
struct Failure {
  mb_status status = MB_OK;
  std::string message;
  Owned<mb_error> error;
};
template <class Call>
Failure failure(Call call) {
  mb_error* error = nullptr;
  Failure failure;
  failure.status = call(&error);
  failure.error.reset(error);
  failure.message = mb_error_message(error);
  EXPECT_EQ(failure.status, mb_error_status(error));
  return failure;
}

inline Owned<mb_reservation> reserve_in(mb_pool* pool, const char* name,
                                        mb_spill_function spill = nullptr,
                                        void* context = nullptr) {
  mb_consumer_options options = MB_CONSUMER_OPTIONS_INIT;
  options.name = name;
  options.spill = spill;
  options.spill_context = context;
  const auto consumer = make<mb_consumer>(mb_consumer_new, &options);
  return make<mb_reservation>(mb_consumer_register, consumer.get(), pool);
}

}  // namespace membroker::testing
