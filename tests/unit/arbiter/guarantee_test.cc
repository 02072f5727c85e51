#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "server/arbiter/arbiter.h"
#include "shared/format.h"
#include "tests/sim/rng.h"

/// \file
/// Invariant 2: what is asked for within a guarantee is granted within a spill deadline, if the
/// borrowers are honest and able to spill.

namespace membroker::arbiter {
namespace {

// One lender, whose whole guarantee is lent out; borrowers of other tenants that hold everything,
// want more all the time, and return what is asked of them in parts, the last at the deadline.
class Recall {
 public:
  explicit Recall(std::uint64_t seed) : rng_(seed) {
    TenantPolicy lender;
    lender.guarantee = rng_.between(16, 900) * kMiB;
    lender.weight = static_cast<std::int32_t>(rng_.between(1, 4));
    guarantee_ = lender.guarantee;
    apply(SetTenant{"lender", lender});
    apply(Open{kLender, "lender", "lender", 0, 0, false});
    const auto borrowers = static_cast<std::uint64_t>(rng_.between(1, 8));
    for (std::uint64_t i = 1; i <= borrowers; ++i) borrow(SessionId{1 + i}, borrowers);
    while (arbiter_.root().held < arbiter_.capacity()) {
      const SessionId session{2 + static_cast<std::uint64_t>(rng_.between(0, 7)) % borrowers};
      const Bytes bytes = std::min(rng_.between(1, 64) * kMiB, free());
      if (!acquire(session, bytes, bytes, 0)) break;
      report(session);
    }
    for (std::uint64_t i = 1; i <= borrowers; ++i) acquire(SessionId{1 + i}, 64 * kMiB, 1, 600'000);
  }

  // What was late, or nothing.
  std::string run() {
    while (arbiter_.lease(kLender)->held < guarantee_) {
      const Bytes more = guarantee_ - arbiter_.lease(kLender)->held;
      const Bytes want = std::min(more, rng_.between(1, 400) * kMiB);
      pending_ = ++requests_;
      bound_ = now_;
      apply(Acquire{kLender, {pending_}, want, want, 600'000, 0});
      while (pending_ != 0) {
        const Instant next = next_event();
        if (next > bound_) {
          return strf("%lld bytes asked for within the guarantee are not there at %lld ms",
                      static_cast<long long>(want), static_cast<long long>(bound_.ms));
        }
        step(next);
      }
      if (!denied_.empty()) return denied_;
    }
    return {};
  }

 private:
  static constexpr SessionId kLender{1};
  struct Part {
    Instant at;
    Bytes bytes = 0;
  };

  Bytes free() const { return arbiter_.capacity() - arbiter_.root().held; }

  void borrow(SessionId session, std::uint64_t tenants) {
    const std::string path = strf("b%d", static_cast<int>(rng_.between(1, 1 + tenants / 2)));
    TenantPolicy policy;
    policy.weight = static_cast<std::int32_t>(rng_.between(1, 10));
    apply(SetTenant{path, policy});
    apply(Open{session, strf("s%d", static_cast<int>(session.value)), path, 0, 0, false});
  }

  bool acquire(SessionId session, Bytes want, Bytes min, Millis wait) {
    const Bytes before = arbiter_.lease(session)->held;
    apply(Acquire{session, {++requests_}, want, min, wait, 0});
    return arbiter_.lease(session)->held > before;
  }
  void report(SessionId session) {
    const Bytes held = arbiter_.lease(session)->held;
    const Bytes slack = rng_.between(0, 3) == 0 ? held / 4 : 0;
    apply(Report{session, slack, held - slack});
  }

  Instant next_event() const {
    Instant next = arbiter_.next_deadline();
    for (const auto& [session, part] : parts_) next = std::min(next, part.at);
    return next;
  }

  void step(Instant next) {
    now_ = std::max(now_, next);
    for (auto& [session, part] : parts_) {
      if (part.at > now_) continue;
      const Bytes bytes = std::min(part.bytes, arbiter_.lease(session)->held);
      part.at = Instant::never();
      apply(Release{session, bytes});
      report(session);
      answer_rest(session);
      return;
    }
    Effects effects;
    arbiter_.expire(now_, effects);
    take(effects);
  }

  void answer_rest(SessionId session) {
    const LeaseView view = *arbiter_.lease(session);
    if (view.revoking > 0) plan_part(session, view.revoking, view.deadline);
  }
  // Half of it half-way, or the rest at the last moment.
  void plan_part(SessionId session, Bytes bytes, Instant deadline) {
    const bool half = bytes > kMiB && rng_.chance(500);
    const Millis left = std::max<Millis>(0, deadline - now_ - 1);
    parts_[session] = {now_ + (half ? left / 2 : left), half ? bytes / 2 : bytes};
  }

  void apply(const Event& event) {
    Effects effects;
    arbiter_.apply(now_, event, effects);
    take(effects);
  }
  void take(const Effects& effects) {
    for (const Effect& effect : effects) {
      if (const auto* revoke = std::get_if<Revoke>(&effect)) {
        plan_part(revoke->session, revoke->bytes, revoke->deadline);
      } else if (const auto* granted = std::get_if<Granted>(&effect)) {
        if (granted->request.value == pending_) pending_ = 0;
      } else if (const auto* denied = std::get_if<Denied>(&effect)) {
        if (denied->request.value == pending_) {
          pending_ = 0;
          denied_ = "a request within the guarantee is denied";
        }
      }
    }
    // Bytes that another's request made come serve this one too, and a release extends deadlines.
    for (const LeaseView& view : arbiter_.leases()) {
      if (view.revoking > 0) bound_ = std::max(bound_, view.deadline);
    }
  }

  sim::Rng rng_;
  Arbiter arbiter_{kGiB};
  Instant now_{0};
  Bytes guarantee_ = 0;
  std::uint64_t requests_ = 0;
  std::uint64_t pending_ = 0;
  std::string denied_;
  Instant bound_;
  std::map<SessionId, Part> parts_;
};

TEST(ArbiterGuarantee, IsRecalledWithinASpillDeadlineOfTheBorrowers) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    EXPECT_EQ(Recall(seed).run(), "") << "seed " << seed;
  }
}

}  // namespace
}  // namespace membroker::arbiter
