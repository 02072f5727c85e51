#include "server/app/daemon.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <asio/io_context.hpp>
#include <asio/signal_set.hpp>
#include <asio/steady_timer.hpp>
#include <atomic>
#include <chrono>
#include <csignal>
#include <ctime>
#include <filesystem>
#include <optional>
#include <utility>

#include "server/app/command_line.h"
#include "server/app/pressure_loop.h"
#include "server/app/reload.h"
#include "server/app/service.h"
#include "server/app/stored_tenants.h"
#include "server/broker/boot_id.h"
#include "server/broker/state_store.h"
#include "server/broker/translate.h"
#include "server/broker/usage_recorder.h"
#include "server/rpc/broker_server.h"
#include "shared/format.h"

namespace membroker::app {
namespace {

using broker::log_text;

constexpr std::chrono::seconds kStatusInterval{5};

Status make_directory(const std::string& path, std::filesystem::perms mode) {
  std::error_code error;
  if (std::filesystem::create_directories(path, error)) {
    std::filesystem::permissions(path, mode, error);
  }
  if (error) return fail(errno_error("make the directory " + path, error.value()));
  return {};
}

// What the state store says of the life that begins; the clock's word where it cannot be asked.
struct Beginning {
  std::optional<broker::StateStore> store;
  broker::StateStore::Life life;
};

Beginning begin_life(const AppConfig& config, const std::string& boot) {
  const auto wall_seconds = static_cast<std::int64_t>(std::time(nullptr));
  Beginning result;
  auto made = make_directory(config.state_directory, std::filesystem::perms::owner_all);
  auto store = made ? broker::StateStore::open(config.state_directory)
                    : Result<broker::StateStore>(fail(made.error()));
  auto life = store ? store->begin_life(boot, wall_seconds)
                    : Result<broker::StateStore::Life>(fail(store.error()));
  if (life) {
    result.store = std::move(*store);
    result.life = *life;
    return result;
  }
  // Safe without it: the clock's epoch is above all before unless the clock was set back, and a
  // ledger that is not there is taken for lost.
  result.life = {Epoch{static_cast<std::uint64_t>(std::max<std::int64_t>(wall_seconds, 1))}, true};
  spdlog::error("state_store_unavailable epoch={} why={}", result.life.epoch.value,
                log_text(life.error().message()));
  return result;
}

void log_problems(const char* event, const std::vector<std::string>& problems) {
  for (const std::string& problem : problems) spdlog::warn("{} why={}", event, log_text(problem));
}

// All that a reload does not take over, to be compared.
std::string fixed_at_start(AppConfig config) {
  config.broker.tenants.clear();
  config.broker.resources.clear();
  config.pressure = {};
  return print_config(config);
}

rpc::AcceptorOptions door(const AppConfig& config, const std::string& path, unsigned mode) {
  rpc::AcceptorOptions options;
  options.path = path;
  options.mode = mode;
  options.connections_max = config.broker.limits.sessions_max;
  options.connections_per_uid_max = config.broker.limits.sessions_per_uid_max;
  options.allow_unwatched = config.allow_unwatched;
  return options;
}

}  // namespace

class Daemon::Impl {
 public:
  Impl(AppConfig config, std::string config_file)
      : config_(std::move(config)),
        config_file_(std::move(config_file)),
        fixed_(fixed_at_start(config_)) {}

  Status start();
  void run();

 private:
  void fit_to_descriptors();
  Status start_broker(InheritedSockets& sockets);
  rpc::BrokerServer::Options server_options(InheritedSockets& sockets);
  void wait_for_signal();
  void reload_config();
  void tick();
  std::string status() const;

  AppConfig config_;
  const std::string config_file_;
  const std::string fixed_;
  std::optional<broker::StateStore> store_;
  std::optional<broker::UsageStore> usage_store_;
  std::unique_ptr<rpc::BrokerServer> broker_;
  std::optional<broker::UsageRecorder> usage_recorder_;
  asio::io_context io_{1};
  asio::signal_set signals_{io_, SIGTERM, SIGINT, SIGHUP};
  asio::steady_timer timer_{io_};
  std::optional<PressureLoop> pressure_;
  // Watchdog: the broker's thread answers with the number it was last asked.
  std::uint64_t asked_ = 0;
  std::shared_ptr<std::atomic<std::uint64_t>> answered_ =
      std::make_shared<std::atomic<std::uint64_t>>(0);  // shared: a job may outlive this object
};

void Daemon::Impl::fit_to_descriptors() {
  const std::uint64_t descriptors = raise_descriptor_limit();
  const std::uint32_t most = connections_for(descriptors);
  broker::BrokerLimits& limits = config_.broker.limits;
  if (limits.sessions_max <= most) return;
  spdlog::warn(
      "sessions_max_lowered from={} to={} descriptors={} why=\"three are needed for each\"",
      limits.sessions_max, most, descriptors);
  limits.sessions_max = most;
  limits.sessions_per_uid_max = std::min(limits.sessions_per_uid_max, most);
}

Status Daemon::Impl::start_broker(InheritedSockets& sockets) {
  const auto boot = broker::boot_id();
  if (!boot) return fail(boot.error());
  // First: a second daemon must not begin a life of the one that runs.
  auto locked = broker::Ledger::lock(config_.ledger_file());
  if (!locked) return fail(locked.error());
  Beginning beginning = begin_life(config_, *boot);
  store_ = std::move(beginning.store);
  usage_store_.emplace(config_.state_directory);
  broker::BrokerConfig merged = config_.broker;
  if (store_) {
    const auto stored = store_->tenants();
    if (!stored) {
      spdlog::error("stored_tenants_unreadable why={}", log_text(stored.error().message()));
    } else {
      log_problems("stored_tenant_left_out", merge_stored_tenants(*stored, merged));
    }
  }
  const std::size_t slots =
      std::size_t{merged.limits.sessions_max} * std::max<std::size_t>(1, merged.resources.size());
  auto ledger = broker::Ledger::open(std::move(*locked), config_.ledger_file(), slots,
                                     beginning.life.ledger_expected);
  if (!ledger) return fail(ledger.error());
  auto started = rpc::BrokerServer::start(std::move(merged), beginning.life.epoch,
                                          std::move(*ledger), server_options(sockets));
  if (!started) return fail(started.error());
  broker_ = std::move(*started);
  usage_recorder_.emplace(*usage_store_, [this] { return broker_->snapshot(); });
  spdlog::info("daemon_started version={} pid={} epoch={} socket={} tenants={}", MEMBROKER_VERSION,
               ::getpid(), beginning.life.epoch.value, log_text(config_.broker_socket()),
               config_.broker.tenants.size());
  return {};
}

rpc::BrokerServer::Options Daemon::Impl::server_options(InheritedSockets& sockets) {
  rpc::BrokerServer::Options options;
  options.clients = {door(config_, config_.broker_socket(), config_.socket_mode),
                     std::move(sockets.broker)};
  options.admins = {door(config_, config_.admin_socket(), config_.admin_socket_mode),
                    std::move(sockets.admin)};
  options.admin = {.uids = config_.admin_uids,
                   .gids = config_.admin_gids,
                   .version = MEMBROKER_VERSION,
                   .store = store_ ? &*store_ : nullptr,
                   .usage = &*usage_store_};
  return options;
}

Status Daemon::Impl::start() {
  fit_to_descriptors();
  auto sockets = inherited_sockets();
  if (!sockets) return fail(sockets.error());
  using std::filesystem::perms;
  constexpr perms kOpenToAll = perms::owner_all | perms::group_read | perms::group_exec |
                               perms::others_read | perms::others_exec;
  if (auto made = make_directory(config_.runtime_directory, kOpenToAll); !made) return made;
  if (auto started = start_broker(*sockets); !started) return started;
  pressure_.emplace(io_, *broker_);
  pressure_->configure(config_.pressure);
  notify_ready(status());
  return {};
}

std::string Daemon::Impl::status() const {
  const auto snapshot = broker_->snapshot();
  std::string text = strf("%zu sessions", snapshot->sessions.size());
  for (const broker::ResourceRow& resource : snapshot->resources) {
    text += strf("; %s: %s of %s lent", resource.name.c_str(),
                 format_bytes(resource.root.held).c_str(), format_bytes(resource.capacity).c_str());
  }
  return text;
}

void Daemon::Impl::reload_config() {
  notify_reloading();
  auto next = load_config(config_file_, ConfigHost::system());
  if (!next) {
    spdlog::error("reload_failed why={}", log_text(next.error().message()));
    notify_ready("reload failed, the old configuration stays: " + next.error().message());
    return;
  }
  if (fixed_at_start(*next) != fixed_) {
    log_problems("reload_problem",
                 {"only [resources], [pressure] and [[tenant]] are taken over; all else needs a "
                  "restart"});
  }
  broker_->post([before = config_.broker, after = next->broker](broker::Broker& broker,
                                                                Instant now) {
    const ReloadReport report = reload(before, after, broker, now);
    log_problems("reload_problem", report.problems);
    spdlog::info("config_reloaded tenants_set={} tenants_removed={} capacities_set={} problems={}",
                 report.tenants_set, report.tenants_removed, report.capacities_set,
                 report.problems.size());
  });
  config_.broker = next->broker;
  pressure_->configure(next->pressure);
  notify_ready(status());
}

void Daemon::Impl::wait_for_signal() {
  signals_.async_wait([this](const asio::error_code& error, int signal) {
    if (error) return;
    if (signal == SIGHUP) {
      reload_config();
      wait_for_signal();
      return;
    }
    spdlog::info("daemon_stopping signal={}", signal == SIGTERM ? "TERM" : "INT");
    io_.stop();
  });
}

// Status for systemd, and its watchdog: only if the broker's thread has done a job since the last
// time.
void Daemon::Impl::tick() {
  if (asked_ == *answered_) {
    notify_watchdog();
    const std::uint64_t number = ++asked_;
    broker_->post([answered = answered_, number](broker::Broker&, Instant) { *answered = number; });
  }
  notify_status(status());
  const auto watchdog = watchdog_interval();
  timer_.expires_after(watchdog ? std::min<std::chrono::milliseconds>(*watchdog, kStatusInterval)
                                : kStatusInterval);
  timer_.async_wait([this](const asio::error_code& error) {
    if (!error) tick();
  });
}

void Daemon::Impl::run() {
  wait_for_signal();
  tick();
  io_.run();
  notify_stopping();
  pressure_.reset();
  usage_recorder_.reset();
  broker_->shutdown();
  spdlog::info("daemon_stopped");
}

Daemon::Daemon(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Daemon::~Daemon() = default;

Result<std::unique_ptr<Daemon>> Daemon::start(AppConfig config, std::string config_file) {
  auto impl = std::make_unique<Impl>(std::move(config), std::move(config_file));
  if (auto started = impl->start(); !started) return fail(started.error());
  return std::unique_ptr<Daemon>(new Daemon(std::move(impl)));
}

void Daemon::run() { impl_->run(); }

}  // namespace membroker::app
