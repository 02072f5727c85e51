// What a pool knows of the use its reservations are put to: bytes allocated, bytes spilled.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "client/memory/lease_pool.h"
#include "membroker/memory_pool.h"
#include "membroker/testing.h"
#include "tests/unit/spill/spill_kit.h"

namespace membroker::spill::test {
namespace {

class CountedTest : public ::testing::Test {
 protected:
  lease::LeaseFigures figures() const {
    return static_cast<LeasePool&>(*daemon_.pool()).stats().figures;
  }
  // Writes 1 MiB through a channel; returns what its files hold.
  static Bytes spill(SpillOptions options) {
    auto channel = spill_channel(std::move(options));
    EXPECT_TRUE(channel) << channel.error().message();
    const Buffer batch = Buffer::from_string(std::string(kMiB, 'x'));
    EXPECT_TRUE(channel->writer.push_batch({&batch, 1}));
    const Bytes written = channel->writer.stats().bytes_written;
    EXPECT_GT(written, kMiB);
    return written;
  }
  std::shared_ptr<SpillWorkspace> workspace(std::shared_ptr<BufferAllocator> payer) const {
    return *SpillWorkspace::create({.bytes = kSpillWorkspaceBytesMin, .allocator = payer});
  }

  TestDirectory directory_;
  testing::ScriptedDaemon daemon_{{.capacity_bytes = 64 * kMiB}};
};

TEST_F(CountedTest, AllAllocatorsAndPagesOfThePool) {
  EXPECT_EQ(figures().allocated, 0);
  const auto one = make_allocator(daemon_.pool(), "one");
  const auto block = allocate_buffer(kMiB, one);
  ASSERT_TRUE(block);
  {
    auto nested = daemon_.pool()->nested("stage");
    const auto inner = allocate_buffer(2 * kMiB, make_allocator(nested, "inner"));
    ASSERT_TRUE(inner);
    MemoryConsumer pages("pages");
    const auto registered = pages.register_with(daemon_.pool());
    const auto page = pages.allocate_page(4 * kMiB);
    ASSERT_TRUE(page);
    EXPECT_EQ(figures().allocated, 7 * kMiB);
    EXPECT_TRUE(pages.free_page(*page));
    EXPECT_EQ(figures().allocated, 3 * kMiB);
  }
  EXPECT_EQ(figures().allocated, kMiB);
  EXPECT_GE(figures().reserved, kMiB);
}

TEST_F(CountedTest, SpillFilesAreCountedByWhoPaysForTheWorkspace) {
  auto options = directory_.options();
  options.workspace = workspace(make_allocator(daemon_.pool(), "workspace"));
  const Bytes first = spill(options);
  EXPECT_EQ(figures().spilled, first);
  options.allocator = make_allocator(daemon_.pool(), "reader");  // counted once all the same
  const Bytes second = spill(options);
  EXPECT_EQ(figures().spilled, first + second);  // a counter: the files are gone by now
}

TEST_F(CountedTest, ElseByWhoPaysForReading) {
  auto options = directory_.options();
  options.workspace = workspace(nullptr);
  static_cast<void>(spill(options));
  EXPECT_EQ(figures().spilled, 0);
  options.allocator = make_allocator(daemon_.pool()->tracked(3), "reader");
  const Bytes written = spill(options);
  EXPECT_EQ(figures().spilled, written);
}

TEST_F(CountedTest, WhatWasNotTakenIsNotCounted) {
  auto options = directory_.options();
  options.workspace = workspace(make_allocator(daemon_.pool(), "workspace"));
  options.quota = SpillQuota::create(kMiB / 2);
  auto channel = spill_channel(std::move(options));
  ASSERT_TRUE(channel);
  const Buffer batch = Buffer::from_string(std::string(kMiB, 'x'));
  EXPECT_FALSE(channel->writer.push_batch({&batch, 1}));
  EXPECT_EQ(figures().spilled, 0);
}

}  // namespace
}  // namespace membroker::spill::test
