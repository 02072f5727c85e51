#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <deque>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "server/arbiter/arbiter.h"
#include "shared/check.h"
#include "shared/format.h"
#include "tests/bench/figures.h"

/// \file
/// Decisions of the core per second: 50 % acquire, 40 % release, 10 % inventory at 95 % full. Some
/// tenants are at their limit: in them few sessions hold most and many come and go, so that
/// requests wait and revoke.

namespace membroker::bench {
namespace {

using namespace membroker::arbiter;  // NOLINT: its events are what is measured

constexpr Bytes kPerSession = 32 * kMiB;
constexpr int kTenants = 20;
constexpr int kFullTenants = 8;  // of them: at their limit
constexpr int kHogEvery = 2;     // of the sessions of a full tenant

// xorshift: its cost must not show.
class Dice {
 public:
  std::uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }
  std::int64_t below(std::int64_t bound) {
    return static_cast<std::int64_t>(
        (static_cast<unsigned __int128>(next()) * static_cast<unsigned __int128>(bound)) >> 64);
  }

 private:
  std::uint64_t state_ = 88172645463325252ull;
};

// Of this thread: the core has one, and what else the machine does is not its time.
double cpu_ns() {
  timespec used{};
  MB_CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) == 0);
  return static_cast<double>(used.tv_sec) * 1e9 + static_cast<double>(used.tv_nsec);
}

struct Figures {
  double per_second = 0;
  double visits = 0;
  double queued_or_revoking = 0;  // share of decisions that wait for an answer, or ask someone
  double full = 0;                // share of the capacity, mean
};

class Load {
 public:
  explicit Load(int sessions);
  Figures run(std::uint64_t decisions);

 private:
  void open_all();
  void decide();
  void acquire(std::size_t session);
  void release(std::size_t session);
  void answer();
  void report(std::size_t session);
  void apply(const Event& event);
  static bool in_full_tenant(std::size_t session) { return session % kTenants < kFullTenants; }
  static bool hog(std::size_t session) { return session / kTenants % kHogEvery == 0; }

  int sessions_;
  Arbiter arbiter_;
  Dice dice_;
  Instant now_;
  Effects effects_;
  std::vector<Bytes> held_;
  std::deque<std::pair<std::size_t, Bytes>> asked_;
  std::deque<std::size_t> changed_;
  Bytes all_ = 0;
  std::uint64_t requests_ = 0;
  std::uint64_t decisions_ = 0;
  std::uint64_t busy_ = 0;
  double full_sum_ = 0;
};

Load::Load(int sessions)
    : sessions_(sessions),
      arbiter_(kPerSession * sessions),
      held_(static_cast<std::size_t>(sessions), 0) {
  open_all();
}

// Sessions hold 4 to 26 MiB, 95 % of the capacity in all; the full tenants' limit is what they
// hold.
void Load::open_all() {
  std::vector<Bytes> sums(kTenants, 0);
  for (int i = 0; i < kTenants; ++i) apply(SetTenant{strf("t%d", i), {.weight = 1 + i % 4}});
  for (std::size_t i = 0; i < held_.size(); ++i) {
    const SessionId id{i + 1};
    const std::string tenant = strf("t%d", static_cast<int>(i % kTenants));
    apply(Open{id, strf("s%zu", i), tenant, 0, 0, false});
    Bytes bytes = 15 * kMiB + dice_.below(30 * kMiB + 800 * kKiB);
    if (in_full_tenant(i)) bytes = hog(i) ? 56 * kMiB : 4 * kMiB + 800 * kKiB;
    apply(Acquire{id, RequestId{++requests_}, bytes, bytes, 0, 0});
    apply(Report{id, 0, held_[i]});
    sums[i % kTenants] += held_[i];
  }
  for (int i = 0; i < kFullTenants; ++i) {
    TenantPolicy policy;
    policy.limit = sums[static_cast<std::size_t>(i)];
    apply(SetTenant{strf("t%d", i), policy});
  }
}

void Load::apply(const Event& event) {
  effects_.clear();
  arbiter_.apply(now_, event, effects_);
  for (const Effect& effect : effects_) {
    if (const auto* granted = std::get_if<Granted>(&effect)) {
      const std::size_t session = granted->session.value - 1;
      held_[session] += granted->bytes;
      if (hog(session) && in_full_tenant(session)) changed_.push_back(session);
      all_ += granted->bytes;
    } else if (const auto* revoke = std::get_if<Revoke>(&effect)) {
      asked_.emplace_back(revoke->session.value - 1, revoke->bytes);
    }
  }
}

void Load::acquire(std::size_t session) {
  Bytes want = 64 * kKiB + dice_.below(960 * kKiB);
  if (in_full_tenant(session)) want *= 12;
  apply(Acquire{SessionId{session + 1}, RequestId{++requests_}, want, want / 2, 5'000, 0});
  const bool answered = std::any_of(effects_.begin(), effects_.end(), [](const Effect& effect) {
    return std::holds_alternative<Granted>(effect) || std::holds_alternative<Denied>(effect);
  });
  if (!answered) ++busy_;
}

// Releases are the fewer decisions, so larger; they keep the whole at 95 %.
void Load::release(std::size_t session) {
  const bool full = all_ > kPerSession * sessions_ / 100 * 95;
  Bytes bytes = std::min(held_[session], dice_.below(full ? 3 * kMiB : kMiB));
  if (in_full_tenant(session)) bytes = hog(session) ? 0 : held_[session];
  held_[session] -= bytes;
  all_ -= bytes;
  apply(Release{SessionId{session + 1}, bytes});
}

// A client reports when what it holds has changed much.
void Load::report(std::size_t session) {
  if (!changed_.empty()) {
    session = changed_.front();
    changed_.pop_front();
  }
  const Bytes slack = std::min(held_[session], dice_.below(64) * kKiB);
  apply(Report{SessionId{session + 1}, slack, held_[session] - slack});
}

void Load::answer() {
  const auto [session, asked] = asked_.front();
  asked_.pop_front();
  const Bytes bytes = std::min(held_[session], asked);
  held_[session] -= bytes;
  all_ -= bytes;
  apply(Release{SessionId{session + 1}, bytes});
}

void Load::decide() {
  const auto session = static_cast<std::size_t>(dice_.below(sessions_));
  const std::int64_t kind = dice_.below(10);
  if (kind < 5) {
    acquire(session);
  } else if (kind == 9) {
    report(session);
  } else if (!asked_.empty()) {
    answer();
  } else {
    release(session);
  }
}

Figures Load::run(std::uint64_t decisions) {
  const std::uint64_t visits = arbiter_.node_visits();
  const double started = cpu_ns();
  for (std::uint64_t i = 0; i < decisions; ++i) {
    if (++decisions_ % 1'000 == 0) {  // a million decisions to the second
      now_ = now_ + 1;
      full_sum_ += static_cast<double>(all_);
      if (arbiter_.next_deadline() <= now_) {
        effects_.clear();
        arbiter_.expire(now_, effects_);
      }
    }
    decide();
  }
  const double took = cpu_ns() - started;
  const auto count = static_cast<double>(decisions);
  Figures figures;
  figures.per_second = count * 1e9 / took;
  figures.visits = static_cast<double>(arbiter_.node_visits() - visits) / count;
  figures.queued_or_revoking = static_cast<double>(busy_) / static_cast<double>(decisions_);
  figures.full = full_sum_ / (static_cast<double>(decisions_) / 1'000) /
                 static_cast<double>(arbiter_.capacity());
  return figures;
}

}  // namespace

int run_core_rate(bool quick) {
  const std::uint64_t decisions = quick ? 100'000 : 2'000'000;
  Figures small;
  for (const int sessions : {100, 1'000, 10'000, 100'000}) {
    Load load(sessions);
    load.run(decisions / 4);  // into its steady state
    const Figures figures = load.run(decisions);
    if (sessions == 100) small = figures;
    const std::string which = strf("%d sessions", sessions);
    // The target is for 1,000 sessions.
    const std::string rate = sessions == 1'000 ? "rate, " + which : which;
    print_figure("core_rate", rate, "M/s", "ours", figures.per_second / 1e6);
    std::fprintf(stderr,
                 "core_rate %d %.0f  (%.1f visits, %.1f %% queued or revoking, %.1f %% full)\n",
                 sessions, figures.per_second, figures.visits, 100 * figures.queued_or_revoking,
                 100 * figures.full);
    if (sessions != 100'000) continue;
    print_figure("core_rate", "visits, " + which, "per decision", "ours", figures.visits);
    print_figure("core_rate", "visits, " + which, "per decision", "peer:100 sessions",
                 small.visits);
    print_figure("core_rate", "time, " + which, "ns", "ours", 1e9 / figures.per_second);
    print_figure("core_rate", "time, " + which, "ns", "peer:100 sessions", 1e9 / small.per_second);
  }
  return 0;
}

}  // namespace membroker::bench

int main(int argc, char** argv) {
  bool quick = false;
  for (int i = 1; i < argc; ++i) quick = quick || std::strcmp(argv[i], "--quick") == 0;
  return membroker::bench::run_core_rate(quick);
}
