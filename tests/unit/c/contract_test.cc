#include <cstring>
#include <exception>
#include <fstream>
#include <new>
#include <set>

#include "tests/unit/c/c_fixture.h"
#include "tests/unit/c/null_calls.h"

namespace membroker::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The functions of the headers that return a status.
std::set<std::string> declared() {
  const std::string begin = "mb_status mb_";
  std::set<std::string> names;
  for (const char* name : {"base", "buffer", "client", "consumer", "pool", "spill"}) {
    std::ifstream header(std::string(MEMBROKER_C_HEADERS) + "/" + name + ".h");
    for (std::string line; std::getline(header, line);) {
      const auto end = line.find('(');
      if (!line.starts_with(begin) || end == std::string::npos) continue;
      const auto at = line.find("mb_", 3);
      names.insert(line.substr(at, end - at));
    }
  }
  return names;
}

// ---- NULL ----

TEST(CNullTest, EveryFunctionWithAStatusSaysWhichPointerIsMissing) {
  for (const NullCall& function : kNullCalls) {
    const Failure failed = failure(function.call);
    EXPECT_EQ(failed.status, MB_INVALID) << function.name;
    EXPECT_THAT(failed.message, HasSubstr(std::string(function.name) + ": ")) << function.name;
    EXPECT_THAT(failed.message, HasSubstr(" is NULL")) << function.name;
    EXPECT_EQ(function.call(nullptr), MB_INVALID) << function.name;
  }
}

TEST(CNullTest, TheListIsComplete) {
  // NULL means something to these.
  std::set<std::string> called = {"mb_allocator_set_default", "mb_error_status"};
  for (const NullCall& function : kNullCalls) called.insert(function.name);
  EXPECT_EQ(called, declared());
  EXPECT_GT(called.size(), 80U);
}

TEST(CNullTest, NumbersAreMinusOneAndTextsEmpty) {
  EXPECT_EQ(mb_reservation_size(nullptr), -1);
  EXPECT_EQ(mb_reservation_free(nullptr), -1);
  EXPECT_EQ(mb_reservation_spill_requested(nullptr), -1);
  EXPECT_EQ(mb_pool_reserved(nullptr), -1);
  EXPECT_EQ(mb_consumer_used(nullptr), -1);
  EXPECT_EQ(mb_consumer_peak(nullptr), -1);
  EXPECT_EQ(mb_consumer_can_spill(nullptr), -1);
  EXPECT_EQ(mb_loan_bytes(nullptr), -1);
  EXPECT_EQ(mb_buffer_size(nullptr), -1);
  EXPECT_EQ(mb_buffer_capacity(nullptr), -1);
  EXPECT_EQ(mb_buffer_equals(nullptr, nullptr), -1);
  EXPECT_EQ(mb_mutable_buffer_size(nullptr), -1);
  EXPECT_EQ(mb_mutable_buffer_capacity(nullptr), -1);
  EXPECT_EQ(mb_spill_quota_limit(nullptr), -1);
  EXPECT_EQ(mb_spill_quota_used(nullptr), -1);
  EXPECT_EQ(mb_spill_workspace_bytes(nullptr), -1);
  EXPECT_EQ(mb_spill_workspace_uses_io_uring(nullptr), -1);
  EXPECT_EQ(mb_batch_count(nullptr), -1);
  EXPECT_EQ(mb_batch_size(nullptr), -1);
  EXPECT_EQ(mb_close_report_ended(nullptr), -1);
  EXPECT_EQ(mb_close_report_holder_count(nullptr), -1);
  EXPECT_EQ(mb_pool_holders_count(nullptr), -1);
  EXPECT_EQ(mb_consumer_id(nullptr), 0U);
  EXPECT_EQ(mb_consumer_spill_priority(nullptr), 0);
  EXPECT_STREQ(mb_consumer_name(nullptr), "");
  EXPECT_STREQ(mb_allocator_backend_name(nullptr), "");
  EXPECT_STREQ(mb_error_message(nullptr), "");
  EXPECT_EQ(mb_error_status(nullptr), MB_OK);
  EXPECT_EQ(mb_buffer_data(nullptr), nullptr);
  EXPECT_EQ(mb_mutable_buffer_data(nullptr), nullptr);
  EXPECT_EQ(mb_spill_directories_path(nullptr, 0), nullptr);
}

TEST(CNullTest, DroppingItDoesNothing) {
  mb_client_drop(nullptr);
  mb_client_stats_drop(nullptr);
  mb_close_report_drop(nullptr);
  mb_error_drop(nullptr);
  mb_string_drop(nullptr);
  mb_watch_drop(nullptr);
  mb_pool_drop(nullptr);
  mb_pool_metrics_drop(nullptr);
  mb_loan_drop(nullptr);
  mb_consumer_drop(nullptr);
  mb_consumer_reset_peak(nullptr);
  mb_reservation_drop(nullptr);
  mb_ticket_cancel(nullptr);
  mb_ticket_drop(nullptr);
  mb_no_spill_end(nullptr);
  mb_allocator_drop(nullptr);
  mb_buffer_drop(nullptr);
  mb_mutable_buffer_drop(nullptr);
  mb_spill_directories_drop(nullptr);
  mb_spill_quota_drop(nullptr);
  mb_spill_workspace_drop(nullptr);
  mb_spill_writer_drop(nullptr);
  mb_spill_reader_drop(nullptr);
  mb_batch_drop(nullptr);
}

// ---- errors ----

TEST(CErrorTest, NumbersAreStable) {
  EXPECT_THAT((std::vector<int>{MB_OK, MB_INVALID, MB_NOT_FOUND, MB_PERMISSION_DENIED,
                                MB_RESOURCES_EXHAUSTED, MB_TIMEOUT, MB_CANCELLED, MB_UNAVAILABLE,
                                MB_GROW_IN_SPILL, MB_FORKED, MB_CLOSED, MB_IO, MB_DISK_FULL,
                                MB_CORRUPT, MB_OUT_OF_MEMORY, MB_UNSUPPORTED, MB_INTERNAL}),
              ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 1000));
  EXPECT_STREQ(mb_status_name(MB_OK), "ok");
  EXPECT_STREQ(mb_status_name(MB_INVALID), "invalid");
  EXPECT_STREQ(mb_status_name(MB_GROW_IN_SPILL), "grow_in_spill");
  EXPECT_STREQ(mb_status_name(MB_UNSUPPORTED), "unsupported");
  EXPECT_STREQ(mb_status_name(MB_INTERNAL), "internal");
  EXPECT_STREQ(mb_status_name(static_cast<mb_status>(16)), "unknown");
  EXPECT_STREQ(mb_status_name(static_cast<mb_status>(999999)), "unknown");
}

TEST(CErrorTest, IsSetToNullBySuccessAndOutputsStayAfterFailure) {
  auto* error = reinterpret_cast<mb_error*>(1);
  mb_pool* pool = nullptr;
  ASSERT_EQ(mb_pool_greedy(100, &pool, &error), MB_OK);
  EXPECT_EQ(error, nullptr);
  mb_pool* const before = pool;
  EXPECT_EQ(mb_pool_greedy(-1, &pool, &error), MB_INVALID);
  EXPECT_EQ(pool, before);
  EXPECT_THAT(mb_error_message(error), HasSubstr("mb_pool_greedy: size_bytes is negative: -1"));
  mb_error_drop(error);
  mb_pool_drop(pool);
}

TEST(CErrorTest, ARefusalHasItsFields) {
  const auto pool = make<mb_pool>(mb_pool_greedy, std::int64_t{100});
  const auto tracked = make<mb_pool>(mb_pool_tracked, pool.get(), std::size_t{5});
  const auto one = reserve_in(tracked.get(), "one");
  const auto two = reserve_in(tracked.get(), "two");
  ASSERT_EQ(mb_reservation_try_grow(one.get(), 70, nullptr), MB_OK);
  const Failure refused =
      failure([&](mb_error** e) { return mb_reservation_try_grow(two.get(), 50, e); });
  EXPECT_EQ(refused.status, MB_RESOURCES_EXHAUSTED);
  EXPECT_EQ(mb_reservation_size(two.get()), 0);
  mb_denial denial = MB_DENIAL_INIT;
  ASSERT_EQ(mb_error_denial(refused.error.get(), &denial, nullptr), MB_OK);
  EXPECT_EQ(denial.requested_bytes, 50);
  EXPECT_EQ(denial.available_bytes, 30);
  ASSERT_GE(denial.holder_count, 1);
  mb_holder holder = MB_HOLDER_INIT;
  ASSERT_EQ(mb_error_holder(refused.error.get(), 0, &holder, nullptr), MB_OK);
  EXPECT_THAT(holder.name, HasSubstr("one"));
  EXPECT_EQ(holder.held_bytes, 70);
  EXPECT_EQ(holder.can_spill, 0);
  for (const std::int32_t index : {-1, denial.holder_count}) {
    const Failure beyond = failure(
        [&](mb_error** e) { return mb_error_holder(refused.error.get(), index, &holder, e); });
    EXPECT_EQ(beyond.status, MB_NOT_FOUND);
    EXPECT_THAT(beyond.message, HasSubstr("there is no holder"));
  }
}

TEST(CErrorTest, AnotherErrorHasNoDenial) {
  const Failure failed = failure([](mb_error** e) { return mb_pool_greedy(-1, nullptr, e); });
  mb_denial denial = MB_DENIAL_INIT;
  const Failure none =
      failure([&](mb_error** e) { return mb_error_denial(failed.error.get(), &denial, e); });
  EXPECT_EQ(none.status, MB_NOT_FOUND);
  EXPECT_THAT(none.message, HasSubstr("no refusal"));
}

// ---- exceptions ----

// A pool whose refusals are exceptions, which its author should not have let out.
template <class Thrown>
Failure thrown_by_a_call_back() {
  mb_pool_functions functions = MB_POOL_FUNCTIONS_INIT;
  functions.name = "throws";
  functions.try_grow = [](void*, const mb_pool_change*) -> mb_status { throw Thrown(); };
  functions.grow = [](void*, const mb_pool_change*) {};
  functions.shrink = [](void*, const mb_pool_change*) {};
  functions.reserved = [](void*) -> std::int64_t { throw Thrown(); };
  const auto pool = make<mb_pool>(mb_pool_derived, &functions);
  const auto reservation = reserve_in(pool.get(), "c");
  EXPECT_EQ(mb_pool_reserved(pool.get()), -1);
  Failure failed =
      failure([&](mb_error** e) { return mb_reservation_try_grow(reservation.get(), 1, e); });
  EXPECT_EQ(mb_reservation_size(reservation.get()), 0);
  EXPECT_EQ(mb_reservation_try_grow(reservation.get(), 1, nullptr), failed.status);
  return failed;
}

struct OwnException : std::exception {
  const char* what() const noexcept override { return "own words"; }
};

TEST(CExceptionTest, NoneCrosses) {
  const Failure own = thrown_by_a_call_back<OwnException>();
  EXPECT_EQ(own.status, MB_INTERNAL);
  EXPECT_THAT(own.message, HasSubstr("mb_reservation_try_grow"));
  EXPECT_THAT(own.message, HasSubstr("own words"));
  EXPECT_EQ(thrown_by_a_call_back<int>().status, MB_INTERNAL);
  const Failure memory = thrown_by_a_call_back<std::bad_alloc>();
  EXPECT_EQ(memory.status, MB_OUT_OF_MEMORY);
  EXPECT_EQ(memory.message, "out of memory");
}

// ---- structures of other versions ----

// A version of mb_consumer_options with an option more.
struct LargerOptions {
  mb_consumer_options known;
  std::int64_t added;
};

TEST(CStructSizeTest, ASmallerOneHasDefaultsForTheRest) {
  mb_consumer_options options;
  std::memset(&options, 0xff, sizeof(options));  // what is beyond must not be read
  options.struct_size = offsetof(mb_consumer_options, spill);
  options.name = "old";
  const auto consumer = make<mb_consumer>(mb_consumer_new, &options);
  EXPECT_STREQ(mb_consumer_name(consumer.get()), "old");
  EXPECT_EQ(mb_consumer_can_spill(consumer.get()), 0);
  EXPECT_EQ(mb_consumer_spill_priority(consumer.get()), 0);
}

TEST(CStructSizeTest, ALargerOneIsTakenIfItsTailIsZero) {
  LargerOptions larger = {MB_CONSUMER_OPTIONS_INIT, 0};
  larger.known.struct_size = sizeof(larger);
  larger.known.name = "new";
  const auto consumer = make<mb_consumer>(mb_consumer_new, &larger.known);
  EXPECT_STREQ(mb_consumer_name(consumer.get()), "new");

  larger.added = 1;
  mb_consumer* refused = nullptr;
  const Failure unknown =
      failure([&](mb_error** e) { return mb_consumer_new(&larger.known, &refused, e); });
  EXPECT_EQ(unknown.status, MB_UNSUPPORTED);
  EXPECT_THAT(unknown.message, HasSubstr("mb_consumer_options has an option at byte " +
                                         std::to_string(sizeof(mb_consumer_options))));
  EXPECT_THAT(unknown.message, HasSubstr(mb_version()));
  EXPECT_EQ(refused, nullptr);
}

TEST(CStructSizeTest, ASizeThatIsNoneIsAnError) {
  mb_consumer_options options = MB_CONSUMER_OPTIONS_INIT;
  options.name = "c";
  for (const std::size_t size : {std::size_t{0}, std::size_t{7}, std::size_t{13}, SIZE_MAX}) {
    options.struct_size = size;
    mb_consumer* consumer = nullptr;
    const Failure failed =
        failure([&](mb_error** e) { return mb_consumer_new(&options, &consumer, e); });
    EXPECT_EQ(failed.status, MB_INVALID) << size;
    EXPECT_THAT(failed.message, HasSubstr("mb_consumer_options.struct_size")) << size;
  }
}

TEST(CStructSizeTest, WhatIsFilledInIsCutToTheSmallerOne) {
  const auto pool = make<mb_pool>(mb_pool_greedy, std::int64_t{100});
  const auto reservation = reserve_in(pool.get(), "c");
  ASSERT_EQ(mb_reservation_grow(reservation.get(), 130, nullptr), MB_OK);
  const auto metrics = make<mb_pool_metrics>(mb_pool_get_metrics, pool.get());
  mb_pool_totals totals;
  std::memset(&totals, 0x5a, sizeof(totals));
  totals.struct_size = offsetof(mb_pool_totals, overdrawn_total);
  ASSERT_EQ(mb_pool_metrics_totals(metrics.get(), &totals, nullptr), MB_OK);
  EXPECT_EQ(totals.struct_size, offsetof(mb_pool_totals, overdrawn_total));
  EXPECT_EQ(totals.reserved_bytes, 130);
  EXPECT_EQ(totals.overdraft_bytes, 30);
  EXPECT_EQ(totals.overdrawn_total, 0x5a5a5a5a5a5a5a5a);
}

TEST(CStructSizeTest, WhatIsFilledInIsZeroedBeyondWhatIsKnown) {
  struct {
    mb_pool_totals known;
    std::int64_t added;
  } larger = {MB_POOL_TOTALS_INIT, 77};
  larger.known.struct_size = sizeof(larger);
  const auto pool = make<mb_pool>(mb_pool_unbounded);
  const auto metrics = make<mb_pool_metrics>(mb_pool_get_metrics, pool.get());
  ASSERT_EQ(mb_pool_metrics_totals(metrics.get(), &larger.known, nullptr), MB_OK);
  EXPECT_EQ(larger.known.struct_size, sizeof(larger));
  EXPECT_EQ(larger.added, 0);
}

TEST(CStructSizeTest, AnArraysElementsMayBeLarger) {
  struct Larger {
    mb_resource_options known;
    std::int64_t added;
  };
  Larger resources[2] = {{MB_RESOURCE_OPTIONS_INIT, 0}, {MB_RESOURCE_OPTIONS_INIT, 0}};
  for (Larger& one : resources) one.known.struct_size = sizeof(one);
  resources[1].known.name = "gpu";
  mb_client_options options = MB_CLIENT_OPTIONS_INIT;
  options.tenant = "t";
  options.socket = "/nowhere/broker.sock";
  options.resources = &resources[0].known;
  options.resource_count = 2;
  const auto client = make<mb_client>(mb_client_open, &options);
  EXPECT_NE(make<mb_pool>(mb_client_pool, client.get(), "gpu"), nullptr);
  resources[1].known.struct_size = sizeof(mb_resource_options);
  mb_client* refused = nullptr;
  const Failure mixed =
      failure([&](mb_error** e) { return mb_client_open(&options, &refused, e); });
  EXPECT_EQ(mixed.status, MB_INVALID);
  EXPECT_THAT(mixed.message, HasSubstr("mb_client_options.resources[1].struct_size"));
}

}  // namespace
}  // namespace membroker::testing
