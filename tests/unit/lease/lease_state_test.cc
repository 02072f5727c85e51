#include "client/lease/lease_state.h"

#include <gtest/gtest.h>

namespace membroker::lease {
namespace {

constexpr Instant kStart{1'000};

LeaseState attached(Bytes granted, Bytes floor = 0) {
  LeaseState state;
  state.on_attached({granted, 0, 0}, floor, 0);
  return state;
}

TEST(LeaseStateTest, ReservesOnlyWhatIsFree) {
  LeaseState state = attached(100);
  EXPECT_TRUE(state.reserve(60));
  EXPECT_FALSE(state.reserve(41));
  EXPECT_EQ(state.free(), 40);
  state.unreserve(20);
  EXPECT_TRUE(state.reserve(60));
  EXPECT_EQ(state.free(), 0);
  state.check_invariants();
}

TEST(LeaseStateTest, OverdrawsWhatIsMissing) {
  LeaseState state = attached(100);
  EXPECT_EQ(state.overdraw(130), 30);
  EXPECT_EQ(state.totals(), (LeaseTotals{100, 30, 0}));
  EXPECT_EQ(state.debt(), 30);
  EXPECT_EQ(state.size(), 100);
  state.unreserve(50);
  EXPECT_EQ(state.owed(), 30);
  EXPECT_EQ(state.give_back(), 30);
  EXPECT_EQ(state.debt(), 0);
  EXPECT_EQ(state.free(), 20);
  state.check_invariants();
}

TEST(LeaseStateTest, DebtCoveredByTheDaemonBecomesLease) {
  LeaseState state = attached(100);
  state.overdraw(130);
  state.on_lease_set({100, 30, 0}, 0);
  EXPECT_EQ(state.debt(), 0);
  EXPECT_EQ(state.size(), 130);
  state.unreserve(30);
  EXPECT_EQ(state.give_back(), 0);
}

TEST(LeaseStateTest, ALeaseSetFromBeforeTheOverdraftKeepsTheDebt) {
  LeaseState state = attached(100);
  state.overdraw(130);
  state.on_lease_set({100, 10, 0}, 0);  // the daemon had read of 10 only, and covered them
  EXPECT_EQ(state.debt(), 20);
}

TEST(LeaseStateTest, TotalsNeverFall) {
  LeaseState state = attached(100);
  state.on_lease_set({60, 0, 0}, 0);
  EXPECT_EQ(state.totals().granted, 100);
  state.on_granted({7}, 10, 90);
  EXPECT_EQ(state.totals().granted, 100);
}

TEST(LeaseStateTest, ReturningLowersTheCapBeforeTheTotal) {
  LeaseState state = attached(100);
  ASSERT_TRUE(state.reserve(30));
  EXPECT_EQ(state.begin_return(50), 50);
  EXPECT_EQ(state.cap(), 50);
  EXPECT_EQ(state.totals().returned, 0);
  EXPECT_FALSE(state.reserve(21));
  state.finish_return(50);
  EXPECT_EQ(state.totals().returned, 50);
  EXPECT_EQ(state.cap(), 50);
  state.check_invariants();
}

TEST(LeaseStateTest, TheFloorIsKept) {
  LeaseState state = attached(100, 30);
  EXPECT_EQ(state.begin_return(100), 70);
  state.finish_return(70);
  EXPECT_EQ(state.cap(), 30);
}

TEST(LeaseStateTest, AGrantIsItsRequestsUntilTaken) {
  LeaseState state = attached(0);
  const LeaseRequest request = state.open_request(10, 40, false, 0, kStart, kStart + 500);
  EXPECT_EQ(request.wait, 500);
  state.on_granted(request.id, 40, 40);
  EXPECT_EQ(state.free(), 0);
  EXPECT_EQ(state.find(request.id)->earmarked, 40);
  EXPECT_FALSE(state.close_request(request.id));
  EXPECT_EQ(state.free(), 40);
  EXPECT_EQ(state.find(request.id), nullptr);
}

TEST(LeaseStateTest, AGrantWhoseCallerGaveUpIsSlack) {
  LeaseState state = attached(0);
  const LeaseRequest request = state.open_request(10, 40, false, 0, kStart, kStart + 500);
  EXPECT_TRUE(state.close_request(request.id));
  state.on_granted(request.id, 40, 40);
  EXPECT_EQ(state.free(), 40);
  state.on_granted(request.id, 40, 40);  // a repeat moves nothing
  EXPECT_EQ(state.free(), 40);
  EXPECT_EQ(state.open_count(), 0u);
}

TEST(LeaseStateTest, AttachingServesOpenRequestsFromGrantsThatWereLost) {
  LeaseState state = attached(0);
  const LeaseRequest first = state.open_request(10, 40, false, 0, kStart, kStart + 500);
  const LeaseRequest second = state.open_request(10, 40, false, 0, kStart, kStart + 900);
  const auto to_send = state.on_attached({45, 0, 0}, 0, 0);
  ASSERT_EQ(to_send, std::vector<RequestId>{second.id});
  EXPECT_EQ(state.find(first.id)->earmarked, 40);
  const auto again = state.unanswered(kStart + 300);
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again.front().wait, 600);
  state.check_invariants();
}

TEST(LeaseStateTest, GrowthDoublesToSixteenChunksAndFallsBack) {
  LeaseState state = attached(0);
  state.on_pulse(false, 100);
  Bytes total = 0;
  const auto ask = [&] {
    const LeaseRequest request = state.open_request(1, 1, true, 0, kStart, kStart);
    state.close_request(request.id);
    total += request.want;
    state.on_granted(request.id, request.want, total);
    return request.want;
  };
  for (const Bytes want : {100, 200, 400, 800, 1600, 1600}) EXPECT_EQ(ask(), want);
  state.on_pulse(true, 100);
  EXPECT_EQ(ask(), 1);
  state.on_pulse(false, 100);
  EXPECT_EQ(ask(), 100);
  const LeaseRequest denied = state.open_request(1, 1, true, 0, kStart, kStart);
  state.on_denied(denied.id, Error(ErrorCode::kResourcesExhausted, "no"));
  EXPECT_EQ(ask(), 100);
}

TEST(LeaseStateTest, ARevocationIsOpenUntilItsTargetIsReturned) {
  LeaseState state = attached(100);
  ASSERT_TRUE(state.reserve(80));
  state.on_revoke({{3}, 50, RevokeStage::kSpill, "fair_share", 200}, kStart);
  ASSERT_NE(state.revocation(), nullptr);
  EXPECT_EQ(state.revocation()->deadline, kStart + 200);
  EXPECT_EQ(state.give_back(), 20);
  EXPECT_EQ(state.revocation_left(), 30);
  state.unreserve(80);
  EXPECT_EQ(state.give_back(), 30);
  EXPECT_EQ(state.revocation(), nullptr);
  EXPECT_EQ(state.free(), 50);
}

TEST(LeaseStateTest, ATopUpReopensAndAWithdrawalEnds) {
  LeaseState state = attached(100);
  ASSERT_TRUE(state.reserve(100));
  state.on_revoke({{3}, 10, RevokeStage::kSpill, "fair_share", 200}, kStart);
  state.answer_revocation();
  EXPECT_EQ(state.revocation(), nullptr);
  state.on_revoke({{3}, 20, RevokeStage::kSpill, "fair_share", 200}, kStart);
  EXPECT_EQ(state.revocation_left(), 20);
  state.on_revoke({{3}, 0, RevokeStage::kSpill, "fair_share", 200}, kStart);
  EXPECT_EQ(state.revocation(), nullptr);
}

TEST(LeaseStateTest, IdleBytesAreWhatNobodyUsedForTheWholeTime) {
  LeaseState state = attached(1600 * kMiB, 10 * kMiB);
  EXPECT_EQ(state.idle(kStart), 0);  // a window begins
  Instant now = kStart;
  ASSERT_TRUE(state.reserve(1000 * kMiB));
  state.unreserve(1000 * kMiB);
  now = now + 999;
  EXPECT_EQ(state.idle(now), 0);
  now = now + 1;
  EXPECT_EQ(state.idle(now), (600 - 64) * kMiB);  // 600 were free all the time, 64 are kept
  const Bytes returned = state.begin_return(state.idle(now + 1'000));
  state.finish_return(returned);
  EXPECT_EQ(returned, (1600 - 64) * kMiB);
  now = now + 10'000;
  EXPECT_GT(state.idle(now), 0);
  EXPECT_EQ(state.idle(now + 10'000), 54 * kMiB);  // all but the floor
}

}  // namespace
}  // namespace membroker::lease
