#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "tests/unit/c/c_fixture.h"

namespace membroker::testing {
namespace {

constexpr int kThreads = 4;
constexpr int kRounds = 300;

// One consumer that gives back all it has when it is asked, while its thread goes on.
struct Cache {
  std::atomic<mb_reservation*> reservation{nullptr};
  std::atomic<int> spills{0};
  std::atomic<int> ended{0};

  static std::int64_t spill(void* context, const mb_spill_request*) {
    auto& cache = *static_cast<Cache*>(context);
    ++cache.spills;
    mb_reservation* const reservation = cache.reservation.load();
    return reservation == nullptr ? 0 : mb_reservation_free(reservation);
  }
  static void end(void* context) { ++static_cast<Cache*>(context)->ended; }
};

void run_threads(const std::function<void(int)>& work) {
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();
}

TEST(CThreadsTest, OneReservationManyThreads) {
  const auto client = make<mb_client>(mb_client_embedded, 64 * kMiB);
  const auto pool = make<mb_pool>(mb_client_pool, client.get(), "ram");
  const auto reservation = reserve_in(pool.get(), "shared");
  run_threads([&](int) {
    for (int i = 0; i < kRounds; ++i) {
      EXPECT_EQ(mb_reservation_try_grow(reservation.get(), 1000, nullptr), MB_OK);
      EXPECT_EQ(mb_reservation_shrink(reservation.get(), 1000, nullptr), MB_OK);
    }
  });
  EXPECT_EQ(mb_reservation_size(reservation.get()), 0);
}

TEST(CThreadsTest, ConsumersSpillForEachOther) {
  Cache cache;
  {
    const auto client = make<mb_client>(mb_client_embedded, 8 * kMiB);
    const auto pool = make<mb_pool>(mb_client_pool, client.get(), "ram");
    mb_consumer_options options = MB_CONSUMER_OPTIONS_INIT;
    options.name = "cache";
    options.spill = Cache::spill;
    options.spill_context = &cache;
    options.spill_context_drop = Cache::end;
    const auto consumer = make<mb_consumer>(mb_consumer_new, &options);
    const auto cached = make<mb_reservation>(mb_consumer_register, consumer.get(), pool.get());
    cache.reservation = cached.get();
    ASSERT_EQ(mb_reservation_try_grow(cached.get(), 8 * kMiB, nullptr), MB_OK);
    run_threads([&](int thread) {
      const auto mine = reserve_in(pool.get(), "query");
      for (int i = 0; i < kRounds / 10; ++i) {
        if (thread == 0) {  // fills what is free; refused as often as not
          mb_error* error = nullptr;
          const mb_status status = mb_reservation_try_grow(cached.get(), 3 * kMiB, &error);
          EXPECT_EQ(status, mb_error_status(error));
          mb_error_drop(error);
        }
        std::int64_t granted = 0;
        EXPECT_EQ(
            mb_reservation_acquire(mine.get(), kMiB, 2 * kMiB, 20'000, nullptr, &granted, nullptr),
            MB_OK);
        EXPECT_GE(granted, kMiB);
        const auto stats = make<mb_client_stats>(mb_client_get_stats, client.get());
        const auto metrics = make<mb_pool_metrics>(mb_pool_get_metrics, pool.get());
        EXPECT_EQ(mb_reservation_free(mine.get()), granted);
      }
    });
    EXPECT_GT(cache.spills, 0);
    mb_reservation_free(cached.get());
    EXPECT_EQ(mb_pool_reserved(pool.get()), 0);
  }
  EXPECT_EQ(cache.ended, 1);
}

TEST(CThreadsTest, HandlesAreSharedAndDroppedAnywhere) {
  auto client = make<mb_client>(mb_client_embedded, 64 * kMiB);
  const auto allocator = make<mb_allocator>(mb_client_allocator, client.get());
  const auto buffer = make<mb_buffer>(mb_buffer_wrap, "shared", std::int64_t{6}, nullptr, nullptr);
  run_threads([&](int thread) {
    for (int i = 0; i < kRounds / 10; ++i) {
      const auto copy = make<mb_buffer>(mb_buffer_copy_slice, buffer.get(), std::int64_t{0},
                                        std::int64_t{6}, allocator.get());
      EXPECT_EQ(mb_buffer_equals(copy.get(), buffer.get()), 1);
      const auto shared = make<mb_buffer>(mb_buffer_share, buffer.get());
      const auto pool = make<mb_pool>(mb_client_pool, client.get(), "ram");
      const auto reservation = reserve_in(pool.get(), "short");
      EXPECT_EQ(mb_reservation_grow(reservation.get(), thread + 1, nullptr), MB_OK);
    }
  });
  client.reset();
}

TEST(CThreadsTest, ErrorsBelongToTheirCalls) {
  const auto pool = make<mb_pool>(mb_pool_greedy, std::int64_t{10});
  run_threads([&](int thread) {
    const auto reservation = reserve_in(pool.get(), "c");
    for (int i = 0; i < kRounds; ++i) {
      const std::int64_t bytes = 1000 + thread;
      const Failure refused = failure(
          [&](mb_error** e) { return mb_reservation_try_grow(reservation.get(), bytes, e); });
      mb_denial denial = MB_DENIAL_INIT;
      EXPECT_EQ(mb_error_denial(refused.error.get(), &denial, nullptr), MB_OK);
      EXPECT_EQ(denial.requested_bytes, bytes);
    }
  });
}

}  // namespace
}  // namespace membroker::testing
