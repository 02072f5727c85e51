#include "tests/e2e/sort_job.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <utility>

#include "client/cli/admin_client.h"
#include "tests/e2e/text.h"
#include "tests/kit/temporary_folder.h"

namespace membroker::e2e {

std::int64_t own_memory(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  std::int64_t sum = 0;
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssAnon:") || line.starts_with("RssShmem:")) {
      sum += std::atoll(line.c_str() + line.find(':') + 1) * 1024;
    }
  }
  return sum;
}

SortJob::SortJob(std::string folder, std::string name, std::string input,
                 std::vector<std::string> arguments)
    : folder_(std::move(folder)),
      name_(std::move(name)),
      input_(std::move(input)),
      arguments_(std::move(arguments)) {}

void SortJob::start(uid_t uid) {
  std::vector<std::string> command = prefix_;
  command.insert(command.end(),
                 {EXTERNAL_SORT, input_, "--output", output(), "--stats", file(".json")});
  command.insert(command.end(), arguments_.begin(), arguments_.end());
  process_ = std::make_unique<testing::ChildProcess>(command, file(".log"), uid);
}

int SortJob::wait() { return process_->wait(kJobWait); }

std::string SortJob::log() const { return testing::read_file(file(".log")); }

std::int64_t SortJob::stat(const std::string& key) const {
  const std::string json = testing::read_file(file(".json"));
  const std::string quoted = "\"" + key + "\":";
  const auto at = json.find(quoted);
  return at == std::string::npos ? -1 : std::atoll(json.c_str() + at + quoted.size());
}

struct BudgetWatch::Held {
  mutable std::mutex mutex;
  std::map<std::string, std::int64_t> by_tenant;
};

BudgetWatch::BudgetWatch(const std::string& admin_socket)
    : admin_socket_(admin_socket), held_(std::make_unique<Held>()), thread_([this] { run(); }) {}

BudgetWatch::~BudgetWatch() { stop(); }

void BudgetWatch::stop() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

void BudgetWatch::add(pid_t pid) {
  for (auto& slot : pids_) {
    pid_t none = 0;
    if (slot.compare_exchange_strong(none, pid)) return;
  }
}

std::int64_t BudgetWatch::held(const std::string& tenant) const {
  const std::lock_guard lock(held_->mutex);
  const auto at = held_->by_tenant.find(tenant);
  return at == held_->by_tenant.end() ? 0 : at->second;
}

void BudgetWatch::run() {
  cli::AdminClient admin(admin_socket_, 2'000);
  const auto look = [&] {
    for (std::size_t i = 0; i < kProcessesMax; ++i) {
      if (pids_[i] != 0) memory_[i] = std::max(memory_[i].load(), own_memory(pids_[i]));
    }
    const auto leases = admin.leases({});
    const auto status = admin.status();
    if (!leases || !status) return;  // the daemon is being restarted
    std::map<std::string, std::int64_t> by_tenant;
    std::int64_t sum = 0;
    std::int64_t debt = 0;
    for (const auto& lease : leases->leases()) {
      by_tenant[lease.tenant()] += lease.held_bytes();
      sum += lease.held_bytes();
      debt += lease.debt_bytes();
    }
    for (const auto& resource : status->resources()) {
      sum = std::max({sum, resource.held_bytes(), resource.peak_held_bytes()});
      debt = std::max({debt, resource.debt_bytes(), resource.peak_debt_bytes()});
    }
    peak_sum_ = std::max(peak_sum_.load(), sum);
    peak_debt_ = std::max(peak_debt_.load(), debt);
    ++samples_;
    const std::lock_guard lock(held_->mutex);
    held_->by_tenant = std::move(by_tenant);
  };
  while (!stopping_) {
    look();
    // Between two looks; ends early when stopped.
    testing::comes_true([&] { return stopping_.load(); }, std::chrono::milliseconds(20));
  }
}

}  // namespace membroker::e2e
