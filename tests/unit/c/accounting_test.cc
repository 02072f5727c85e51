#include <condition_variable>
#include <mutex>
#include <stdexcept>

#include "tests/kit/in_child.h"
#include "tests/unit/c/c_fixture.h"

namespace membroker::testing {
namespace {

using ::testing::HasSubstr;

std::string text(mb_status (*give)(const mb_pool*, char**, mb_error**), const mb_pool* pool) {
  return make<char>(give, pool).get();
}

// ---- clients ----

TEST(CClientTest, EmbeddedLendsWhatItHas) {
  const auto client = make<mb_client>(mb_client_embedded, 8 * kMiB);
  ASSERT_EQ(mb_client_wait_connected(client.get(), 0, nullptr), MB_OK);
  const auto pool = make<mb_pool>(mb_client_pool, client.get(), nullptr);
  auto reservation = reserve_in(pool.get(), "sort");
  ASSERT_EQ(mb_reservation_try_grow(reservation.get(), 3 * kMiB, nullptr), MB_OK);
  EXPECT_EQ(mb_reservation_try_grow(reservation.get(), 6 * kMiB, nullptr), MB_RESOURCES_EXHAUSTED);

  const auto stats = make<mb_client_stats>(mb_client_get_stats, client.get());
  mb_session_stats session = MB_SESSION_STATS_INIT;
  ASSERT_EQ(mb_client_stats_session(stats.get(), &session, nullptr), MB_OK);
  EXPECT_EQ(session.state, MB_CONNECTION_EMBEDDED);
  EXPECT_EQ(session.resource_count, 1);
  EXPECT_STREQ(session.last_error, "");
  mb_resource_stats ram = MB_RESOURCE_STATS_INIT;
  ASSERT_EQ(mb_client_stats_resource(stats.get(), 0, &ram, nullptr), MB_OK);
  EXPECT_STREQ(ram.resource, "ram");
  EXPECT_GE(ram.reserved_bytes, 3 * kMiB);
  EXPECT_GE(ram.held_bytes, ram.reserved_bytes);
  EXPECT_EQ(mb_client_stats_resource(stats.get(), 1, &ram, nullptr), MB_NOT_FOUND);
}

TEST(CClientTest, CloseSaysWhoHoldsWhat) {
  const auto client = make<mb_client>(mb_client_embedded, 8 * kMiB);
  const auto pool = make<mb_pool>(mb_client_pool, client.get(), "ram");
  const auto reservation = reserve_in(pool.get(), "join");
  ASSERT_EQ(mb_reservation_try_grow(reservation.get(), kMiB, nullptr), MB_OK);
  const auto report = make<mb_close_report>(mb_client_close, client.get());
  EXPECT_EQ(mb_close_report_ended(report.get()), 0);
  ASSERT_EQ(mb_close_report_holder_count(report.get()), 1);
  mb_close_holder holder = MB_CLOSE_HOLDER_INIT;
  ASSERT_EQ(mb_close_report_holder(report.get(), 0, &holder, nullptr), MB_OK);
  EXPECT_THAT(holder.consumer, HasSubstr("join"));
  EXPECT_STREQ(holder.resource, "ram");
  EXPECT_EQ(holder.held_bytes, kMiB);
  EXPECT_EQ(mb_close_report_holder(report.get(), 1, &holder, nullptr), MB_NOT_FOUND);
  EXPECT_EQ(mb_reservation_try_grow(reservation.get(), kMiB, nullptr), MB_CLOSED);
  EXPECT_EQ(mb_reservation_free(reservation.get()), kMiB);
  EXPECT_EQ(mb_client_close(client.get(), nullptr, nullptr), MB_OK);
}

TEST(CClientTest, ReservationsOutliveIt) {
  auto client = make<mb_client>(mb_client_embedded, 8 * kMiB);
  auto pool = make<mb_pool>(mb_client_pool, client.get(), "ram");
  const auto reservation = reserve_in(pool.get(), "c");
  ASSERT_EQ(mb_reservation_try_grow(reservation.get(), kMiB, nullptr), MB_OK);
  client.reset();
  pool.reset();
  EXPECT_EQ(mb_reservation_size(reservation.get()), kMiB);
  EXPECT_EQ(mb_reservation_shrink(reservation.get(), kMiB, nullptr), MB_OK);
}

TEST(CClientTest, SaysWhichOptionIsWrong) {
  const auto refusal = [](const mb_client_options& options) {
    mb_client* client = nullptr;
    const Failure failed =
        failure([&](mb_error** e) { return mb_client_open(&options, &client, e); });
    EXPECT_EQ(failed.status, MB_INVALID);
    return failed.message;
  };
  mb_client_options options = MB_CLIENT_OPTIONS_INIT;
  options.tenant = "t";
  options.label_count = 1;
  EXPECT_THAT(refusal(options), HasSubstr("labels is NULL"));
  const mb_label twice[] = {{"k", "1"}, {"k", "2"}};
  options.labels = twice;
  options.label_count = 2;
  EXPECT_THAT(refusal(options), HasSubstr("labels names \"k\" twice"));
  const mb_label half = {"k", nullptr};
  options.labels = &half;
  options.label_count = 1;
  EXPECT_THAT(refusal(options), HasSubstr("labels[0]"));
  options.label_count = 0;
  options.resource_count = 1;
  EXPECT_THAT(refusal(options), HasSubstr("resources is NULL"));
  mb_resource_options negative = MB_RESOURCE_OPTIONS_INIT;
  negative.floor_bytes = -1;
  options.resources = &negative;
  EXPECT_THAT(refusal(options), HasSubstr("floor of \"ram\" is negative"));
  options.resource_count = 0;
  options.resources = nullptr;
  options.when_away = static_cast<mb_when_away>(4);
  EXPECT_THAT(refusal(options), HasSubstr("when_away is 4"));
  options.when_away = MB_WHEN_AWAY_STANDALONE;
  EXPECT_THAT(refusal(options), HasSubstr("standalone takes at least 1"));
  options.standalone_bytes = kMiB;
  options.child_budget_bytes = -1;
  EXPECT_THAT(refusal(options), HasSubstr("child_budget_bytes"));
}

TEST(CClientTest, ContextOfTheLogEndsWithTheClientButNotIfOpeningFails) {
  int ended = 0;
  mb_client_options options = MB_CLIENT_OPTIONS_INIT;
  options.tenant = "t";
  options.socket = "/nowhere/broker.sock";
  options.log = [](void*, mb_log_level, const char*) {};
  options.log_context = &ended;
  options.log_context_drop = [](void* context) { ++*static_cast<int*>(context); };
  auto client = make<mb_client>(mb_client_open, &options);
  EXPECT_EQ(ended, 0);
  client.reset();
  EXPECT_EQ(ended, 1);
  options.resource_count = 3;
  mb_client* failed = nullptr;
  EXPECT_EQ(mb_client_open(&options, &failed, nullptr), MB_INVALID);
  EXPECT_EQ(ended, 1);
}

TEST(CClientTest, WaitsNoLongerThanTold) {
  mb_client_options options = MB_CLIENT_OPTIONS_INIT;
  options.tenant = "t";
  options.socket = "/nowhere/broker.sock";
  const auto client = make<mb_client>(mb_client_open, &options);
  EXPECT_EQ(mb_client_wait_connected(client.get(), 20, nullptr), MB_TIMEOUT);
  EXPECT_EQ(mb_client_wait_connected(client.get(), -2, nullptr), MB_INVALID);
  mb_pool* none = nullptr;
  const Failure failed =
      failure([&](mb_error** e) { return mb_client_pool(client.get(), "gpu", &none, e); });
  EXPECT_EQ(failed.status, MB_NOT_FOUND);
  EXPECT_THAT(failed.message, HasSubstr("\"gpu\""));
}

// ---- pools ----

TEST(CPoolTest, KindsHaveTheirLimitsAndNames) {
  mb_limit_kind kind = MB_LIMIT_UNKNOWN;
  std::int64_t bytes = -5;
  const auto unbounded = make<mb_pool>(mb_pool_unbounded);
  ASSERT_EQ(mb_pool_limit(unbounded.get(), &kind, &bytes, nullptr), MB_OK);
  EXPECT_EQ(kind, MB_LIMIT_INFINITE);
  EXPECT_EQ(bytes, 0);
  const auto greedy = make<mb_pool>(mb_pool_greedy, std::int64_t{100});
  ASSERT_EQ(mb_pool_limit(greedy.get(), &kind, &bytes, nullptr), MB_OK);
  EXPECT_EQ(kind, MB_LIMIT_FINITE);
  EXPECT_EQ(bytes, 100);
  EXPECT_EQ(text(mb_pool_name, greedy.get()), "greedy");
  EXPECT_THAT(text(mb_pool_describe, greedy.get()), HasSubstr("greedy("));
  EXPECT_THAT(text(mb_pool_name, make<mb_pool>(mb_pool_fair_spill, std::int64_t{100}).get()),
              HasSubstr("fair"));
}

TEST(CPoolTest, ReportsItsConsumers) {
  const auto pool = make<mb_pool>(mb_pool_greedy, std::int64_t{100});
  const auto small = reserve_in(pool.get(), "small");
  const auto large = reserve_in(pool.get(), "large");
  ASSERT_EQ(mb_reservation_try_grow(small.get(), 10, nullptr), MB_OK);
  ASSERT_EQ(mb_reservation_try_grow(large.get(), 60, nullptr), MB_OK);
  ASSERT_EQ(mb_reservation_shrink(large.get(), 20, nullptr), MB_OK);
  EXPECT_EQ(mb_pool_reserved(pool.get()), 50);
  const auto metrics = make<mb_pool_metrics>(mb_pool_get_metrics, pool.get());
  mb_pool_totals totals = MB_POOL_TOTALS_INIT;
  ASSERT_EQ(mb_pool_metrics_totals(metrics.get(), &totals, nullptr), MB_OK);
  EXPECT_EQ(totals.reserved_bytes, 50);
  ASSERT_EQ(totals.consumer_count, 2);
  mb_consumer_metrics first = MB_CONSUMER_METRICS_INIT;
  ASSERT_EQ(mb_pool_metrics_consumer(metrics.get(), 0, &first, nullptr), MB_OK);
  EXPECT_STREQ(first.name, "large");
  EXPECT_EQ(first.reserved_bytes, 40);
  EXPECT_EQ(first.peak_bytes, 60);
  EXPECT_EQ(mb_pool_metrics_consumer(metrics.get(), 2, &first, nullptr), MB_NOT_FOUND);
  EXPECT_THAT(make<char>(mb_pool_report_top, pool.get(), std::size_t{1}).get(), HasSubstr("large"));
}

TEST(CPoolTest, TasksShareEqually) {
  const auto pool = make<mb_pool>(mb_pool_task_fair, std::int64_t{100});
  const auto one = make<mb_pool>(mb_pool_task, pool.get(), std::uint64_t{1});
  const auto two = make<mb_pool>(mb_pool_task, pool.get(), std::uint64_t{2});
  const auto first = reserve_in(one.get(), "a");
  const auto second = reserve_in(two.get(), "b");
  ASSERT_EQ(mb_reservation_try_grow(first.get(), 40, nullptr), MB_OK);
  ASSERT_EQ(mb_reservation_try_grow(second.get(), 40, nullptr), MB_OK);
  EXPECT_EQ(mb_reservation_try_grow(first.get(), 20, nullptr), MB_RESOURCES_EXHAUSTED);
  const auto greedy = make<mb_pool>(mb_pool_greedy, std::int64_t{1});
  mb_pool* none = nullptr;
  const Failure failed =
      failure([&](mb_error** e) { return mb_pool_task(greedy.get(), 1, &none, e); });
  EXPECT_EQ(failed.status, MB_UNSUPPORTED);
  EXPECT_THAT(failed.message, HasSubstr("was not made by mb_pool_task_fair"));
}

TEST(CPoolTest, ANestedOneKeepsAndLends) {
  const auto parent = make<mb_pool>(mb_pool_greedy, std::int64_t{100});
  const auto child = make<mb_pool>(mb_pool_nested, parent.get(), "merge", std::int64_t{60});
  const auto reservation = reserve_in(child.get(), "c");
  ASSERT_EQ(mb_reservation_try_grow(reservation.get(), 80, nullptr), MB_OK);
  EXPECT_EQ(mb_reservation_free(reservation.get()), 80);
  EXPECT_EQ(mb_pool_reserved(parent.get()), 60);
  mb_loan* loan = nullptr;
  ASSERT_EQ(mb_pool_borrow(child.get(), 50, &loan, nullptr), MB_OK);
  EXPECT_EQ(mb_loan_bytes(loan), 50);
  mb_loan_drop(loan);
  ASSERT_EQ(mb_pool_retain(child.get(), 10, nullptr), MB_OK);
  ASSERT_EQ(mb_pool_release_unused(child.get(), nullptr), MB_OK);
  EXPECT_EQ(mb_pool_reserved(parent.get()), 0);
  EXPECT_EQ(mb_pool_retain(parent.get(), 10, nullptr), MB_UNSUPPORTED);
  EXPECT_EQ(mb_pool_borrow(child.get(), -1, &loan, nullptr), MB_INVALID);
}

// A pool of a program's own: at most 100 bytes.
struct OwnPool {
  std::int64_t used = 0;
  std::int64_t last_size = -1;
  std::string last_name;
  bool ended = false;

  static OwnPool& of(void* context) { return *static_cast<OwnPool*>(context); }
  static mb_status try_grow(void* context, const mb_pool_change* change) {
    OwnPool& pool = of(context);
    pool.last_size = change->size_bytes;
    pool.last_name = change->consumer_name;
    if (pool.used + change->bytes > 100) return MB_RESOURCES_EXHAUSTED;
    pool.used += change->bytes;
    return MB_OK;
  }
  static void grow(void* context, const mb_pool_change* change) {
    of(context).used += change->bytes;
  }
  static void shrink(void* context, const mb_pool_change* change) {
    of(context).used -= change->bytes;
  }
  static std::int64_t reserved(void* context) { return of(context).used; }
  static void end(void* context) { of(context).ended = true; }
};

TEST(CPoolTest, AWatchSeesPeaksAndDrift) {
  struct Allocated {
    std::int64_t bytes = 5000;
    bool ended = false;
  } allocated;
  const auto say = [](void* context) { return static_cast<Allocated*>(context)->bytes; };
  const auto end = [](void* context) { static_cast<Allocated*>(context)->ended = true; };
  {
    auto watch = make<mb_watch>(mb_watch_open, +say, &allocated, +end);
    auto greedy = make<mb_pool>(mb_pool_greedy, 2000);
    auto pool = make<mb_pool>(mb_pool_watched, greedy.get(), std::size_t{5}, watch.get());
    auto reservation = reserve_in(pool.get(), "c");
    ASSERT_EQ(mb_reservation_try_grow(reservation.get(), 1000, nullptr), MB_OK);
    allocated.bytes = 100;
    ASSERT_EQ(mb_reservation_shrink(reservation.get(), 600, nullptr), MB_OK);
    mb_watch_figures figures = MB_WATCH_FIGURES_INIT;
    ASSERT_EQ(mb_watch_report(watch.get(), &figures, nullptr), MB_OK);
    EXPECT_EQ(figures.reserved_bytes, 400);
    EXPECT_EQ(figures.peak_bytes, 1000);
    EXPECT_EQ(figures.drift_bytes, -300);
    EXPECT_EQ(figures.peak_drift_bytes, 4000);
    EXPECT_EQ(figures.peak_drift_reserved_bytes, 1000);
    const auto text = make<char>(mb_watch_describe, watch.get());
    EXPECT_THAT(text.get(), HasSubstr("3.9 KB at its peak, by c of greedy"));
    ASSERT_EQ(mb_watch_reset_peaks(watch.get(), nullptr), MB_OK);
    ASSERT_EQ(mb_watch_report(watch.get(), &figures, nullptr), MB_OK);
    EXPECT_EQ(figures.peak_bytes, 400);
    EXPECT_EQ(figures.max_bytes, 1000);
  }
  EXPECT_TRUE(allocated.ended);
}

TEST(CPoolTest, AProgramMayMakeItsOwn) {
  OwnPool own;
  mb_pool_functions functions = MB_POOL_FUNCTIONS_INIT;
  functions.name = "own";
  functions.context = &own;
  functions.context_drop = OwnPool::end;
  functions.try_grow = OwnPool::try_grow;
  functions.grow = OwnPool::grow;
  functions.shrink = OwnPool::shrink;
  mb_pool* none = nullptr;
  EXPECT_EQ(mb_pool_derived(&functions, &none, nullptr), MB_INVALID);  // no reserved
  EXPECT_FALSE(own.ended);
  functions.reserved = OwnPool::reserved;
  auto pool = make<mb_pool>(mb_pool_derived, &functions);
  auto reservation = reserve_in(pool.get(), "c");
  ASSERT_EQ(mb_reservation_try_grow(reservation.get(), 60, nullptr), MB_OK);
  const Failure refused =
      failure([&](mb_error** e) { return mb_reservation_try_grow(reservation.get(), 50, e); });
  EXPECT_EQ(refused.status, MB_RESOURCES_EXHAUSTED);
  EXPECT_THAT(refused.message, HasSubstr("pool \"own\" refused 50 bytes to consumer \"c\""));
  EXPECT_EQ(own.last_size, 60);
  EXPECT_EQ(own.last_name, "c");
  ASSERT_EQ(mb_reservation_grow(reservation.get(), 50, nullptr), MB_OK);
  EXPECT_EQ(mb_pool_reserved(pool.get()), 110);
  pool.reset();
  reservation.reset();
  EXPECT_EQ(own.used, 0);
  EXPECT_TRUE(own.ended);
}

// ---- reservations ----

TEST(CReservationTest, HasEveryMethod) {
  const auto pool = make<mb_pool>(mb_pool_greedy, std::int64_t{100});
  const auto whole = reserve_in(pool.get(), "c");
  ASSERT_EQ(mb_reservation_resize(whole.get(), 40, nullptr), MB_OK);
  ASSERT_EQ(mb_reservation_try_resize(whole.get(), 50, nullptr), MB_OK);
  EXPECT_EQ(mb_reservation_try_resize(whole.get(), 101, nullptr), MB_RESOURCES_EXHAUSTED);
  std::int64_t left = -1;
  ASSERT_EQ(mb_reservation_try_shrink(whole.get(), 20, &left, nullptr), MB_OK);
  EXPECT_EQ(left, 30);
  EXPECT_EQ(mb_reservation_try_shrink(whole.get(), 31, &left, nullptr), MB_INVALID);
  EXPECT_EQ(mb_reservation_shrink(whole.get(), 31, nullptr), MB_INVALID);
  EXPECT_EQ(mb_reservation_try_grow(whole.get(), -1, nullptr), MB_INVALID);
  const auto part = make<mb_reservation>(mb_reservation_split, whole.get(), std::int64_t{10});
  mb_reservation* none = nullptr;
  EXPECT_EQ(mb_reservation_split(whole.get(), 21, &none, nullptr), MB_INVALID);
  EXPECT_EQ(mb_reservation_size(part.get()), 10);
  const auto empty = make<mb_reservation>(mb_reservation_new_empty, whole.get());
  EXPECT_EQ(mb_reservation_size(empty.get()), 0);
  const auto taken = make<mb_reservation>(mb_reservation_take, whole.get());
  EXPECT_EQ(mb_reservation_size(taken.get()), 20);
  EXPECT_EQ(mb_reservation_size(whole.get()), 0);
  const auto consumer = make<mb_consumer>(mb_reservation_consumer, taken.get());
  EXPECT_EQ(mb_consumer_used(consumer.get()), 30);
  EXPECT_EQ(mb_consumer_peak(consumer.get()), 50);
  mb_consumer_reset_peak(consumer.get());
  EXPECT_EQ(mb_consumer_peak(consumer.get()), 30);
  EXPECT_EQ(mb_pool_reserved(make<mb_pool>(mb_reservation_pool, taken.get()).get()), 30);
  EXPECT_EQ(mb_reservation_free(taken.get()), 20);
  EXPECT_EQ(mb_reservation_free(taken.get()), 0);
}

TEST(CReservationTest, AcquiresInPartAndUntilItsTimeout) {
  const auto client = make<mb_client>(mb_client_embedded, 4 * kMiB);
  const auto pool = make<mb_pool>(mb_client_pool, client.get(), "ram");
  const auto reservation = reserve_in(pool.get(), "c");
  std::int64_t granted = -1;
  mb_acquire_options options = MB_ACQUIRE_OPTIONS_INIT;
  ASSERT_EQ(
      mb_reservation_acquire(reservation.get(), kMiB, 64 * kMiB, 20, &options, &granted, nullptr),
      MB_OK);
  EXPECT_EQ(granted, 4 * kMiB);
  const mb_status none =
      mb_reservation_acquire(reservation.get(), 1, 1, 20, nullptr, &granted, nullptr);
  EXPECT_TRUE(none == MB_TIMEOUT || none == MB_RESOURCES_EXHAUSTED) << none;
  EXPECT_EQ(granted, 4 * kMiB);
  EXPECT_EQ(mb_reservation_acquire(reservation.get(), 2, 1, 20, nullptr, &granted, nullptr),
            MB_INVALID);
  EXPECT_EQ(mb_reservation_acquire(reservation.get(), 1, 1, -7, nullptr, &granted, nullptr),
            MB_INVALID);
}

struct Answer {
  std::mutex mutex;
  std::condition_variable changed;
  int calls = 0;
  std::int64_t granted = -1;
  mb_status status = MB_OK;

  static void take(void* context, std::int64_t granted, const mb_error* error) {
    auto& answer = *static_cast<Answer*>(context);
    const std::lock_guard lock(answer.mutex);
    ++answer.calls;
    answer.granted = granted;
    answer.status = mb_error_status(error);
    answer.changed.notify_all();
  }
  bool comes() {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(10), [&] { return calls > 0; });
  }
};

TEST(CReservationTest, AcquiresWithoutBlockingAndCancels) {
  const auto client = make<mb_client>(mb_client_embedded, 4 * kMiB);
  const auto pool = make<mb_pool>(mb_client_pool, client.get(), "ram");
  const auto reservation = reserve_in(pool.get(), "c");
  Answer first;
  ASSERT_EQ(mb_reservation_acquire_async(reservation.get(), 4 * kMiB, 4 * kMiB, MB_FOREVER, nullptr,
                                         Answer::take, &first, nullptr, nullptr),
            MB_OK);
  ASSERT_TRUE(first.comes());
  EXPECT_EQ(first.status, MB_OK);
  EXPECT_EQ(first.granted, 4 * kMiB);
  EXPECT_EQ(mb_reservation_size(reservation.get()), 4 * kMiB);

  const auto other = reserve_in(pool.get(), "d");
  Answer second;
  mb_ticket* ticket = nullptr;
  ASSERT_EQ(mb_reservation_acquire_async(other.get(), 1, 1, MB_FOREVER, nullptr, Answer::take,
                                         &second, &ticket, nullptr),
            MB_OK);
  mb_ticket_cancel(ticket);
  mb_ticket_drop(ticket);
  ASSERT_TRUE(second.comes());
  EXPECT_NE(second.status, MB_OK);
  EXPECT_EQ(second.granted, 0);
  EXPECT_EQ(mb_reservation_size(other.get()), 0);
}

// ---- consumers ----

struct Spilling {
  mb_reservation* reservation = nullptr;
  int calls = 0;
  int ended = 0;
  mb_spill_request last = {};
  mb_status grow_inside = MB_OK;

  static std::int64_t spill(void* context, const mb_spill_request* request) {
    auto& mine = *static_cast<Spilling*>(context);
    ++mine.calls;
    mine.last = *request;
    mine.grow_inside = mb_reservation_try_grow(mine.reservation, 1, nullptr);
    return mb_reservation_free(mine.reservation);
  }
  static void end(void* context) { ++static_cast<Spilling*>(context)->ended; }
};

TEST(CConsumerTest, SpillsWhenToldAndItsContextEndsOnce) {
  Spilling spilling;
  const auto pool = make<mb_pool>(mb_pool_greedy, std::int64_t{100});
  mb_consumer_options options = MB_CONSUMER_OPTIONS_INIT;
  options.name = "cache";
  options.spill = Spilling::spill;
  options.spill_context = &spilling;
  options.spill_context_drop = Spilling::end;
  options.spill_priority = 7;
  auto consumer = make<mb_consumer>(mb_consumer_new, &options);
  EXPECT_EQ(mb_consumer_can_spill(consumer.get()), 1);
  EXPECT_EQ(mb_consumer_spill_priority(consumer.get()), 7);
  auto reservation = make<mb_reservation>(mb_consumer_register, consumer.get(), pool.get());
  spilling.reservation = reservation.get();
  ASSERT_EQ(mb_reservation_try_grow(reservation.get(), 80, nullptr), MB_OK);
  std::int64_t freed = 0;
  ASSERT_EQ(mb_consumer_spill(consumer.get(), 50, &freed, nullptr), MB_OK);
  EXPECT_EQ(freed, 80);
  EXPECT_EQ(spilling.last.bytes, 50);
  EXPECT_EQ(spilling.last.timeout_ms, MB_FOREVER);
  EXPECT_EQ(spilling.last.trigger, MB_SPILL_EXPLICIT);
  EXPECT_EQ(spilling.grow_inside, MB_GROW_IN_SPILL);
  auto clone = make<mb_consumer>(mb_consumer_clone, consumer.get());
  EXPECT_NE(mb_consumer_id(clone.get()), mb_consumer_id(consumer.get()));
  EXPECT_EQ(mb_consumer_can_spill(clone.get()), 1);
  consumer.reset();
  clone.reset();
  EXPECT_EQ(spilling.ended, 0);
  reservation.reset();
  EXPECT_EQ(spilling.ended, 1);
}

TEST(CConsumerTest, AThrowingSpillFreesNothingAndIsKept) {
  const auto pool = make<mb_pool>(mb_pool_greedy, std::int64_t{100});
  const auto reservation = reserve_in(
      pool.get(), "c",
      [](void*, const mb_spill_request*) -> std::int64_t { throw std::runtime_error("no disk"); });
  const auto consumer = make<mb_consumer>(mb_reservation_consumer, reservation.get());
  std::int64_t freed = -1;
  const Failure failed =
      failure([&](mb_error** e) { return mb_consumer_spill(consumer.get(), 1, &freed, e); });
  EXPECT_EQ(failed.status, MB_RESOURCES_EXHAUSTED);
  EXPECT_THAT(failed.message, HasSubstr("no disk"));
  EXPECT_EQ(freed, -1);
}

TEST(CConsumerTest, IsSpilledForOthersButNotInANoSpillSection) {
  Spilling spilling;
  const auto client = make<mb_client>(mb_client_embedded, 4 * kMiB);
  const auto pool = make<mb_pool>(mb_client_pool, client.get(), "ram");
  const auto cache = reserve_in(pool.get(), "cache", Spilling::spill, &spilling);
  spilling.reservation = cache.get();
  const auto query = reserve_in(pool.get(), "query");
  ASSERT_EQ(mb_reservation_try_grow(cache.get(), 4 * kMiB, nullptr), MB_OK);
  mb_no_spill* section = nullptr;
  ASSERT_EQ(mb_no_spill_begin(cache.get(), &section, nullptr), MB_OK);
  std::int64_t granted = 0;
  EXPECT_NE(mb_reservation_acquire(query.get(), kMiB, kMiB, 30, nullptr, &granted, nullptr), MB_OK);
  EXPECT_EQ(spilling.calls, 0);
  mb_no_spill_end(section);
  ASSERT_EQ(mb_reservation_acquire(query.get(), kMiB, kMiB, 10'000, nullptr, &granted, nullptr),
            MB_OK);
  EXPECT_EQ(granted, kMiB);
  EXPECT_EQ(spilling.calls, 1);
  EXPECT_EQ(spilling.last.trigger, MB_SPILL_OTHER);
}

TEST(CConsumerTest, HasPages) {
  const auto pool = make<mb_pool>(mb_pool_greedy, 4 * kMiB);
  mb_consumer_options options = MB_CONSUMER_OPTIONS_INIT;
  options.name = "c";
  options.page_bytes = 2 * kMiB;
  const auto consumer = make<mb_consumer>(mb_consumer_new, &options);
  const auto reservation = make<mb_reservation>(mb_consumer_register, consumer.get(), pool.get());
  mb_page page = {nullptr, 0};
  ASSERT_EQ(mb_consumer_allocate_page(consumer.get(), 100, &page, nullptr), MB_OK);
  EXPECT_GE(page.bytes, 2 * kMiB);
  static_cast<char*>(page.data)[page.bytes - 1] = 1;
  EXPECT_EQ(mb_consumer_used(consumer.get()), page.bytes);
  mb_page array = {nullptr, 0};
  ASSERT_EQ(mb_consumer_allocate_array(consumer.get(), 10, &array, nullptr), MB_OK);
  EXPECT_GE(array.bytes, 80);
  EXPECT_EQ(mb_consumer_free_page(consumer.get(), &page, nullptr), MB_OK);
  EXPECT_EQ(mb_consumer_free_page(consumer.get(), &page, nullptr), MB_INVALID);
  EXPECT_EQ(mb_consumer_free_page(consumer.get(), &array, nullptr), MB_OK);
  const Failure failed = failure(
      [&](mb_error** e) { return mb_consumer_allocate_page(consumer.get(), 64 * kMiB, &page, e); });
  EXPECT_EQ(failed.status, MB_RESOURCES_EXHAUSTED);
  EXPECT_THAT(failed.message, HasSubstr("Unable to acquire"));
}

TEST(CConsumerTest, SaysWhichOptionIsWrong) {
  mb_consumer_options options = MB_CONSUMER_OPTIONS_INIT;
  mb_consumer* consumer = nullptr;
  EXPECT_THAT(
      failure([&](mb_error** e) { return mb_consumer_new(&options, &consumer, e); }).message,
      HasSubstr("mb_consumer_options.name is NULL"));
  options.name = "c";
  options.page_bytes = 0;
  EXPECT_THAT(
      failure([&](mb_error** e) { return mb_consumer_new(&options, &consumer, e); }).message,
      HasSubstr("page_bytes must be more than 0"));
}

TEST(CConsumerTest, DropsTheContextOfNoCallBackAtOnce) {
  bool dropped = false;
  mb_consumer_options options = MB_CONSUMER_OPTIONS_INIT;
  options.spill_context = &dropped;
  options.spill_context_drop = [](void* context) { *static_cast<bool*>(context) = true; };
  mb_consumer* none = nullptr;
  EXPECT_EQ(mb_consumer_new(&options, &none, nullptr), MB_INVALID);  // no name
  EXPECT_FALSE(dropped);
  options.name = "c";
  const auto consumer = make<mb_consumer>(mb_consumer_new, &options);
  EXPECT_TRUE(dropped);
}

TEST(CConsumerTest, AReservationMadeInAForkedChildIsOfNoPool) {
  mb_client_options options = MB_CLIENT_OPTIONS_INIT;
  options.tenant = "t";
  options.socket = "/nowhere/broker.sock";
  const auto client = make<mb_client>(mb_client_open, &options);
  EXPECT_EQ(mb_client_wait_connected(client.get(), 0, nullptr), MB_TIMEOUT);  // it is used now
  const auto pool = make<mb_pool>(mb_client_pool, client.get(), "ram");
  const auto reservation = reserve_in(pool.get(), "c");
  const int child = in_child([&] {
    mb_reservation* part = nullptr;
    mb_pool* its_pool = nullptr;
    const bool made = mb_reservation_new_empty(reservation.get(), &part, nullptr) == MB_OK;
    const mb_status status = mb_reservation_pool(part, &its_pool, nullptr);
    return made && status == MB_FORKED ? 0 : 1;
  });
  EXPECT_EQ(child, 0);
}

}  // namespace
}  // namespace membroker::testing
