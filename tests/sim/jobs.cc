#include "tests/sim/jobs.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "server/arbiter/rules.h"
#include "shared/check.h"
#include "shared/format.h"

namespace membroker::sim {

namespace {

using namespace membroker::arbiter;  // NOLINT: one function for each of its events and effects

constexpr Millis kSampleEvery = 100;
constexpr Millis kReportEvery = 500;
constexpr Millis kRoundTrip = 1;
constexpr Millis kTtl = 5'000;
constexpr Bytes kSpillPiece = 32 * kMiB;

}  // namespace

Jobs::Jobs(const Workload& workload, const JobsOptions& options, Outcome& outcome)
    : workload_(workload),
      options_(options),
      growth_(options.growth > 0 ? options.growth : workload.growth),
      chunk_(chunk_of(workload.capacity)),
      outcome_(outcome),
      lender_(make_lender(options.policy, workload, options.checked)) {}

void Jobs::run() {
  ++outcome_.runs;
  outcome_.history.clear();
  for (const WorkloadTenant& tenant : workload_.tenants) {
    apply(SetTenant{tenant.path, tenant.policy});
  }
  std::uint64_t number = 0;
  for (const Group& group : workload_.groups) {
    Rng arrivals(options_.seed * 7919 + ++number);
    Instant at{group.start};
    for (std::int64_t i = 0; i < group.count; ++i) {
      at = at + group.every.draw(arrivals);
      Job& job = jobs_.emplace_back();
      job.group = &group;
      job.session = SessionId{jobs_.size()};
      job.rng = Rng(options_.seed * 1'000'003 + jobs_.size());
      const auto& tenants = workload_.tenants;
      const auto tenant = std::find_if(tenants.begin(), tenants.end(),
                                       [&](const auto& t) { return t.path == group.tenant; });
      job.tenant = static_cast<std::size_t>(tenant - tenants.begin());
      plan(index_of(job), Act::kArrive, at.ms);
    }
  }
  plan(0, Act::kSample, 0);
  while (over_ < jobs_.size() && now_.ms < workload_.run_for && outcome_.wrong.empty()) {
    const Instant deadline = lender_->next_deadline();
    if (deadline <= agenda_.top().at) {
      now_ = std::max(now_, deadline);
      step(nullptr);
      continue;
    }
    const Planned planned = agenda_.top();
    agenda_.pop();
    now_ = planned.at;
    act(planned);
  }
  for (Job& job : jobs_) {
    if (job.live) fed(job);
  }
  outcome_.unfinished += std::ssize(jobs_) - static_cast<std::ptrdiff_t>(over_);
  outcome_.makespan += over_ == jobs_.size() ? last_end_.ms : workload_.run_for;
}

// ---- machinery ----

void Jobs::plan(std::size_t job, Act act, Millis in, Bytes bytes) {
  agenda_.push({now_ + in, ++planned_, job, act, bytes});
}

void Jobs::step(const Event* event) {
  Effects effects;
  if (event != nullptr) {
    lender_->apply(now_, *event, effects);
  } else {
    lender_->expire(now_, effects);
  }
  for (const Effect& effect : effects) hear(effect);
  outcome_.peak_held = std::max(outcome_.peak_held, held_);
  std::string wrong = lender_->complaint();
  if (held_ > workload_.capacity) {
    wrong = strf("%lld bytes are lent", static_cast<long long>(held_));
  }
  if (wrong.empty() || !outcome_.wrong.empty()) return;
  outcome_.wrong =
      strf("--seed %llu at %lld ms: %s", static_cast<unsigned long long>(options_.seed),
           static_cast<long long>(now_.ms), wrong.c_str());
}

void Jobs::act(const Planned& planned) {
  if (planned.act == Act::kSample) {
    sample();
    plan(0, Act::kSample, kSampleEvery);
    return;
  }
  Job& job = jobs_[planned.job];
  if (planned.act == Act::kArrive) {
    arrive(planned.job);
    return;
  }
  if (!job.live) return;
  const bool from_outside =
      planned.act == Act::kSuspect || planned.act == Act::kResume || planned.act == Act::kCrash;
  if (job.stopped && !from_outside) {
    job.deferred.push_back(planned);
    return;
  }
  act_of(job, planned);
}

void Jobs::act_of(Job& job, const Planned& planned) {
  switch (planned.act) {
    case Act::kOpen: open(job); return;
    case Act::kFill: fill(job); return;
    case Act::kSpilled: spilled(job); return;
    case Act::kWorked: worked(job); return;
    case Act::kAnswer: answer(job); return;
    case Act::kGaveUp: gave_up(job, planned.bytes); return;
    case Act::kReport:
      report(job);
      plan(planned.job, Act::kReport, kReportEvery);
      return;
    case Act::kStop: stop(job); return;
    case Act::kSuspect:
      if (!job.stopped) return;
      job.suspect = true;
      apply(Suspect{job.session});
      return;
    case Act::kResume: resume(job); return;
    case Act::kCrash:
      ++outcome_.crashed;
      end(job);
      return;
    default: return;
  }
}

void Jobs::hear(const Effect& effect) {
  if (const auto* opened = std::get_if<Opened>(&effect)) {
    Job& job = job_of(opened->session);
    job.floor = job.held = opened->floor;
    held_ += opened->floor;
  } else if (const auto* refused = std::get_if<OpenRefused>(&effect)) {
    MB_CHECK(refused->session.value > 0);
    plan(refused->session.value - 1, Act::kOpen, 1'000);
  } else if (const auto* granted = std::get_if<Granted>(&effect)) {
    on(*granted);
  } else if (const auto* denied = std::get_if<Denied>(&effect)) {
    on(*denied);
  } else if (const auto* revoke = std::get_if<Revoke>(&effect)) {
    on(*revoke);
  } else if (const auto* withdraw = std::get_if<Withdraw>(&effect)) {
    ++outcome_.withdrawn;
    job_of(withdraw->session).asked = 0;
  } else if (const auto* overdue = std::get_if<Overdue>(&effect)) {
    ++outcome_.late;
    Job& job = job_of(overdue->session);
    if (job.answering) job.asked = overdue->bytes;
  }
}

void Jobs::on(const Granted& effect) {
  Job& job = job_of(effect.session);
  outcome_.waits.push_back(now_ - job.asked_at);
  job.held += effect.bytes;
  held_ += effect.bytes;
  fed(job);
  plan(index_of(job), Act::kFill, kRoundTrip);
}

void Jobs::on(const Denied& effect) {
  Job& job = job_of(effect.session);
  if (!job.live) return;
  outcome_.waits.push_back(now_ - job.asked_at);
  if (effect.reason == DenyReason::kSelfSpill) {
    ++outcome_.denied_self_spill;
  } else if (effect.reason == DenyReason::kDeadline) {
    ++outcome_.denied_deadline;
  } else {
    ++outcome_.denied_otherwise;
  }
  if (job.used > 0 && !job.stopped && !job.answering) {
    job.doing = Doing::kSpilling;
    plan(index_of(job), Act::kSpilled, time_for(job.used, job.spill_rate));
  } else {
    plan(index_of(job), Act::kFill, std::max<Millis>(effect.retry_after, 100));
  }
}

void Jobs::on(const Revoke& effect) {
  ++(effect.opened ? outcome_.revocations : outcome_.top_ups);
  Job& job = job_of(effect.session);
  job.asked = effect.bytes;
  job.stage = effect.stage;
  if (job.answering) return;
  job.answering = true;
  plan(index_of(job), Act::kAnswer, kRoundTrip);
}

// ---- the life of a job ----

void Jobs::arrive(std::size_t index) {
  Job& job = jobs_[index];
  job.live = true;
  job.arrived = now_;
  job.fill_rate = job.group->fill.draw(job.rng);
  job.spill_rate = job.group->spill.draw(job.rng);
  if (job.group->conduct == Conduct::kStop) {
    plan(index, Act::kStop, job.group->after.draw(job.rng));
  } else if (job.group->conduct == Conduct::kCrash) {
    plan(index, Act::kCrash, job.group->after.draw(job.rng));
  }
  open(job);
  begin_phase(job);
  plan(index, Act::kReport, kReportEvery);
}

void Jobs::open(Job& job) {
  Open event;
  event.session = job.session;
  event.name =
      strf("%s-%llu", job.group->name.c_str(), static_cast<unsigned long long>(job.session.value));
  event.tenant = job.group->tenant;
  event.priority = job.group->priority;
  event.floor = job.group->floor;
  event.optional_floor = true;
  apply(event);
}

void Jobs::begin_phase(Job& job) {
  job.demand = job.group->phases[job.phase].demand.draw(job.rng);
  job.filled = job.used = job.unread = 0;
  release(job, slack(job) - job.demand);
  fill(job);
}

// A revocation is served before more is filled.
void Jobs::fill(Job& job) {
  if (job.answering) {
    job.doing = Doing::kPaused;
    return;
  }
  if (job.filled >= job.demand) {
    job.doing = Doing::kWorking;
    const Phase& phase = job.group->phases[job.phase];
    plan(index_of(job), Act::kWorked, phase.lasts.draw(job.rng));
    return;
  }
  const Bytes piece = std::min({slack(job), job.demand - job.filled, chunk_});
  if (piece <= 0) {
    ask(job);
    return;
  }
  job.doing = Doing::kFilling;
  job.used += piece;
  job.filled += piece;
  plan(index_of(job), Act::kFill, time_for(piece, job.fill_rate));
}

void Jobs::ask(Job& job) {
  job.doing = Doing::kWaiting;
  if (job.held <= job.floor) job.starved_since = std::min(job.starved_since, now_);
  report(job);
  job.asked_at = now_;
  Acquire event;
  event.session = job.session;
  event.request = RequestId{++job.requests};
  event.want = std::min(job.demand - job.filled, growth_ * chunk_);
  event.min = std::min(event.want, chunk_);
  event.wait = job.group->wait;
  event.priority = job.group->priority;
  apply(event);
}

void Jobs::fed(Job& job) {
  if (job.starved_since == Instant::never()) return;
  outcome_.longest_starved = std::max(outcome_.longest_starved, now_ - job.starved_since);
  job.starved_since = Instant::never();
}

void Jobs::spilled(Job& job) {
  outcome_.spilled += job.used;
  job.unread += job.used;
  job.used = 0;
  if (lender_->takes_back_after_spill()) release(job, slack(job));
  fill(job);
}

void Jobs::worked(Job& job) {
  if (job.unread > 0) {
    plan(index_of(job), Act::kWorked, time_for(std::exchange(job.unread, 0), job.spill_rate));
    return;
  }
  if (++job.phase == job.group->phases.size()) {
    job.phase = 0;
    ++job.round;
  }
  if (job.round < job.group->rounds) {
    begin_phase(job);
    return;
  }
  ++outcome_.ended;
  if (job.group->conduct == Conduct::kHonest) outcome_.job_times.push_back(now_ - job.arrived);
  end(job);
}

void Jobs::end(Job& job) {
  fed(job);
  held_ -= std::exchange(job.held, 0);
  job.live = false;
  ++over_;
  last_end_ = now_;
  apply(Gone{job.session});
}

// ---- answers to revocations ----

void Jobs::answer(Job& job) {
  switch (job.group->conduct) {
    case Conduct::kIgnore: answered(job); return;
    case Conduct::kLie:
      progress(job, ProgressState::kDone);
      answered(job);
      return;
    default: break;
  }
  if (job.doing == Doing::kSpilling) {  // what it spills for itself may do
    plan(index_of(job), Act::kAnswer, kRoundTrip);
    return;
  }
  const Bytes unused = std::min(slack(job), job.asked);
  release(job, unused);
  job.asked -= unused;
  if (job.asked <= 0) {
    answered(job);
    return;
  }
  if (job.stage == Stage::kSlack || job.used == 0) {
    progress(job, job.used == 0 ? ProgressState::kCannot : ProgressState::kDone);
    answered(job);
    return;
  }
  const Bytes piece = std::min({job.asked, job.used, kSpillPiece});
  plan(index_of(job), Act::kGaveUp, time_for(piece, job.spill_rate), piece);
}

void Jobs::gave_up(Job& job, Bytes bytes) {
  const Bytes freed = std::min(bytes, job.used);
  job.used -= freed;
  job.unread += freed;
  outcome_.spilled += freed;
  if (job.group->conduct == Conduct::kHalf && job.asked > 0) {
    release(job, std::min(freed, job.asked) / 2);
    progress(job, ProgressState::kDone);
    answered(job);
    return;
  }
  answer(job);
}

void Jobs::answered(Job& job) {
  job.answering = false;
  job.asked = 0;
  if (job.doing == Doing::kPaused) plan(index_of(job), Act::kFill, kRoundTrip);
}

void Jobs::release(Job& job, Bytes bytes) {
  if (bytes <= 0) return;
  job.held -= bytes;
  held_ -= bytes;
  apply(Release{job.session, bytes});
}

void Jobs::progress(Job& job, ProgressState state) {
  Progress event;
  event.session = job.session;
  event.state = state;
  event.slack = slack(job);
  event.reclaimable = job.used;
  apply(event);
}

void Jobs::report(Job& job) { apply(Report{job.session, slack(job), job.used}); }

// ---- stopped ----

void Jobs::stop(Job& job) {
  job.stopped = true;
  plan(index_of(job), Act::kSuspect, kTtl);
  plan(index_of(job), Act::kResume, job.group->stopped_for.draw(job.rng));
}

void Jobs::resume(Job& job) {
  job.stopped = false;
  if (std::exchange(job.suspect, false)) {
    apply(Resumed{job.session, job.held, slack(job), job.used});
  }
  for (const Planned& deferred : std::exchange(job.deferred, {})) {
    plan(deferred.job, deferred.act, kRoundTrip, deferred.bytes);
  }
  plan(index_of(job), Act::kStop, job.group->after.draw(job.rng));
}

// ---- samples ----

Bytes Jobs::wanted(const Job& job) {
  if (job.stopped || job.doing == Doing::kWorking) return job.floor + job.used;
  return job.floor + job.demand - job.unread;
}

void Jobs::sample() {
  std::vector<Bytes> held(workload_.tenants.size(), 0);
  Bytes wants = 0;
  Bytes used = 0;
  for (const Job& job : jobs_) {
    if (!job.live) continue;
    held[job.tenant] += job.held;
    used += job.used;
    wants += wanted(job);
  }
  ++outcome_.samples;
  outcome_.held += static_cast<double>(held_);
  outcome_.used += static_cast<double>(used);
  outcome_.wanted += static_cast<double>(std::min(wants, workload_.capacity));
  if (wants > workload_.capacity) judge(held);
  outcome_.history.push_back({now_, std::move(held)});
}

// Poured from the root down; the sessions of a tenant stand beside its sub-tenants. What each
// tenant's sessions hold is judged, wherever it is in the tree.
void Jobs::judge(const std::vector<Bytes>& held) {
  Shares shares;
  pour("", static_cast<double>(workload_.capacity), shares);
  std::vector<double> by_tenant;
  for (std::size_t i = 0; i < held.size(); ++i) {
    if (shares.of_tenant[i] >= 1)
      by_tenant.push_back(static_cast<double>(held[i]) / shares.of_tenant[i]);
  }
  ++outcome_.contended;
  outcome_.tenant_fairness += jain(by_tenant);
  outcome_.session_fairness += jain(shares.held_by_share);
}

double Jobs::demand_of(const std::string& path) const {
  double demand = 0;
  for (const Job& job : jobs_) {
    if (job.live && job.group->tenant == path) demand += static_cast<double>(wanted(job));
  }
  double limit = static_cast<double>(workload_.capacity);
  for (const WorkloadTenant& tenant : workload_.tenants) {
    if (tenant.path == path) limit = static_cast<double>(tenant.policy.limit);
    if (parent_path(tenant.path) == path) demand += demand_of(tenant.path);
  }
  return std::min(demand, limit);
}

void Jobs::pour(const std::string& path, double part, Shares& shares) const {
  std::vector<Claim> claims;
  std::vector<const Job*> members;
  std::vector<const WorkloadTenant*> below;
  for (const Job& job : jobs_) {
    if (!job.live || job.group->tenant != path) continue;
    members.push_back(&job);
    claims.push_back({static_cast<double>(wanted(job)), 0, 1});
  }
  for (const WorkloadTenant& tenant : workload_.tenants) {
    if (parent_path(tenant.path) != path) continue;
    below.push_back(&tenant);
    const auto guarantee = static_cast<double>(guaranteed(workload_.tenants, tenant.path));
    claims.push_back(
        {demand_of(tenant.path), guarantee, static_cast<double>(tenant.policy.weight)});
  }
  const std::vector<double> parts = fair_parts(part, claims);
  shares.of_tenant.resize(workload_.tenants.size(), 0);
  for (std::size_t i = 0; i < members.size(); ++i) {
    shares.of_tenant[members[i]->tenant] += parts[i];
    if (parts[i] >= 1)
      shares.held_by_share.push_back(static_cast<double>(members[i]->held) / parts[i]);
  }
  for (std::size_t i = 0; i < below.size(); ++i) {
    pour(below[i]->path, parts[members.size() + i], shares);
  }
}

std::vector<double> fair_parts(double total, const std::vector<Claim>& claims) {
  std::vector<double> parts;
  for (const Claim& claim : claims) parts.push_back(std::min(claim.demand, claim.guarantee));
  for (const double part : parts) total -= part;
  for (bool met = true; met;) {
    double weights = 0;
    for (std::size_t i = 0; i < claims.size(); ++i) {
      if (parts[i] < claims[i].demand) weights += claims[i].weight;
    }
    if (weights == 0 || total <= 0) break;
    met = false;
    const double each = total / weights;
    for (std::size_t i = 0; i < claims.size(); ++i) {
      const double lacks = claims[i].demand - parts[i];
      if (lacks <= 0 || lacks > each * claims[i].weight) continue;
      total -= lacks;
      parts[i] = claims[i].demand;
      met = true;
    }
    if (met) continue;
    for (std::size_t i = 0; i < claims.size(); ++i) {
      if (parts[i] < claims[i].demand) parts[i] += each * claims[i].weight;
    }
  }
  return parts;
}

double jain(const std::vector<double>& shares) {
  double sum = 0;
  double squares = 0;
  for (const double share : shares) {
    sum += share;
    squares += share * share;
  }
  if (squares == 0) return 1;
  return sum * sum / (static_cast<double>(shares.size()) * squares);
}

}  // namespace membroker::sim
