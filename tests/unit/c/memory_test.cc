#include <cstring>

#include "tests/kit/temporary_folder.h"
#include "tests/unit/c/c_fixture.h"

namespace membroker::testing {
namespace {

using ::testing::HasSubstr;

// ---- allocators ----

TEST(CAllocatorTest, ChargesWhatIsAllocated) {
  const auto pool = make<mb_pool>(mb_pool_greedy, std::int64_t{1000});
  const auto allocator = make<mb_allocator>(mb_allocator_charged, pool.get(), "buffers", nullptr);
  void* block = nullptr;
  ASSERT_EQ(mb_allocate(allocator.get(), 400, MB_ALIGNMENT, &block, nullptr), MB_OK);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % 64, 0U);
  EXPECT_EQ(mb_pool_reserved(pool.get()), 400);
  std::memset(block, 7, 400);
  const Failure refused = failure([&](mb_error** e) {
    return mb_reallocate(allocator.get(), block, 400, 1200, MB_ALIGNMENT, &block, e);
  });
  EXPECT_EQ(refused.status, MB_RESOURCES_EXHAUSTED);
  ASSERT_EQ(mb_reallocate(allocator.get(), block, 400, 800, MB_ALIGNMENT, &block, nullptr), MB_OK);
  EXPECT_EQ(static_cast<char*>(block)[399], 7);
  mb_allocator_stats stats = MB_ALLOCATOR_STATS_INIT;
  ASSERT_EQ(mb_allocator_get_stats(allocator.get(), &stats, nullptr), MB_OK);
  EXPECT_EQ(stats.bytes_allocated, 800);
  EXPECT_EQ(stats.max_memory, 800);
  EXPECT_EQ(stats.num_allocations, 2);
  ASSERT_EQ(mb_deallocate(allocator.get(), block, 800, MB_ALIGNMENT, nullptr), MB_OK);
  EXPECT_EQ(mb_deallocate(allocator.get(), nullptr, 0, MB_ALIGNMENT, nullptr), MB_OK);
  EXPECT_EQ(mb_pool_reserved(pool.get()), 0);
  EXPECT_EQ(mb_allocate(allocator.get(), 8, 3, &block, nullptr), MB_INVALID);
  EXPECT_EQ(mb_allocator_release_unused(allocator.get(), nullptr), MB_OK);
}

TEST(CAllocatorTest, SpendsWhatIsPrepaidFirst) {
  const auto pool = make<mb_pool>(mb_pool_greedy, std::int64_t{1000});
  auto reservation = reserve_in(pool.get(), "c");
  ASSERT_EQ(mb_reservation_try_grow(reservation.get(), 300, nullptr), MB_OK);
  const auto allocator =
      make<mb_allocator>(mb_allocator_of_reservation, reservation.get(), nullptr);
  static_cast<void>(reservation.release());  // the allocator's now
  std::int64_t bytes = -1;
  ASSERT_EQ(mb_allocator_prepaid(allocator.get(), &bytes, nullptr), MB_OK);
  EXPECT_EQ(bytes, 300);
  std::int64_t granted = -1;
  ASSERT_EQ(mb_allocator_prepay(allocator.get(), 100, 100, 0, nullptr, &granted, nullptr), MB_OK);
  EXPECT_EQ(granted, 100);
  ASSERT_EQ(mb_allocator_keep_freed(allocator.get(), 1, nullptr), MB_OK);
  void* block = nullptr;
  ASSERT_EQ(mb_allocate(allocator.get(), 350, MB_ALIGNMENT, &block, nullptr), MB_OK);
  ASSERT_EQ(mb_allocator_prepaid(allocator.get(), &bytes, nullptr), MB_OK);
  EXPECT_EQ(bytes, 50);
  ASSERT_EQ(mb_deallocate(allocator.get(), block, 350, MB_ALIGNMENT, nullptr), MB_OK);
  ASSERT_EQ(mb_allocator_reserved(allocator.get(), &bytes, nullptr), MB_OK);
  EXPECT_EQ(bytes, 400);
  ASSERT_EQ(mb_allocator_return_prepaid(allocator.get(), &bytes, nullptr), MB_OK);
  EXPECT_EQ(bytes, 400);
  EXPECT_EQ(mb_pool_reserved(pool.get()), 0);
}

TEST(CAllocatorTest, OneThatChargesNobodyHasNothingPrepaid) {
  const auto allocator = make<mb_allocator>(mb_allocator_system);
  EXPECT_STREQ(mb_allocator_backend_name(allocator.get()), "system");
  std::int64_t bytes = -1;
  const Failure failed =
      failure([&](mb_error** e) { return mb_allocator_prepaid(allocator.get(), &bytes, e); });
  EXPECT_EQ(failed.status, MB_UNSUPPORTED);
  EXPECT_THAT(failed.message, HasSubstr("charges no reservation"));
}

TEST(CAllocatorTest, BackendsAreNamedAndTheDefaultCanBeSet) {
  bool system_is_there = false;
  std::int32_t count = 0;
  for (; mb_allocator_supported_backend(count) != nullptr; ++count) {
    system_is_there |= std::string(mb_allocator_supported_backend(count)) == "system";
  }
  EXPECT_TRUE(system_is_there);
  EXPECT_EQ(mb_allocator_supported_backend(-1), nullptr);
  const auto client = make<mb_client>(mb_client_embedded, kMiB);
  const auto charged = make<mb_allocator>(mb_client_allocator, client.get());
  ASSERT_EQ(mb_allocator_set_default(charged.get(), nullptr), MB_OK);
  const auto buffer =
      make<mb_mutable_buffer>(mb_mutable_buffer_new, std::int64_t{100}, nullptr, MB_ALIGNMENT);
  mb_allocator_stats stats = MB_ALLOCATOR_STATS_INIT;
  ASSERT_EQ(mb_allocator_get_stats(charged.get(), &stats, nullptr), MB_OK);
  EXPECT_EQ(stats.bytes_allocated, 128);
  ASSERT_EQ(mb_allocator_set_default(nullptr, nullptr), MB_OK);
  EXPECT_STREQ(mb_allocator_backend_name(make<mb_allocator>(mb_allocator_default).get()), "system");
  mb_allocator* mimalloc = nullptr;
  const mb_status there = mb_allocator_mimalloc(&mimalloc, nullptr);
  EXPECT_EQ(there, count > 1 ? MB_OK : MB_UNSUPPORTED);
  mb_allocator_drop(mimalloc);
}

// ---- buffers ----

TEST(CBufferTest, IsWrittenFrozenAndShared) {
  const auto pool = make<mb_pool>(mb_pool_greedy, kMiB);
  auto allocator = make<mb_allocator>(mb_allocator_charged, pool.get(), "b", nullptr);
  auto open = make<mb_mutable_buffer>(mb_mutable_buffer_new, std::int64_t{5}, allocator.get(),
                                      MB_ALIGNMENT);
  allocator.reset();
  std::memcpy(mb_mutable_buffer_data(open.get()), "hello", 5);
  EXPECT_EQ(mb_mutable_buffer_capacity(open.get()), 64);
  ASSERT_EQ(mb_mutable_buffer_reserve(open.get(), 100, nullptr), MB_OK);
  EXPECT_EQ(mb_mutable_buffer_capacity(open.get()), 128);
  ASSERT_EQ(mb_mutable_buffer_resize(open.get(), 11, 0, nullptr), MB_OK);
  std::memcpy(static_cast<char*>(mb_mutable_buffer_data(open.get())) + 5, " world", 6);
  EXPECT_EQ(mb_mutable_buffer_resize(open.get(), -1, 0, nullptr), MB_INVALID);
  ASSERT_EQ(mb_mutable_buffer_resize(open.get(), 11, 1, nullptr), MB_OK);
  EXPECT_EQ(mb_mutable_buffer_size(open.get()), 11);
  ASSERT_EQ(mb_mutable_buffer_zero_padding(open.get(), nullptr), MB_OK);
  auto whole = make<mb_buffer>(mb_mutable_buffer_freeze, open.get());
  static_cast<void>(open.release());  // freezing has ended it
  EXPECT_EQ(mb_buffer_size(whole.get()), 11);
  EXPECT_EQ(mb_pool_reserved(pool.get()), mb_buffer_capacity(whole.get()));
  auto part = make<mb_buffer>(mb_buffer_slice, whole.get(), std::int64_t{6}, std::int64_t{5});
  auto shared = make<mb_buffer>(mb_buffer_share, whole.get());
  const auto copy =
      make<mb_buffer>(mb_buffer_copy_slice, whole.get(), std::int64_t{6}, std::int64_t{5}, nullptr);
  mb_buffer* none = nullptr;
  EXPECT_EQ(mb_buffer_slice(whole.get(), 6, 6, &none, nullptr), MB_INVALID);
  EXPECT_EQ(mb_buffer_equals(whole.get(), shared.get()), 1);
  EXPECT_EQ(mb_buffer_equals(part.get(), copy.get()), 1);
  EXPECT_EQ(mb_buffer_equals(part.get(), whole.get()), 0);
  whole.reset();
  shared.reset();
  EXPECT_EQ(std::memcmp(mb_buffer_data(part.get()), "world", 5), 0);
  EXPECT_GT(mb_pool_reserved(pool.get()), 0);
  part.reset();
  EXPECT_EQ(mb_pool_reserved(pool.get()), 0);
}

TEST(CBufferTest, WrapsForeignBytesUntilTheLastHandle) {
  int released = 0;
  const mb_context_drop release = [](void* context) { ++*static_cast<int*>(context); };
  auto whole = make<mb_buffer>(mb_buffer_wrap, "abcdef", std::int64_t{6}, release, &released);
  auto part = make<mb_buffer>(mb_buffer_slice, whole.get(), std::int64_t{1}, std::int64_t{2});
  whole.reset();
  EXPECT_EQ(released, 0);
  part.reset();
  EXPECT_EQ(released, 1);
  auto empty = make<mb_buffer>(mb_buffer_wrap, nullptr, std::int64_t{0}, release, &released);
  EXPECT_NE(mb_buffer_data(empty.get()), nullptr);
  empty.reset();
  EXPECT_EQ(released, 2);
  mb_buffer* none = nullptr;
  EXPECT_EQ(mb_buffer_wrap(nullptr, 1, release, &released, &none, nullptr), MB_INVALID);
  EXPECT_EQ(mb_buffer_wrap("a", -1, release, &released, &none, nullptr), MB_INVALID);
  EXPECT_EQ(released, 2);
}

// ---- spill channels ----

class CSpillTest : public ::testing::Test {
 protected:
  CSpillTest() {
    const char* const path = folder_.root().c_str();
    directories_ = make<mb_spill_directories>(mb_spill_directories_open, &path, std::size_t{1});
    options_.directories = directories_.get();
  }

  void open() {
    mb_spill_writer* writer = nullptr;
    mb_spill_reader* reader = nullptr;
    mb_error* error = nullptr;
    EXPECT_EQ(mb_spill_channel(&options_, &writer, &reader, &error), MB_OK)
        << mb_error_message(error);
    mb_error_drop(error);
    writer_.reset(writer);
    reader_.reset(reader);
  }
  std::string refusal() {
    mb_spill_writer* writer = nullptr;
    mb_spill_reader* reader = nullptr;
    const Failure failed =
        failure([&](mb_error** e) { return mb_spill_channel(&options_, &writer, &reader, e); });
    EXPECT_EQ(failed.status, MB_INVALID);
    return failed.message;
  }
  static std::string bytes_of(const mb_buffer* buffer) {
    return {static_cast<const char*>(mb_buffer_data(buffer)),
            static_cast<std::size_t>(mb_buffer_size(buffer))};
  }

  const TemporaryFolder folder_;
  Owned<mb_spill_directories> directories_;
  mb_spill_options options_ = MB_SPILL_OPTIONS_INIT;
  Owned<mb_spill_writer> writer_;
  Owned<mb_spill_reader> reader_;
};

TEST_F(CSpillTest, GivesBackWhatWasPushed) {
  const auto workspace = make<mb_spill_workspace>(mb_spill_workspace_new, nullptr);
  EXPECT_EQ(mb_spill_workspace_bytes(workspace.get()), 8 * kMiB);
  EXPECT_GE(mb_spill_workspace_uses_io_uring(workspace.get()), 0);
  const auto quota = make<mb_spill_quota>(mb_spill_quota_new, 16 * kMiB);
  options_.workspace = workspace.get();
  options_.quota = quota.get();
  options_.compression = MB_COMPRESSION_ZSTD;
  open();
  EXPECT_STREQ(mb_spill_directories_path(directories_.get(), 0), folder_.root().c_str());
  EXPECT_EQ(mb_spill_directories_path(directories_.get(), 1), nullptr);
  const mb_bytes parts[] = {{"alpha", 5}, {nullptr, 0}, {"beta", 4}};
  ASSERT_EQ(mb_spill_writer_push(writer_.get(), parts, 3, nullptr), MB_OK);
  const auto buffer = make<mb_buffer>(mb_buffer_wrap, "gamma", std::int64_t{5}, nullptr, nullptr);
  const mb_buffer* const list[] = {buffer.get()};
  const auto sink = make<mb_spill_writer>(mb_spill_writer_new_sink, writer_.get());
  ASSERT_EQ(mb_spill_writer_push_batch(sink.get(), list, 1, nullptr), MB_OK);
  ASSERT_EQ(mb_spill_writer_finish(writer_.get(), nullptr), MB_OK);
  ASSERT_EQ(mb_spill_writer_finish(sink.get(), nullptr), MB_OK);
  EXPECT_GT(mb_spill_quota_used(quota.get()), 0);
  EXPECT_EQ(mb_spill_quota_limit(quota.get()), 16 * kMiB);

  const auto batch = make<mb_batch>(mb_spill_reader_next, reader_.get());
  ASSERT_EQ(mb_batch_count(batch.get()), 3);
  EXPECT_EQ(mb_batch_size(batch.get()), 9);
  EXPECT_EQ(bytes_of(make<mb_buffer>(mb_batch_buffer, batch.get(), std::int64_t{2}).get()), "beta");
  mb_buffer* none = nullptr;
  EXPECT_EQ(mb_batch_buffer(batch.get(), 3, &none, nullptr), MB_NOT_FOUND);
  char room[16];
  std::int64_t size = 0;
  EXPECT_EQ(mb_spill_reader_next_into(reader_.get(), room, 4, &size, nullptr), MB_INVALID);
  ASSERT_EQ(mb_spill_reader_next_into(reader_.get(), room, 16, &size, nullptr), MB_OK);
  EXPECT_EQ(std::string(room, static_cast<std::size_t>(size)), "gamma");
  ASSERT_EQ(mb_spill_reader_next_into(reader_.get(), room, 16, &size, nullptr), MB_OK);
  EXPECT_EQ(size, -1);
  mb_batch* end = reinterpret_cast<mb_batch*>(1);
  ASSERT_EQ(mb_spill_reader_next(reader_.get(), &end, nullptr), MB_OK);
  EXPECT_EQ(end, nullptr);
  EXPECT_EQ(mb_spill_reader_release_read_ahead(reader_.get(), nullptr), MB_OK);
  mb_spill_stats stats = MB_SPILL_STATS_INIT;
  ASSERT_EQ(mb_spill_reader_get_stats(reader_.get(), &stats, nullptr), MB_OK);
  EXPECT_EQ(stats.batches_written, 2);
  EXPECT_EQ(stats.batches_read, 2);
  EXPECT_EQ(stats.bytes_pushed, 14);
}

TEST_F(CSpillTest, AClientHasAWorkspaceOfItsOwn) {
  const auto client = make<mb_client>(mb_client_embedded, 32 * kMiB);
  const auto workspace =
      make<mb_spill_workspace>(mb_client_spill_workspace, client.get(), std::int64_t{10'000});
  EXPECT_GE(mb_spill_workspace_bytes(workspace.get()), kMiB);
  const auto pool = make<mb_pool>(mb_client_pool, client.get(), "ram");
  EXPECT_GE(mb_pool_reserved(pool.get()), mb_spill_workspace_bytes(workspace.get()));
  mb_spill_workspace* none = nullptr;
  EXPECT_EQ(mb_client_spill_workspace(client.get(), -2, &none, nullptr), MB_INVALID);
}

TEST_F(CSpillTest, AWorkspaceIsWaitedForNoLongerThanTold) {
  mb_client_options options = MB_CLIENT_OPTIONS_INIT;
  options.tenant = "t";
  options.socket = "/nowhere/broker.sock";
  const auto client = make<mb_client>(mb_client_open, &options);
  mb_spill_workspace* none = nullptr;
  EXPECT_EQ(mb_client_spill_workspace(client.get(), 20, &none, nullptr), MB_TIMEOUT);
  EXPECT_EQ(none, nullptr);
}

TEST_F(CSpillTest, TryNextSaysWhetherMoreMayCome) {
  open();
  mb_spill_ready ready = MB_SPILL_BATCH;
  mb_batch* batch = nullptr;
  ASSERT_EQ(mb_spill_reader_try_next(reader_.get(), &ready, &batch, nullptr), MB_OK);
  EXPECT_EQ(ready, MB_SPILL_PENDING);
  EXPECT_EQ(batch, nullptr);
  const mb_bytes part = {"x", 1};
  ASSERT_EQ(mb_spill_writer_push(writer_.get(), &part, 1, nullptr), MB_OK);
  writer_.reset();
  do {
    ASSERT_EQ(mb_spill_reader_try_next(reader_.get(), &ready, &batch, nullptr), MB_OK);
  } while (ready == MB_SPILL_PENDING);
  ASSERT_EQ(ready, MB_SPILL_BATCH);
  mb_batch_drop(batch);
  ASSERT_EQ(mb_spill_reader_try_next(reader_.get(), &ready, &batch, nullptr), MB_OK);
  EXPECT_EQ(ready, MB_SPILL_END);
}

TEST_F(CSpillTest, AFullQuotaPoisonsTheChannel) {
  const auto quota = make<mb_spill_quota>(mb_spill_quota_new, 16 * kMiB);
  ASSERT_EQ(mb_spill_quota_set_limit(quota.get(), 0, nullptr), MB_OK);
  EXPECT_EQ(mb_spill_quota_set_limit(quota.get(), -1, nullptr), MB_INVALID);
  options_.quota = quota.get();
  open();
  const mb_bytes part = {"x", 1};
  mb_status status = mb_spill_writer_push(writer_.get(), &part, 1, nullptr);
  if (status == MB_OK) status = mb_spill_writer_finish(writer_.get(), nullptr);
  EXPECT_EQ(status, MB_DISK_FULL);
}

TEST_F(CSpillTest, SaysWhatIsWrong) {
  options_.compression = static_cast<mb_compression>(9);
  EXPECT_THAT(refusal(), HasSubstr("mb_spill_options.compression is 9"));
  options_.compression = MB_COMPRESSION_NONE;
  options_.directories = nullptr;
  EXPECT_THAT(refusal(), HasSubstr("mb_spill_options.directories is NULL"));
  options_.directories = directories_.get();
  open();
  const mb_bytes bad = {nullptr, 3};
  const Failure failed =
      failure([&](mb_error** e) { return mb_spill_writer_push(writer_.get(), &bad, 1, e); });
  EXPECT_EQ(failed.status, MB_INVALID);
  EXPECT_THAT(failed.message, HasSubstr("parts[0]"));
  EXPECT_EQ(mb_spill_writer_push(writer_.get(), &bad, SIZE_MAX, nullptr), MB_INVALID);
  EXPECT_EQ(mb_spill_writer_push(writer_.get(), nullptr, 1, nullptr), MB_INVALID);
  EXPECT_EQ(mb_spill_writer_push_batch(writer_.get(), nullptr, 1, nullptr), MB_INVALID);
  EXPECT_EQ(mb_spill_writer_push(writer_.get(), nullptr, 0, nullptr), MB_OK);
  const char* const nowhere = "/nowhere/at/all";
  mb_spill_directories* none = nullptr;
  EXPECT_NE(mb_spill_directories_open(&nowhere, 1, &none, nullptr), MB_OK);
  mb_spill_quota* quota = nullptr;
  EXPECT_EQ(mb_spill_quota_new(-1, &quota, nullptr), MB_INVALID);
  reader_.reset();
  const mb_bytes part = {"x", 1};
  EXPECT_EQ(mb_spill_writer_push(writer_.get(), &part, 1, nullptr), MB_CLOSED);
}

}  // namespace
}  // namespace membroker::testing
