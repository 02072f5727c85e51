// What processes leave behind: forked children with their pages, and sessions of an image that is
// no more.

#include <gmock/gmock.h>

#include "tests/unit/broker/broker_fixture.h"

namespace membroker::broker::test {
namespace {

using ::testing::SizeIs;

Peer image_of(Peer peer, std::uint64_t image) {
  peer.image = image;
  return peer;
}

Kin kin_of(pid_t pid, Bytes bytes) { return {image_of(peer_of(pid), 7), bytes, true}; }

class OrphanTest : public BrokerTest {
 protected:
  void SetUp() override {
    start();
    hold(1, "a", 512 * kMiB);
  }
  /// A session that holds so much.
  ConnectionId hold(pid_t pid, const std::string& tenant, Bytes bytes, char token = 't') {
    const ConnectionId stream = attach(pid, hello(tenant, claim(0), token));
    send(stream, {acquire(1, bytes, bytes, 0), inventory(bytes, 0, 0)});
    EXPECT_TRUE(received(stream).granted().has_value());
    return stream;
  }
  void ends(pid_t pid, const std::vector<Kin>& left = {}) {
    dead_.insert(pid);
    broker_->process_ended(peer_of(pid), now_, left);
    deliver();
  }
  void measured(pid_t pid, Bytes share) {
    broker_->orphan_measured(peer_of(pid), share, now_);
    deliver();
  }
  std::vector<LeaseRow> orphans() const {
    std::vector<LeaseRow> rows = broker_->snapshot().leases;
    std::erase_if(rows, [](const LeaseRow& row) { return row.orphan_pid == 0; });
    return rows;
  }
  Bytes orphaned(const std::string& tenant) const {
    for (const TenantRow& row : broker_->snapshot().tenant_rows) {
      if (row.view.path == tenant) return row.orphaned;
    }
    return -1;
  }
};

TEST_F(OrphanTest, AChildsPagesStayChargedToTheTenantUntilItEnds) {
  ends(1, {kin_of(2, 100 * kMiB)});
  EXPECT_EQ(held(), 100 * kMiB);
  EXPECT_EQ(orphaned("a"), 100 * kMiB);
  EXPECT_EQ(orphaned("b"), 0);
  ASSERT_THAT(orphans(), SizeIs(1));
  EXPECT_EQ(orphans()[0].orphan_pid, 2);
  EXPECT_EQ(orphans()[0].view.path, "a");
  EXPECT_THAT(broker_->snapshot().sessions, SizeIs(0));
  EXPECT_EQ(broker_->take_orphans(), std::vector<Peer>{peer_of(2)});
  EXPECT_THAT(broker_->take_orphans(), SizeIs(0)) << "each once";
  ends(2);
  EXPECT_EQ(held(), 0);
  EXPECT_THAT(orphans(), SizeIs(0));
}

TEST_F(OrphanTest, NobodyIsGivenWhatAnOrphanHoldsAndNobodyCanAskForIt) {
  const ConnectionId b = attach(5, hello("b", claim(0), 'b'));
  send(b, {acquire(1, kCapacity, kCapacity, 60'000), inventory(0, 0, 0)});
  ends(1, {kin_of(2, 100 * kMiB)});
  EXPECT_FALSE(received(b).granted().has_value()) << "924 MiB are free, no more";
  const SessionId account = orphans()[0].view.session;
  const auto asked = broker_->ask(account, "ram", kMiB, now_);
  ASSERT_FALSE(asked);
  EXPECT_EQ(asked.error().code(), ErrorCode::kNotFound);
  advance(1'000);
  EXPECT_EQ(orphaned("a"), 100 * kMiB);
  ends(2);
  EXPECT_EQ(received(b).granted()->bytes(), kCapacity);
}

TEST_F(OrphanTest, AChildIsChargedNoMoreThanItsParentHad) {
  ends(1, {kin_of(2, 300 * kMiB), kin_of(3, 300 * kMiB), kin_of(4, 300 * kMiB)});
  EXPECT_EQ(held(), 512 * kMiB);
  measured(2, 400 * kMiB);
  EXPECT_EQ(held(), 512 * kMiB) << "the others' part is not its own";
  ends(3);
  measured(2, 600 * kMiB);
  EXPECT_EQ(held(), 512 * kMiB);
  EXPECT_THAT(orphans(), SizeIs(1)) << "for the third nothing was left";
}

TEST_F(OrphanTest, WhatIsMeasuredReplacesWhatWasAssumed) {
  ends(1, {kin_of(2, 200 * kMiB)});
  measured(2, 50 * kMiB);
  EXPECT_EQ(held(), 50 * kMiB);
  measured(2, 80 * kMiB);
  EXPECT_EQ(held(), 80 * kMiB);
  measured(2, 80 * kMiB + 1'000);
  EXPECT_EQ(held(), 80 * kMiB) << "not worth an event";
  measured(9, 80 * kMiB);  // none of ours
  measured(2, 0);          // it has exec'ed
  EXPECT_EQ(held(), 0);
  EXPECT_THAT(orphans(), SizeIs(0));
  ends(2);
  EXPECT_EQ(held(), 0);
}

TEST_F(OrphanTest, ItsChildrenAreOrphansToo) {
  ends(1, {kin_of(2, 200 * kMiB)});
  ends(2, {kin_of(3, 300 * kMiB)});
  EXPECT_EQ(held(), 200 * kMiB);
  EXPECT_EQ(orphans()[0].orphan_pid, 3);
  EXPECT_EQ(orphaned("a"), 200 * kMiB);
}

TEST_F(OrphanTest, AChildWithASessionOfItsOwnIsNoOrphan) {
  hold(2, "b", 100 * kMiB);
  ends(1, {kin_of(2, 300 * kMiB)});
  EXPECT_EQ(held(), 100 * kMiB);
}

TEST_F(OrphanTest, WhatCannotBeSeenOrHasEndedIsNotCharged) {
  Kin hidden = kin_of(2, 300 * kMiB);
  hidden.measurable = false;
  dead_.insert(3);
  ends(1, {hidden, kin_of(3, 100 * kMiB), kin_of(4, 1'000)});
  EXPECT_EQ(held(), 0);
  EXPECT_EQ(broker_->snapshot().counters.orphans_unmeasured, 1U);
  EXPECT_EQ(broker_->snapshot().counters.orphans_left, 0U);
}

TEST_F(OrphanTest, OfSeveralTenantsTheOneWithMostIsCharged) {
  hold(1, "b", 100 * kMiB, 'b');
  ends(1, {kin_of(2, 1'000 * kMiB)});
  EXPECT_EQ(orphaned("a"), 612 * kMiB);
  EXPECT_EQ(orphaned("b"), 0);
}

TEST_F(OrphanTest, TheLedgerKeepsItOverTheDaemonsDeath) {
  ends(1, {kin_of(2, 200 * kMiB), kin_of(3, 100 * kMiB)});
  measured(2, 150 * kMiB);
  dead_.insert(3);  // while nobody looks
  start(true);
  EXPECT_EQ(held(), 150 * kMiB);
  EXPECT_EQ(orphaned("a"), 150 * kMiB);
  ASSERT_EQ(broker_->take_orphans(), std::vector<Peer>{peer_of(2)});
  EXPECT_THAT(broker_->snapshot().sessions, SizeIs(0));
  const ConnectionId b = hold(5, "b", 10 * kMiB);
  EXPECT_GT(broker_->snapshot().sessions[0].id.value, orphans()[0].view.session.value);
  measured(2, 20 * kMiB);
  EXPECT_EQ(held(), 30 * kMiB);
  ends(2);
  EXPECT_EQ(held(), 10 * kMiB);
  lose(b);
}

// ---- exec ----

class ExecTest : public OrphanTest {
 protected:
  /// A session of a process that was seen to run the image.
  ConnectionId open_as(pid_t pid, std::uint64_t image, char token) {
    const ConnectionId id{++last_connection_};
    broker_->connected(id, image_of(peer_of(pid), image), now_);
    v1::ClientFrame frame;
    frame.set_attach(1);
    *frame.add_messages()->mutable_hello() = hello("b", claim(0), token);
    broker_->received(id, frame, now_);
    attaches_[id] = 1;
    send(id, {acquire(1, 64 * kMiB, 64 * kMiB, 0)});
    return id;
  }
  void execs(pid_t pid, std::uint64_t image, const std::vector<Kin>& left = {}) {
    broker_->process_execed(peer_of(pid), image, now_, left);
    deliver();
  }
};

TEST_F(ExecTest, EndsTheSessionsOfTheImageBefore) {
  const ConnectionId before = open_as(6, 11, 'x');
  const ConnectionId after = open_as(6, 22, 'y');
  EXPECT_EQ(held(), (512 + 64 + 64) * kMiB);
  execs(6, 22);
  EXPECT_EQ(held(), (512 + 64) * kMiB);
  EXPECT_TRUE(ended(before).has_value());
  EXPECT_FALSE(ended(after).has_value());
  EXPECT_EQ(broker_->snapshot().counters.processes_execed, 1U);
  execs(6, 22);
  EXPECT_EQ(broker_->snapshot().counters.processes_execed, 1U) << "nothing was left to end";
}

TEST_F(ExecTest, ASessionWhoseImageIsNotKnownStays) {
  lose(open_as(6, 0, 'x'));
  execs(6, 22);
  EXPECT_EQ(held(), (512 + 64) * kMiB);
  EXPECT_EQ(session(1).state, "suspect");
}

TEST_F(ExecTest, LeavesOrphansToo) {
  open_as(6, 11, 'x');
  execs(6, 22, {kin_of(7, 40 * kMiB)});
  EXPECT_EQ(held(), (512 + 40) * kMiB);
  EXPECT_EQ(orphaned("b"), 40 * kMiB);
  ends(7);
  EXPECT_EQ(held(), 512 * kMiB);
}

TEST_F(ExecTest, TheImageIsKnownAlsoAfterTheDaemonsDeath) {
  open_as(6, 11, 'x');
  start(true);
  EXPECT_EQ(held(), (512 + 64) * kMiB);
  execs(6, 11);
  EXPECT_EQ(held(), (512 + 64) * kMiB);
  execs(6, 22);
  EXPECT_EQ(held(), 512 * kMiB);
}

}  // namespace
}  // namespace membroker::broker::test
