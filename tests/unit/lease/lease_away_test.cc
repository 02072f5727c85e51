// The lease while the daemon is away, in each mode, and what it does by time: virtual time, no
// thread, a source that only writes down.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "client/lease/lease_cache.h"
#include "shared/bytes.h"

namespace membroker::lease {
namespace {

using ::testing::HasSubstr;

class RecordingSource final : public LeaseSource {
 public:
  void acquire(const LeaseRequest& request) override { asked.push_back(request); }
  void cancel(RequestId id) override { cancelled.push_back(id); }
  void changed(bool urgent) override { told_urgently += urgent ? 1 : 0; }
  void progress(RevocationId, Bytes, RevokeState, const std::string&) override {}

  std::vector<LeaseRequest> asked;
  std::vector<RequestId> cancelled;
  int told_urgently = 0;
};

class LeaseAwayTest : public ::testing::Test {
 protected:
  void make(WhenAway when_away, Bytes standalone = 0, Bytes workspace = 0) {
    LeaseCacheOptions options;
    options.when_away = when_away;
    options.standalone = standalone;
    options.workspace = workspace;
    options.now = [this] { return now_; };
    cache_ = std::make_unique<LeaseCache>(std::move(options));
    source_ = std::make_shared<RecordingSource>();
    cache_->connect(source_);
    shard_ = std::make_unique<LeaseShard>(nullptr, account_);
    other_ = std::make_unique<LeaseShard>(nullptr, other_account_);
    cache_->add(*shard_);
    cache_->add(*other_);
  }
  void TearDown() override {
    if (!cache_) return;
    cache_->remove(*shard_);
    cache_->remove(*other_);
  }

  /// Attached, with `lent` lent and `used` of it used.
  void lend(Bytes lent, Bytes used) {
    granted_ = lent;
    cache_->on_attached({granted_, 0, 0}, 0, 0);
    ASSERT_TRUE(cache_->take(*shard_, used));
  }
  void lose(bool final = false) {
    cache_->on_detached(Error(ErrorCode::kUnavailable, "the test took it away"), final);
  }
  /// As a daemon that takes what Hello says and covers no debt.
  void come_back() {
    const LeaseTotals said = cache_->figures().totals;
    cache_->on_attached({granted_, said.overdrawn, said.returned}, 0, said.held() - lease_left());
  }
  Bytes lease_left() const { return std::min(granted_, cache_->figures().totals.held()); }

  LeaseWaiter waiter(Bytes min, Bytes want, Millis wait) {
    LeaseWaiter made;
    made.shard = shard_.get();
    made.min = min;
    made.want = want;
    made.deadline = now_ + wait;
    return made;
  }
  WaitStep try_grow(Bytes n) {
    LeaseWaiter brief = waiter(n, n, LeaseCache::kBriefWait);
    brief.brief = true;
    WaitStep step = cache_->poll(brief);
    if (step.state == WaitState::kWait) cache_->cancel(brief);
    return step;
  }
  Bytes held() const { return cache_->figures().totals.held(); }

  Instant now_{100'000};
  ShardAccount account_{.can_spill = true};
  ShardAccount other_account_{.can_spill = true};
  std::shared_ptr<RecordingSource> source_;
  std::unique_ptr<LeaseCache> cache_;
  std::unique_ptr<LeaseShard> shard_, other_;
  Bytes granted_ = 0;
};

// ---- fail ----

TEST_F(LeaseAwayTest, FailRefusesEvenWhatSlackWouldServe) {
  make(WhenAway::kFail);
  lend(10 * kMiB, 4 * kMiB);
  ASSERT_TRUE(shard_->take(1));  // of the shard's credit
  lose();
  EXPECT_FALSE(shard_->take(1)) << "the shard went on by itself";
  EXPECT_FALSE(cache_->take(*shard_, 1));
  const WaitStep step = try_grow(kMiB);
  ASSERT_EQ(step.state, WaitState::kRefused);
  EXPECT_EQ(step.refusal.code, ErrorCode::kUnavailable);
  EXPECT_THAT(step.refusal.reason, HasSubstr("the test took it away"));
  LeaseWaiter acquire = waiter(1, kMiB, 10'000);
  EXPECT_EQ(cache_->poll(acquire).state, WaitState::kRefused);
  EXPECT_EQ(shard_->size(), 4 * kMiB + 1);
  EXPECT_TRUE(cache_->give(*shard_, kMiB));
  cache_->grow(*shard_, kMiB);  // infallible in every mode
  EXPECT_EQ(shard_->size(), 4 * kMiB + 1);
  EXPECT_TRUE(source_->asked.empty());

  come_back();
  EXPECT_TRUE(cache_->take(*shard_, kMiB));
}

TEST_F(LeaseAwayTest, FailEndsTheWaitsThatAreUnderWay) {
  make(WhenAway::kFail);
  lend(4 * kMiB, kMiB);
  LeaseWaiter acquire = waiter(8 * kMiB, 8 * kMiB, 10'000);
  ASSERT_EQ(cache_->poll(acquire).state, WaitState::kWait);
  lose();
  EXPECT_EQ(cache_->poll(acquire).state, WaitState::kRefused);
}

// ---- wait ----

TEST_F(LeaseAwayTest, WaitServesFromSlackAndWaitsForTheRest) {
  make(WhenAway::kWait);
  lend(10 * kMiB, 4 * kMiB);
  lose();
  EXPECT_TRUE(cache_->take(*shard_, kMiB));
  EXPECT_EQ(try_grow(20 * kMiB).state, WaitState::kWait);
  LeaseWaiter acquire = waiter(20 * kMiB, 20 * kMiB, 10'000);
  WaitStep step = cache_->poll(acquire);
  ASSERT_EQ(step.state, WaitState::kWait);
  EXPECT_EQ(step.look_again, now_ + 10'000);
  now_ = now_ + 9'000;
  come_back();
  ASSERT_FALSE(source_->asked.empty());
  EXPECT_EQ(source_->asked.back().wait, 1'000) << "with the wait it has left";
  now_ = now_ + 1'000;
  step = cache_->poll(acquire);
  EXPECT_EQ(step.state, WaitState::kRefused);
  EXPECT_EQ(step.refusal.code, ErrorCode::kResourcesExhausted);
}

TEST_F(LeaseAwayTest, WhoGaveUpMeanwhileIsNotAskedForAgain) {
  make(WhenAway::kWait);
  lend(4 * kMiB, kMiB);
  LeaseWaiter acquire = waiter(8 * kMiB, 8 * kMiB, 60'000);
  ASSERT_EQ(cache_->poll(acquire).state, WaitState::kWait);
  ASSERT_EQ(source_->asked.size(), 1u);
  lose();
  cache_->cancel(acquire);
  come_back();
  EXPECT_EQ(source_->asked.size(), 1u);
  // Its grant may be on record all the same: then it is free bytes.
  cache_->on_granted(source_->asked[0].id, 8 * kMiB, 12 * kMiB);
  EXPECT_TRUE(cache_->take(*shard_, 8 * kMiB));
}

// ---- keep ----

TEST_F(LeaseAwayTest, KeepServesFromSlackAndRefusesTheRestAtOnce) {
  make(WhenAway::kKeep);
  lend(10 * kMiB, 4 * kMiB);
  lose();
  EXPECT_TRUE(cache_->take(*shard_, kMiB));
  const WaitStep step = try_grow(20 * kMiB);
  ASSERT_EQ(step.state, WaitState::kRefused);
  EXPECT_EQ(step.refusal.code, ErrorCode::kUnavailable);
  EXPECT_THAT(step.refusal.reason, HasSubstr("only within its lease"));
  LeaseWaiter too_much = waiter(20 * kMiB, 20 * kMiB, 10'000);
  EXPECT_EQ(cache_->poll(too_much).state, WaitState::kRefused);
  LeaseWaiter part = waiter(kMiB, 20 * kMiB, 10'000);
  const WaitStep got = cache_->poll(part);
  ASSERT_EQ(got.state, WaitState::kDone);
  EXPECT_EQ(got.granted, 5 * kMiB);
  EXPECT_EQ(held(), 10 * kMiB);
}

TEST_F(LeaseAwayTest, AFirstConnectionUnderWayIsNoAbsence) {
  make(WhenAway::kKeep);
  LeaseWaiter acquire = waiter(kMiB, kMiB, 10'000);
  EXPECT_EQ(cache_->poll(acquire).state, WaitState::kWait);
  lose();  // now it is known
  EXPECT_EQ(cache_->poll(acquire).state, WaitState::kRefused);
}

TEST_F(LeaseAwayTest, TheLeaseIsKeptHoweverIdle) {
  make(WhenAway::kKeep);
  lend(200 * kMiB, 100 * kMiB);
  ASSERT_TRUE(cache_->give(*shard_, 100 * kMiB));
  lose();
  for (int i = 0; i < 100; ++i) {
    now_ = now_ + 1'000;
    cache_->tick();
  }
  EXPECT_EQ(held(), 200 * kMiB);
  come_back();
  for (int i = 0; i < 20; ++i) {
    now_ = now_ + 1'000;
    cache_->tick();
  }
  EXPECT_EQ(held(), 0);
}

// ---- standalone ----

TEST_F(LeaseAwayTest, StandaloneGrowsByItselfUpToItsBytes) {
  make(WhenAway::kStandalone, 32 * kMiB);
  lend(10 * kMiB, 10 * kMiB);
  lose();
  const int told = source_->told_urgently;
  EXPECT_EQ(try_grow(20 * kMiB).state, WaitState::kDone);
  EXPECT_EQ(held(), 30 * kMiB);
  EXPECT_EQ(cache_->figures().totals.overdrawn, 20 * kMiB);
  EXPECT_EQ(cache_->debt(), 20 * kMiB);
  const WaitStep step = try_grow(3 * kMiB);
  ASSERT_EQ(step.state, WaitState::kRefused);
  EXPECT_EQ(step.refusal.code, ErrorCode::kUnavailable);
  EXPECT_EQ(step.refusal.available, 2 * kMiB);
  EXPECT_EQ(try_grow(2 * kMiB).state, WaitState::kDone);
  EXPECT_EQ(try_grow(1).state, WaitState::kRefused);
  EXPECT_TRUE(cache_->give(*shard_, kMiB));
  EXPECT_EQ(source_->told_urgently, told) << "there is nobody to be told";
}

TEST_F(LeaseAwayTest, StandaloneRepaysFirstAndTheDaemonLearnsOfTheRest) {
  make(WhenAway::kStandalone, 32 * kMiB);
  lend(10 * kMiB, 10 * kMiB);
  lose();
  ASSERT_EQ(try_grow(20 * kMiB).state, WaitState::kDone);
  ASSERT_TRUE(cache_->give(*shard_, 5 * kMiB));
  EXPECT_EQ(held(), 25 * kMiB);
  EXPECT_EQ(cache_->debt(), 15 * kMiB);
  ASSERT_EQ(try_grow(7 * kMiB).state, WaitState::kDone) << "what was repaid may be taken again";
  EXPECT_EQ(held(), 32 * kMiB);
  const LeaseTotals hello = cache_->figures().totals;
  EXPECT_EQ(hello.granted + hello.overdrawn - hello.returned, shard_->size());

  come_back();
  EXPECT_EQ(cache_->debt(), 22 * kMiB);
  EXPECT_EQ(try_grow(kMiB).state, WaitState::kWait) << "the budget is for absences";
  ASSERT_TRUE(cache_->give(*shard_, 30 * kMiB));
  EXPECT_EQ(cache_->debt(), 0);
  EXPECT_EQ(held(), 10 * kMiB);
}

TEST_F(LeaseAwayTest, StandaloneServesAClientThatNeverReachedTheDaemon) {
  make(WhenAway::kStandalone, 32 * kMiB, 8 * kMiB);
  LeaseWaiter acquire = waiter(8 * kMiB, 16 * kMiB, 10'000);
  ASSERT_EQ(cache_->poll(acquire).state, WaitState::kWait);
  ASSERT_EQ(source_->asked.size(), 1u) << "the source connects at the first request";
  EXPECT_TRUE(cache_->poll_workspace(*other_).wait);
  lose();
  WaitStep step = cache_->poll(acquire);
  ASSERT_EQ(step.state, WaitState::kDone);
  EXPECT_EQ(step.granted, 16 * kMiB);
  EXPECT_EQ(cache_->poll_workspace(*other_).to_acquire, 8 * kMiB);
  ASSERT_TRUE(cache_->take(*other_, 8 * kMiB));

  // The session opens with no floor left for it: its workspace is not taken a second time.
  cache_->on_attached({0, 24 * kMiB, 0}, 0, 24 * kMiB);
  EXPECT_EQ(source_->asked.size(), 1u) << "served meanwhile, so not asked again";
  EXPECT_EQ(held(), 24 * kMiB);
}

TEST_F(LeaseAwayTest, StandaloneToldNoByTheDaemonHasNoWorkspaceToWaitFor) {
  make(WhenAway::kStandalone, 32 * kMiB, 8 * kMiB);
  cache_->on_detached(Error(ErrorCode::kNotFound, "no tenant etl"), true);
  const WorkspaceStep step = cache_->poll_workspace(*other_);
  EXPECT_FALSE(step.wait);
  ASSERT_TRUE(step.refusal.has_value());
  EXPECT_EQ(step.refusal->code(), ErrorCode::kNotFound);
}

TEST_F(LeaseAwayTest, StandaloneAcquireHasOthersSpill) {
  make(WhenAway::kStandalone, 16 * kMiB);
  lose();
  ASSERT_TRUE(cache_->take(*other_, 12 * kMiB));
  LeaseWaiter acquire = waiter(8 * kMiB, 8 * kMiB, 10'000);
  ASSERT_EQ(cache_->poll(acquire).state, WaitState::kWait);
  const auto need = cache_->spill_need();
  ASSERT_TRUE(need);
  EXPECT_EQ(need->bytes, 4 * kMiB);
  EXPECT_FALSE(need->only_asker);
  ASSERT_TRUE(cache_->give(*other_, 4 * kMiB));  // it spilled
  const WaitStep step = cache_->poll(acquire);
  ASSERT_EQ(step.state, WaitState::kDone);
  EXPECT_EQ(step.granted, 8 * kMiB);
  EXPECT_EQ(held(), 16 * kMiB);
}

TEST_F(LeaseAwayTest, StandaloneWaiterGoesOnWithTheDaemon) {
  make(WhenAway::kStandalone, 16 * kMiB);
  lend(0, 0);
  lose();
  ASSERT_TRUE(cache_->take(*other_, 16 * kMiB));
  LeaseWaiter acquire = waiter(8 * kMiB, 8 * kMiB, 10'000);
  ASSERT_EQ(cache_->poll(acquire).state, WaitState::kWait);
  const auto need = cache_->spill_need();
  ASSERT_TRUE(need);
  cache_->spill_failed(*need, "nobody can");
  const WaitStep step = cache_->poll(acquire);
  ASSERT_EQ(step.state, WaitState::kRefused);
  EXPECT_THAT(step.refusal.reason, HasSubstr("nobody can"));
}

TEST_F(LeaseAwayTest, ARefusalIsNoAbsence) {
  make(WhenAway::kStandalone, 32 * kMiB);
  cache_->on_detached(Error(ErrorCode::kNotFound, "no such tenant"), true);
  const WaitStep step = try_grow(kMiB);
  ASSERT_EQ(step.state, WaitState::kRefused);
  EXPECT_EQ(step.refusal.code, ErrorCode::kNotFound);
  // Who is refused makes the source look again: the tenant may have been made since.
  EXPECT_EQ(source_->asked.size(), 1u);
  lose();
  EXPECT_EQ(try_grow(kMiB).state, WaitState::kDone) << "now it is away";
}

TEST_F(LeaseAwayTest, AClosedLeaseDoesNotGrowByItself) {
  make(WhenAway::kStandalone, 32 * kMiB);
  lend(kMiB, kMiB);
  lose();
  ASSERT_EQ(try_grow(kMiB).state, WaitState::kDone);
  cache_->close(Error(ErrorCode::kClosed, "closed"));
  EXPECT_EQ(try_grow(kMiB).state, WaitState::kRefused);
  ASSERT_TRUE(cache_->give(*shard_, 2 * kMiB));
  EXPECT_EQ(held(), 0);
}

// ---- watermarks ----

TEST_F(LeaseAwayTest, BelowTheLowMarkTheNextGrowthIsAskedForBeforeItIsMissed) {
  make(WhenAway::kWait);
  granted_ = 64 * kMiB;
  cache_->on_attached({granted_, 0, 0}, 0, 0);
  cache_->on_pulse(false, kMiB);
  ASSERT_TRUE(cache_->take(*shard_, 50 * kMiB));
  EXPECT_TRUE(source_->asked.empty());
  ASSERT_TRUE(cache_->take(*other_, 13 * kMiB + 512 * kKiB));
  ASSERT_EQ(source_->asked.size(), 1u);
  EXPECT_EQ(source_->asked[0].wait, 0) << "a prefetch takes what is free, and waits for nobody";
  // One at a time, and after a refusal not again for a second.
  cache_->on_denied(source_->asked[0].id, Error(ErrorCode::kResourcesExhausted, "full"));
  ASSERT_TRUE(cache_->give(*other_, 64 * kKiB));
  ASSERT_TRUE(cache_->take(*other_, 96 * kKiB));
  EXPECT_EQ(source_->asked.size(), 1u);
  now_ = now_ + kIdleSoon;
  ASSERT_TRUE(cache_->take(*other_, 96 * kKiB));
  EXPECT_EQ(source_->asked.size(), 2u);
}

TEST_F(LeaseAwayTest, NothingIsPrefetchedWhileTightOrWhileARevocationIsOpen) {
  make(WhenAway::kWait);
  granted_ = 64 * kMiB;
  cache_->on_attached({granted_, 0, 0}, 0, 0);
  cache_->on_pulse(true, kMiB);
  ASSERT_TRUE(cache_->take(*shard_, 63 * kMiB + 512 * kKiB));
  EXPECT_TRUE(source_->asked.empty());
  cache_->on_pulse(false, kMiB);
  cache_->on_revoke({{7}, 60 * kMiB, RevokeStage::kSpill, "fair_share", 2'000});
  EXPECT_FALSE(cache_->take(*shard_, kKiB)) << "what is free is the revocation's";
  EXPECT_TRUE(source_->asked.empty());
}

}  // namespace
}  // namespace membroker::lease
