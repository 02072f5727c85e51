// What processes leave behind: forked children with their pages, and sessions of an image that is
// no more.

#include <gmock/gmock.h>

#include "tests/unit/broker/broker_fixture.h"

namespace membroker::broker::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

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
  void measured(const std::map<pid_t, Bytes>& shares) {
    std::vector<MeasuredShare> all;
    for (const auto& [pid, bytes] : shares) all.push_back({peer_of(pid), bytes});
    broker_->orphans_measured(all, now_);
    deliver();
  }
  std::vector<pid_t> unneeded() {
    std::vector<pid_t> pids;
    for (const Peer& peer : broker_->take_unneeded()) pids.push_back(peer.pid);
    return pids;
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

TEST_F(OrphanTest, ChildrenThatShareTheirPagesAreAllCharged) {
  // Each is seen to hold all that its parent had: they share it.
  ends(1, {kin_of(2, 512 * kMiB), kin_of(3, 512 * kMiB), kin_of(4, 1'024 * kMiB)});
  ASSERT_THAT(orphans(), SizeIs(3));
  EXPECT_LE(held(), 512 * kMiB);
  EXPECT_GE(held(), 512 * kMiB - 3);
  measured({{2, 170 * kMiB}, {3, 170 * kMiB}, {4, 170 * kMiB}});
  ends(2);
  ends(4);
  measured({{3, 512 * kMiB}});
  EXPECT_EQ(held(), 512 * kMiB) << "the last one has all of it";
  ends(3);
  EXPECT_EQ(held(), 0);
}

TEST_F(OrphanTest, ChildrenAreChargedNoMoreThanTheirParentHad) {
  ends(1, {kin_of(2, 300 * kMiB), kin_of(3, 300 * kMiB)});
  EXPECT_EQ(held(), 512 * kMiB);
  measured({{2, 400 * kMiB}});
  EXPECT_EQ(held(), 512 * kMiB) << "the other's part is not its own";
  measured({{3, 112 * kMiB}});
  EXPECT_EQ(held(), 512 * kMiB) << "what one gives up the other, measured before, has";
  ends(3);
  EXPECT_EQ(held(), 400 * kMiB);
  measured({{2, 600 * kMiB}});
  EXPECT_EQ(held(), 512 * kMiB);
}

TEST_F(OrphanTest, AChildOfWhichNothingCouldBeReadIsChargedAllThatItsParentHad) {
  Kin unread = kin_of(2, 0);
  unread.bytes.reset();
  ends(1, {unread});
  EXPECT_EQ(held(), 512 * kMiB);
  measured({{2, 100 * kMiB}});
  EXPECT_EQ(held(), 100 * kMiB);
}

TEST_F(OrphanTest, NobodyIsAskedForAnythingWhenAFullMachineGetsOrphans) {
  const ConnectionId b = hold(5, "b", 512 * kMiB, 'b');
  send(b, {inventory(0, 0, 512 * kMiB)});
  const ConnectionId waiter = attach(6, hello("c", claim(0), 'c'));
  ends(1, {kin_of(2, 300 * kMiB), kin_of(3, 300 * kMiB)});
  EXPECT_EQ(held(), kCapacity);
  EXPECT_EQ(counters().revoked, 0U);
  measured({{2, 100 * kMiB}});
  measured({{2, 256 * kMiB}});  // charged again: in one event, too
  EXPECT_EQ(held(), kCapacity);
  EXPECT_EQ(counters().revoked, 0U);
  EXPECT_FALSE(received(b).revoke().has_value());
  lose(waiter);
}

TEST_F(OrphanTest, WhatIsMeasuredReplacesWhatWasAssumed) {
  ends(1, {kin_of(2, 200 * kMiB)});
  measured({{2, 50 * kMiB}});
  EXPECT_EQ(held(), 50 * kMiB);
  measured({{2, 80 * kMiB}});
  EXPECT_EQ(held(), 80 * kMiB);
  measured({{2, 80 * kMiB + 1'000}});
  EXPECT_EQ(held(), 80 * kMiB) << "not worth an event";
  measured({{9, 80 * kMiB}});  // none of ours
  measured({{2, 0}});
  EXPECT_EQ(held(), 80 * kMiB) << "has ended: to be told with the children it leaves";
  ends(2);
  EXPECT_EQ(held(), 0);
  EXPECT_THAT(orphans(), SizeIs(0));
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
  measured({{2, 150 * kMiB}});
  dead_.insert(3);  // while nobody looks
  start(true);
  EXPECT_EQ(held(), 150 * kMiB);
  EXPECT_EQ(orphaned("a"), 150 * kMiB);
  ASSERT_EQ(broker_->take_orphans(), std::vector<Peer>{peer_of(2)});
  EXPECT_THAT(broker_->snapshot().sessions, SizeIs(0));
  const ConnectionId b = hold(5, "b", 10 * kMiB);
  EXPECT_GT(broker_->snapshot().sessions[0].id.value, orphans()[0].view.session.value);
  measured({{2, 20 * kMiB}});
  EXPECT_EQ(held(), 30 * kMiB);
  ends(2);
  EXPECT_EQ(held(), 10 * kMiB);
  lose(b);
}

TEST_F(OrphanTest, SiblingsKeepWhatTheyHoldOverTheDaemonsDeath) {
  ends(1, {kin_of(2, 200 * kMiB), kin_of(3, 200 * kMiB)});
  start(true);
  measured({{2, 200 * kMiB}, {3, 200 * kMiB}});
  EXPECT_EQ(held(), 400 * kMiB);
  ends(2);
  measured({{3, 500 * kMiB}});
  EXPECT_EQ(held(), 400 * kMiB) << "all that is known of what their parent had";
}

TEST_F(OrphanTest, AFullLedgerHasThePlaceOfTheParentForIt) {
  while (ledger_->claim({}, {})) {
  }
  broker_->process_ended(peer_of(1), now_, {kin_of(2, 200 * kMiB)});
  const std::vector<LedgerEntry> entries = ledger_->entries();
  const bool on_record = std::any_of(entries.begin(), entries.end(), [](const LedgerEntry& entry) {
    return entry.identity.orphan_of == 1 && entry.totals.held() == 200 * kMiB;
  });
  EXPECT_TRUE(on_record);
}

TEST_F(OrphanTest, ThoseOfTwoProcessesWithOneNumberAreCappedEachByItsOwn) {
  ends(1, {kin_of(2, 300 * kMiB)});
  Peer again = peer_of(1);
  ++again.start_time;
  dead_.clear();
  const ConnectionId id{++last_connection_};
  broker_->connected(id, again, now_);
  v1::ClientFrame frame;
  frame.set_attach(1);
  *frame.add_messages()->mutable_hello() = hello("b", claim(0), 'b');
  broker_->received(id, frame, now_);
  attaches_[id] = 1;
  send(id, {acquire(1, 100 * kMiB, 100 * kMiB, 0)});
  broker_->process_ended(again, now_, {kin_of(3, 100 * kMiB)});
  deliver();
  ASSERT_THAT(orphans(), SizeIs(2));
  measured({{2, 512 * kMiB}, {3, 200 * kMiB}});
  EXPECT_EQ(orphaned("a"), 512 * kMiB) << "all that its parent had";
  EXPECT_EQ(orphaned("b"), 100 * kMiB);
}

TEST_F(OrphanTest, OneThatCannotBeWatchedAtTheDaemonsStartStaysCharged) {
  ends(1, {kin_of(2, 200 * kMiB)});
  unwatchable_ = true;
  start(true);
  EXPECT_EQ(held(), 200 * kMiB);
  unwatchable_ = false;
  start(true);
  EXPECT_EQ(held(), 200 * kMiB);
  ends(2);
  EXPECT_EQ(held(), 0);
}

TEST_F(OrphanTest, OneThatCannotBeWatchedIsChargedUntilItsMeasuringSeesItsEnd) {
  unwatchable_ = true;
  ends(1, {kin_of(2, 200 * kMiB)});
  EXPECT_EQ(held(), 200 * kMiB);
  measured({{2, 100 * kMiB}});
  EXPECT_EQ(held(), 100 * kMiB);
  measured({{2, 0}});
  EXPECT_EQ(held(), 0);
  EXPECT_THAT(orphans(), SizeIs(0));
}

// ---- limits ----

TEST_F(OrphanTest, TheyTakeTheirUsersPlacesAndHalfOfThemAtMost) {
  config_.limits.sessions_per_uid_max = 4;
  start(true);
  ends(1, {kin_of(2, 10 * kMiB), kin_of(3, 90 * kMiB), kin_of(4, 80 * kMiB)});
  EXPECT_EQ(held(), 170 * kMiB) << "the two largest";
  EXPECT_EQ(broker_->snapshot().counters.orphans_unmeasured, 1U);
  const auto refused = [&](pid_t pid, uid_t uid) {
    return ended(attach(pid, hello("b", claim(0)), 1, uid)).has_value();
  };
  EXPECT_FALSE(refused(11, 1000));
  EXPECT_FALSE(refused(12, 1000));
  EXPECT_TRUE(refused(13, 1000)) << "two sessions and two orphans";
  EXPECT_FALSE(refused(14, 1001)) << "another user's";
  ends(3);
  EXPECT_FALSE(refused(15, 1000));
}

TEST_F(OrphanTest, AUserWithoutFreePlacesHasThatOfTheProcessThatEnds) {
  config_.limits.sessions_per_uid_max = 2;
  hold(9, "b", 10 * kMiB);
  start(true);
  ends(1, {kin_of(2, 10 * kMiB), kin_of(3, 20 * kMiB)});
  EXPECT_EQ(orphaned("a"), 20 * kMiB);
}

TEST_F(OrphanTest, TheyLeaveHalfOfAllPlacesToSessions) {
  config_.limits.sessions_max = 5;
  start(true);
  std::vector<Kin> many;
  for (pid_t pid = 20; pid < 30; ++pid) many.push_back(kin_of(pid, 10 * kMiB));
  ends(1, many);
  EXPECT_THAT(orphans(), SizeIs(3));
  const auto refused = [&](pid_t pid) {
    return ended(attach(pid, hello("b", claim(0)), 1, 1001)).has_value();
  };
  EXPECT_FALSE(refused(11));
  EXPECT_FALSE(refused(12));
  EXPECT_TRUE(refused(13));
}

// ---- who need not be watched ----

TEST_F(OrphanTest, AProcessNeedNotBeWatchedWhenItsLastSessionHasGone) {
  const ConnectionId first = attach(6, hello("b", claim(0), 'x'));
  const ConnectionId second = attach(6, hello("b", claim(0), 'y'));
  send(first, {goodbye()});
  EXPECT_THAT(unneeded(), IsEmpty());
  send(second, {goodbye()});
  EXPECT_THAT(unneeded(), ElementsAre(6));
  EXPECT_THAT(unneeded(), IsEmpty()) << "each once";
  send(attach(6, hello("b", claim(0), 'z')), {goodbye()});
  attach(6, hello("b", claim(0), 'z'));
  EXPECT_THAT(unneeded(), IsEmpty()) << "it has come again";
}

TEST_F(OrphanTest, AChildThatIsNotChargedNeedNotBeWatched) {
  hold(4, "b", 10 * kMiB);
  ends(1, {kin_of(2, 1'000), kin_of(3, 10 * kMiB), kin_of(4, 10 * kMiB)});
  EXPECT_THAT(unneeded(), UnorderedElementsAre(1, 2));
  ends(3);
  EXPECT_THAT(unneeded(), ElementsAre(3));
}

TEST_F(OrphanTest, ASessionFoundUnwatchedIsWatchedWhenItResumes) {
  unwatchable_ = true;
  start(true);
  EXPECT_EQ(held(), 512 * kMiB);
  EXPECT_TRUE(ended(attach(1, hello("a", claim(0)), 2)).has_value()) << "nobody would see its end";
  unwatchable_ = false;
  EXPECT_FALSE(ended(attach(1, hello("a", claim(0)), 3)).has_value());
  EXPECT_EQ(session().state, "active");
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

TEST_F(ExecTest, AnOrphanThatExecsLeavesItsOwnChildren) {
  ends(1, {kin_of(2, 200 * kMiB)});  // of image 7
  execs(2, 7, {kin_of(3, 200 * kMiB)});
  ASSERT_THAT(orphans(), SizeIs(1)) << "the same image: no exec of its own";
  EXPECT_EQ(orphans()[0].orphan_pid, 2);
  execs(2, 22, {kin_of(3, 150 * kMiB)});
  ASSERT_THAT(orphans(), SizeIs(1));
  EXPECT_EQ(orphans()[0].orphan_pid, 3);
  EXPECT_EQ(held(), 150 * kMiB);
  EXPECT_EQ(orphaned("a"), 150 * kMiB);
  ends(2);
  EXPECT_EQ(held(), 150 * kMiB);
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
