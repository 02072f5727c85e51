#include <algorithm>
#include <cstddef>
#include <map>
#include <set>
#include <vector>

#include "tests/unit/c/c_fixture.h"

// What was said of pools and clients: holders, limits, and two resources; and a program's own pools
// with all that they may do.

namespace membroker::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// "within/consumer bytes" of each holder.
std::vector<std::string> lines(const mb_pool* pool) {
  const auto holders = make<mb_pool_holders>(mb_pool_get_holders, pool);
  std::vector<std::string> lines;
  for (std::int64_t i = 0; i < mb_pool_holders_count(holders.get()); ++i) {
    mb_pool_holder holder = MB_POOL_HOLDER_INIT;
    EXPECT_EQ(mb_pool_holders_one(holders.get(), i, &holder, nullptr), MB_OK);
    const std::string within = holder.within;
    lines.push_back((within.empty() ? "" : within + "/") + holder.consumer + " " +
                    std::to_string(holder.held_bytes));
  }
  mb_pool_holder beyond = MB_POOL_HOLDER_INIT;
  EXPECT_EQ(
      mb_pool_holders_one(holders.get(), mb_pool_holders_count(holders.get()), &beyond, nullptr),
      MB_NOT_FOUND);
  return lines;
}

TEST(CHoldersTest, AreNamedDownToNestedPools) {
  const auto pool = make<mb_pool>(mb_pool_greedy, std::int64_t{1000});
  EXPECT_THAT(lines(pool.get()), IsEmpty());
  const auto nested = make<mb_pool>(mb_pool_nested, pool.get(), "join", std::int64_t{0});
  const auto build = reserve_in(nested.get(), "build");
  const auto sort = reserve_in(pool.get(), "sort");
  ASSERT_EQ(mb_reservation_try_grow(build.get(), 60, nullptr), MB_OK);
  ASSERT_EQ(mb_reservation_try_grow(sort.get(), 40, nullptr), MB_OK);
  EXPECT_THAT(lines(pool.get()), ElementsAre("join/build 60", "sort 40"));
  EXPECT_THAT(lines(nested.get()), ElementsAre("build 60"));
  mb_pool_holder first = MB_POOL_HOLDER_INIT;
  const auto holders = make<mb_pool_holders>(mb_pool_get_holders, pool.get());
  ASSERT_EQ(mb_pool_holders_one(holders.get(), 0, &first, nullptr), MB_OK);
  const auto consumer = make<mb_consumer>(mb_reservation_consumer, build.get());
  EXPECT_EQ(first.consumer_id, mb_consumer_id(consumer.get()));
  EXPECT_EQ(first.can_spill, 0);
}

TEST(CHoldersTest, AreInTheReportOfAClosedClient) {
  const auto client = make<mb_client>(mb_client_embedded, 64 * kMiB);
  const auto pool = make<mb_pool>(mb_client_pool, client.get(), nullptr);
  const auto nested = make<mb_pool>(mb_pool_nested, pool.get(), "join", std::int64_t{0});
  const auto build = reserve_in(nested.get(), "build");
  ASSERT_EQ(mb_reservation_try_grow(build.get(), 60, nullptr), MB_OK);
  const auto report = make<mb_close_report>(mb_client_close, client.get());
  ASSERT_EQ(mb_close_report_holder_count(report.get()), 1);
  mb_close_holder holder = MB_CLOSE_HOLDER_INIT;
  ASSERT_EQ(mb_close_report_holder(report.get(), 0, &holder, nullptr), MB_OK);
  EXPECT_STREQ(holder.resource, "ram");
  EXPECT_STREQ(holder.within, "join");
  EXPECT_STREQ(holder.consumer, "build");
  EXPECT_EQ(holder.held_bytes, 60);
}

TEST(CClientTest, HasAPoolForEachResource) {
  mb_resource_options resources[2] = {MB_RESOURCE_OPTIONS_INIT, MB_RESOURCE_OPTIONS_INIT};
  resources[1].name = "offheap";
  mb_client_options options = MB_CLIENT_OPTIONS_INIT;
  options.tenant = "a";
  options.resources = resources;
  options.resource_count = 2;
  const auto client = make<mb_client>(mb_client_open, &options);
  const auto ram = make<mb_pool>(mb_client_pool, client.get(), "ram");
  const auto offheap = make<mb_pool>(mb_client_pool, client.get(), "offheap");
  mb_pool* none = nullptr;
  EXPECT_EQ(mb_client_pool(client.get(), "tape", &none, nullptr), MB_NOT_FOUND);
  const auto reservation = reserve_in(offheap.get(), "c");
  ASSERT_EQ(mb_reservation_grow(reservation.get(), 100, nullptr), MB_OK);
  EXPECT_EQ(mb_pool_reserved(offheap.get()), 100);
  EXPECT_EQ(mb_pool_reserved(ram.get()), 0);
  const auto stats = make<mb_client_stats>(mb_client_get_stats, client.get());
  mb_session_stats session = MB_SESSION_STATS_INIT;
  ASSERT_EQ(mb_client_stats_session(stats.get(), &session, nullptr), MB_OK);
  EXPECT_EQ(session.resource_count, 2);
  mb_resource_stats second = MB_RESOURCE_STATS_INIT;
  ASSERT_EQ(mb_client_stats_resource(stats.get(), 1, &second, nullptr), MB_OK);
  EXPECT_STREQ(second.resource, "offheap");
  EXPECT_EQ(second.reserved_bytes, 100);
  mb_reservation_free(reservation.get());
}

TEST(CClientTest, StatesHaveNames) {
  std::set<std::string> names;
  for (int state = MB_CONNECTION_IDLE; state <= MB_CONNECTION_EMBEDDED; ++state) {
    names.insert(mb_connection_state_name(static_cast<mb_connection_state>(state)));
  }
  EXPECT_EQ(names.size(), 8U);
  EXPECT_EQ(names.count("attached"), 1U);
  EXPECT_STREQ(mb_connection_state_name(static_cast<mb_connection_state>(99)), "unknown");
}

TEST(CPoolTest, LimitsAConsumer) {
  const auto pool = make<mb_pool>(mb_pool_fair_spill, std::int64_t{1000});
  std::vector<Owned<mb_reservation>> reservations;
  for (const char* name : {"a", "b"}) {
    mb_consumer_options options = MB_CONSUMER_OPTIONS_INIT;
    options.name = name;
    options.can_spill = 1;
    const auto consumer = make<mb_consumer>(mb_consumer_new, &options);
    reservations.push_back(make<mb_reservation>(mb_consumer_register, consumer.get(), pool.get()));
    ASSERT_EQ(mb_reservation_try_grow(reservations.back().get(), 100, nullptr), MB_OK);
  }
  const auto consumer = make<mb_consumer>(mb_reservation_consumer, reservations[0].get());
  mb_limit_kind kind = MB_LIMIT_UNKNOWN;
  std::int64_t bytes = -1;
  ASSERT_EQ(mb_pool_limit_for(pool.get(), consumer.get(), &kind, &bytes, nullptr), MB_OK);
  EXPECT_EQ(kind, MB_LIMIT_FINITE);
  EXPECT_EQ(bytes, 500);
  const auto unbounded = make<mb_pool>(mb_pool_unbounded);
  ASSERT_EQ(mb_pool_limit_for(unbounded.get(), consumer.get(), &kind, &bytes, nullptr), MB_OK);
  EXPECT_EQ(kind, MB_LIMIT_INFINITE);
  EXPECT_EQ(bytes, 0);
}

TEST(CConsumerTest, IsNotSpilledInANoSpillSectionOfItsOwn) {
  const auto pool = make<mb_pool>(mb_pool_greedy, std::int64_t{100});
  int spills = 0;
  const mb_spill_function spill = [](void* context, const mb_spill_request*) {
    ++*static_cast<int*>(context);
    return std::int64_t{0};
  };
  const auto holder = reserve_in(pool.get(), "holder", spill, &spills);
  ASSERT_EQ(mb_reservation_try_grow(holder.get(), 100, nullptr), MB_OK);
  const auto asker = reserve_in(pool.get(), "asker");
  const auto consumer = make<mb_consumer>(mb_reservation_consumer, holder.get());
  auto section = make<mb_no_spill>(mb_consumer_no_spill_begin, consumer.get());
  std::int64_t got = -1;
  EXPECT_EQ(mb_reservation_acquire(asker.get(), 10, 10, 1000, nullptr, &got, nullptr),
            MB_RESOURCES_EXHAUSTED);
  EXPECT_EQ(spills, 0);
  section.reset();
  EXPECT_EQ(mb_reservation_acquire(asker.get(), 10, 10, 1000, nullptr, &got, nullptr),
            MB_RESOURCES_EXHAUSTED);
  EXPECT_EQ(spills, 1);
}

TEST(CWatchTest, NamesTheConsumerAndThePoolOfTheLargestDrift) {
  std::int64_t allocated = 500;
  const auto allocated_now = [](void* context) { return *static_cast<std::int64_t*>(context); };
  const auto watch = make<mb_watch>(mb_watch_open, allocated_now, &allocated, nullptr);
  const auto pool = make<mb_pool>(mb_pool_greedy, std::int64_t{1000});
  const auto watched = make<mb_pool>(mb_pool_watched, pool.get(), std::size_t{3}, watch.get());
  const auto peak_drift = [&] {
    char* consumer = nullptr;
    char* by = nullptr;
    EXPECT_EQ(mb_watch_peak_drift(watch.get(), &consumer, &by, nullptr), MB_OK);
    const Owned<char> owned(consumer);
    const Owned<char> owned_by(by);
    return std::string(consumer) + "|" + by;
  };
  EXPECT_EQ(peak_drift(), "|");
  const auto sort = reserve_in(watched.get(), "sort");
  ASSERT_EQ(mb_reservation_try_grow(sort.get(), 100, nullptr), MB_OK);
  EXPECT_EQ(peak_drift(), "sort|greedy");
}

// ---- a pool of the program's own ----

/// 100 bytes; remembers what it is told. Its acquire gives what there is.
struct WholePool {
  std::map<std::uint64_t, std::string> consumers;
  std::int64_t used = 0;
  std::int64_t last_timeout_ms = 0;
  int spill_priority = 0;

  static WholePool& of(void* context) { return *static_cast<WholePool*>(context); }
  static mb_pool_functions functions(WholePool& pool) {
    mb_pool_functions functions = MB_POOL_FUNCTIONS_INIT;
    functions.name = "whole";
    functions.context = &pool;
    functions.limit_bytes = 100;
    functions.try_grow = [](void* context, const mb_pool_change* change) {
      if (of(context).used + change->bytes > 100) return MB_RESOURCES_EXHAUSTED;
      of(context).used += change->bytes;
      return MB_OK;
    };
    functions.grow = [](void* context, const mb_pool_change* change) {
      of(context).used += change->bytes;
    };
    functions.shrink = [](void* context, const mb_pool_change* change) {
      of(context).used -= change->bytes;
    };
    functions.reserved = [](void* context) { return of(context).used; };
    functions.acquire = [](void* context, const mb_pool_change* change, std::int64_t min,
                           std::int64_t timeout_ms, std::int64_t* granted) {
      of(context).last_timeout_ms = timeout_ms;
      const std::int64_t bytes = std::min(change->bytes, 100 - of(context).used);
      if (bytes < min) return MB_RESOURCES_EXHAUSTED;
      of(context).used += bytes;
      *granted = bytes;
      return MB_OK;
    };
    functions.register_consumer = [](void* context, const mb_pool_consumer* consumer) {
      of(context).consumers[consumer->id] = consumer->name;
      of(context).spill_priority = consumer->spill_priority;
    };
    functions.unregister_consumer = [](void* context, std::uint64_t id) {
      of(context).consumers.erase(id);
    };
    functions.limit_for = [](void* context, std::uint64_t id) {
      return of(context).consumers.count(id) > 0 ? std::int64_t{50} : std::int64_t{-1};
    };
    return functions;
  }
};

TEST(CDerivedPoolTest, SeesItsConsumersAndAnswersForThem) {
  WholePool own;
  const mb_pool_functions functions = WholePool::functions(own);
  const auto pool = make<mb_pool>(mb_pool_derived, &functions);
  mb_consumer_options options = MB_CONSUMER_OPTIONS_INIT;
  options.name = "c";
  options.spill_priority = 7;
  const auto consumer = make<mb_consumer>(mb_consumer_new, &options);
  auto reservation = make<mb_reservation>(mb_consumer_register, consumer.get(), pool.get());
  EXPECT_EQ(own.consumers.at(mb_consumer_id(consumer.get())), "c");
  EXPECT_EQ(own.spill_priority, 7);
  std::int64_t granted = -1;
  ASSERT_EQ(mb_reservation_acquire(reservation.get(), 10, 300, 5'000, nullptr, &granted, nullptr),
            MB_OK);
  EXPECT_EQ(granted, 100);
  EXPECT_GT(own.last_timeout_ms, 4'000);
  EXPECT_LE(own.last_timeout_ms, 5'000);
  const Failure refused = failure([&](mb_error** e) {
    return mb_reservation_acquire(reservation.get(), 10, 300, MB_FOREVER, nullptr, &granted, e);
  });
  EXPECT_EQ(refused.status, MB_RESOURCES_EXHAUSTED);
  EXPECT_THAT(refused.message, HasSubstr("pool \"whole\" refused 10 bytes to consumer \"c\""));
  EXPECT_EQ(own.last_timeout_ms, MB_FOREVER);
  mb_limit_kind kind = MB_LIMIT_UNKNOWN;
  std::int64_t bytes = -1;
  ASSERT_EQ(mb_pool_limit_for(pool.get(), consumer.get(), &kind, &bytes, nullptr), MB_OK);
  EXPECT_EQ(bytes, 50);
  EXPECT_THAT(lines(pool.get()), ElementsAre("c 100"));
  const auto metrics = make<mb_pool_metrics>(mb_pool_get_metrics, pool.get());
  mb_consumer_metrics first = MB_CONSUMER_METRICS_INIT;
  ASSERT_EQ(mb_pool_metrics_consumer(metrics.get(), 0, &first, nullptr), MB_OK);
  EXPECT_EQ(first.peak_bytes, 100);
  reservation.reset();
  EXPECT_TRUE(own.consumers.empty());
  EXPECT_EQ(own.used, 0);
  EXPECT_THAT(lines(pool.get()), IsEmpty());
}

TEST(CDerivedPoolTest, ThatGrantsWhatNobodyAskedForIsWrong) {
  WholePool own;
  mb_pool_functions functions = WholePool::functions(own);
  functions.acquire = [](void*, const mb_pool_change* change, std::int64_t, std::int64_t,
                         std::int64_t* granted) {
    *granted = change->bytes + 1;
    return MB_OK;
  };
  const auto pool = make<mb_pool>(mb_pool_derived, &functions);
  const auto reservation = reserve_in(pool.get(), "c");
  std::int64_t granted = -1;
  const Failure wrong = failure([&](mb_error** e) {
    return mb_reservation_acquire(reservation.get(), 10, 30, 0, nullptr, &granted, e);
  });
  EXPECT_EQ(wrong.status, MB_INVALID);
  EXPECT_THAT(wrong.message, HasSubstr("granted 31 bytes where 10 to 30 were asked for"));
  EXPECT_EQ(mb_reservation_size(reservation.get()), 0);
}

TEST(CDerivedPoolTest, OfAnOlderProgramHasTheDefaults) {
  WholePool own;
  mb_pool_functions functions = WholePool::functions(own);
  functions.struct_size = offsetof(mb_pool_functions, acquire);
  const auto pool = make<mb_pool>(mb_pool_derived, &functions);
  const auto reservation = reserve_in(pool.get(), "c");
  EXPECT_TRUE(own.consumers.empty());
  std::int64_t granted = -1;
  ASSERT_EQ(mb_reservation_acquire(reservation.get(), 10, 300, 0, nullptr, &granted, nullptr),
            MB_OK);
  EXPECT_EQ(granted, 10);  // 300 are not to be had: the least then
  EXPECT_THAT(lines(pool.get()), ElementsAre("c 10"));
}

}  // namespace
}  // namespace membroker::testing
