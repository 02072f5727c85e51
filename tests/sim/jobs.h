#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <vector>

#include "tests/sim/lender.h"
#include "tests/sim/outcome.h"
#include "tests/sim/workload.h"

/// \file
/// Runs a workload in virtual time. A job fills what a phase demands, piece by piece, asking for
/// memory as it goes; what it is refused it makes room for by spilling all it has (as a sort writes
/// a run), and what it is asked for it spills and gives back; then it works, reads back what it
/// spilled, and goes on to its next phase. What a job draws depends on the seed and its number
/// only, so that every lender sees the same jobs.

namespace membroker::sim {

struct JobsOptions {
  std::string policy = "fair";  // of kLenders
  std::uint64_t seed = 1;
  std::int64_t growth = 0;  // 0: the workload's
  bool checked = false;
};

class Jobs {
 public:
  Jobs(const Workload& workload, const JobsOptions& options, Outcome& outcome);

  /// Runs to the end and adds to the outcome.
  void run();

 private:
  enum class Doing { kFilling, kWaiting, kSpilling, kWorking, kPaused };
  enum class Act {
    kArrive,
    kOpen,
    kFill,
    kSpilled,
    kWorked,
    kAnswer,
    kGaveUp,
    kReport,
    kStop,
    kSuspect,
    kResume,
    kCrash,
    kSample
  };
  struct Planned {
    Instant at;
    std::uint64_t order = 0;
    std::size_t job = 0;
    Act act = Act::kFill;
    Bytes bytes = 0;
    bool operator>(const Planned& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };
  struct Job {
    const Group* group = nullptr;
    std::size_t tenant = 0;
    SessionId session;
    Rng rng{0};
    bool live = false;
    bool stopped = false;
    bool suspect = false;
    Bytes held = 0;
    Bytes floor = 0;
    Bytes used = 0;
    Bytes demand = 0;  // of this phase
    Bytes filled = 0;  // of it, in memory or spilled
    Bytes unread = 0;  // of it, spilled
    Bytes fill_rate = 0;
    Bytes spill_rate = 0;
    std::size_t phase = 0;
    std::int64_t round = 0;
    Doing doing = Doing::kFilling;
    bool answering = false;
    Bytes asked = 0;
    arbiter::Stage stage = arbiter::Stage::kSlack;
    std::uint64_t requests = 0;
    Instant arrived;
    Instant asked_at;
    Instant starved_since = Instant::never();
    std::vector<Planned> deferred;  // what it would have done while it was stopped
  };

  void plan(std::size_t job, Act act, Millis in, Bytes bytes = 0);
  void act(const Planned& planned);
  void act_of(Job& job, const Planned& planned);
  void step(const arbiter::Event* event);
  void apply(const arbiter::Event& event) { step(&event); }
  void hear(const arbiter::Effect& effect);
  void on(const arbiter::Granted& effect);
  void on(const arbiter::Denied& effect);
  void on(const arbiter::Revoke& effect);

  void arrive(std::size_t index);
  void open(Job& job);
  void begin_phase(Job& job);
  void fill(Job& job);
  void ask(Job& job);
  void spilled(Job& job);
  void worked(Job& job);
  void end(Job& job);
  void answer(Job& job);
  void answered(Job& job);
  void gave_up(Job& job, Bytes bytes);
  void release(Job& job, Bytes bytes);
  void progress(Job& job, arbiter::ProgressState state);
  void report(Job& job);
  void stop(Job& job);
  void resume(Job& job);
  void fed(Job& job);
  void sample();
  void judge(const std::vector<Bytes>& held);
  struct Shares {
    std::vector<double> of_tenant;      // of its own sessions
    std::vector<double> held_by_share;  // of each session
  };
  double demand_of(const std::string& path) const;
  void pour(const std::string& path, double part, Shares& shares) const;

  std::size_t index_of(const Job& job) const { return job.session.value - 1; }
  Job& job_of(SessionId session) { return jobs_[session.value - 1]; }
  static Bytes slack(const Job& job) { return job.held - job.floor - job.used; }
  static Bytes wanted(const Job& job);
  static Millis time_for(Bytes bytes, Bytes rate) { return 1 + bytes * 1000 / rate; }

  const Workload& workload_;
  const JobsOptions options_;
  const std::int64_t growth_;
  const Bytes chunk_;
  Outcome& outcome_;
  std::unique_ptr<Lender> lender_;
  Instant now_;
  std::deque<Job> jobs_;
  std::size_t over_ = 0;  // jobs that ended or crashed
  Instant last_end_;
  Bytes held_ = 0;
  std::priority_queue<Planned, std::vector<Planned>, std::greater<>> agenda_;
  std::uint64_t planned_ = 0;
};

/// What each of several claims gets of `total`: guarantees first, then by weight, none more than
/// its demand.
struct Claim {
  double demand = 0;
  double guarantee = 0;
  double weight = 1;
};
std::vector<double> fair_parts(double total, const std::vector<Claim>& claims);

/// Jain's index: 1 if all are equal, 1/n if one has everything.
double jain(const std::vector<double>& shares);

}  // namespace membroker::sim
