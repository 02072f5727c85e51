#include "tests/sim/workload_runs.h"

#include <cstdio>
#include <fstream>

#include "shared/bytes.h"
#include "tests/sim/held_chart.h"
#include "tests/sim/jobs.h"
#include "tests/sim/report.h"

namespace membroker::sim {

namespace {

bool write_chart(const WorkloadRun& run, const Workload& workload, const Outcome& outcome) {
  HeldChart chart;
  chart.title =
      workload.name + " under " + run.policy + ", seed " + std::to_string(run.seed + run.runs - 1);
  chart.capacity = workload.capacity;
  for (const WorkloadTenant& tenant : workload.tenants) chart.tenants.push_back(tenant.path);
  std::ofstream file(run.svg);
  file << chart.svg(outcome.history) << std::flush;
  if (file.good()) return true;
  std::fprintf(stderr, "membroker-sim: cannot write the chart \"%s\"\n", run.svg.c_str());
  return false;
}

}  // namespace

int run_workload(const WorkloadRun& run) {
  const auto workload = load_workload(run.file);
  if (!workload) {
    std::fprintf(stderr, "%s\n", workload.error().message().c_str());
    return 2;
  }
  Outcome outcome;
  JobsOptions options{run.policy, run.seed, run.growth, run.checked};
  for (; options.seed < run.seed + run.runs; ++options.seed) {
    Jobs(*workload, options, outcome).run();
  }
  const std::int64_t growth = run.growth > 0 ? run.growth : workload->growth;
  const std::vector<Heading> headings = {{"workload", workload->name},
                                         {"policy", run.policy},
                                         {"seed", std::to_string(run.seed), true},
                                         {"runs", std::to_string(run.runs), true},
                                         {"growth", std::to_string(growth), true}};
  const auto figures = figures_of(outcome, workload->capacity);
  const bool json = run.output == "json";
  std::fputs((json ? json_text(headings, figures) : table_text(headings, figures)).c_str(), stdout);
  if (!run.svg.empty() && !write_chart(run, *workload, outcome)) return 1;
  if (outcome.wrong.empty()) return 0;
  std::fprintf(stderr, "FAILED %s\n", outcome.wrong.c_str());
  return 1;
}

}  // namespace membroker::sim
