#include "membroker/client.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "client/client_child.h"
#include "client/client_options.h"
#include "client/lease/fixed_source.h"
#include "client/lease/fork_guard.h"
#include "client/memory/consumer_state.h"
#include "client/memory/lease_pool.h"
#include "client/transport/daemon_link.h"
#include "membroker/allocator.h"
#include "membroker/spill.h"
#include "shared/format.h"

namespace membroker {
namespace {

// No sum with it overflows.
std::chrono::milliseconds bounded(std::chrono::milliseconds timeout) {
  constexpr std::chrono::milliseconds kYear = std::chrono::hours(24 * 365);
  return std::clamp(timeout, -kYear, kYear);
}

ResourceStats stats_of(const std::string& resource, const LeaseStats& lease) {
  ResourceStats stats;
  stats.resource = resource;
  stats.held_bytes = lease.figures.totals.held();
  stats.reserved_bytes = lease.figures.reserved;
  stats.slack_bytes = lease.figures.slack;
  stats.reclaimable_bytes = lease.figures.reclaimable;
  stats.allocated_bytes = lease.figures.allocated;
  stats.spilled_bytes = lease.figures.spilled;
  stats.floor_bytes = lease.figures.floor;
  stats.debt_bytes = lease.debt;
  stats.peak_held_bytes = lease.peak_held;
  stats.peak_reserved_bytes = lease.peak_reserved;
  stats.granted_total = lease.figures.totals.granted;
  stats.overdrawn_total = lease.figures.totals.overdrawn;
  stats.returned_total = lease.figures.totals.returned;
  stats.requests_asked = lease.requests_asked;
  stats.requests_granted = lease.requests_granted;
  stats.requests_denied = lease.requests_denied;
  stats.revocations_asked = lease.revocations_asked;
  stats.revocations_answered = lease.revocations_answered;
  stats.revocations_late = lease.revocations_late;
  return stats;
}

ConnectionState state_of(transport::LinkState state) {
  switch (state) {
    case transport::LinkState::kIdle: return ConnectionState::kIdle;
    case transport::LinkState::kConnecting: return ConnectionState::kConnecting;
    case transport::LinkState::kAttached: return ConnectionState::kAttached;
    case transport::LinkState::kAway: return ConnectionState::kAway;
    case transport::LinkState::kRefused: return ConnectionState::kRefused;
    case transport::LinkState::kEnded: return ConnectionState::kClosed;
  }
  return ConnectionState::kIdle;
}

lease::WhenAway mode_of(WhenAway::Mode mode) {
  switch (mode) {
    case WhenAway::Mode::kFail: return lease::WhenAway::kFail;
    case WhenAway::Mode::kWait: return lease::WhenAway::kWait;
    case WhenAway::Mode::kKeep: return lease::WhenAway::kKeep;
    case WhenAway::Mode::kStandalone: return lease::WhenAway::kStandalone;
  }
  return lease::WhenAway::kWait;
}

}  // namespace

std::string_view connection_state_name(ConnectionState state) noexcept {
  switch (state) {
    case ConnectionState::kIdle: return "idle";
    case ConnectionState::kConnecting: return "connecting";
    case ConnectionState::kAttached: return "attached";
    case ConnectionState::kAway: return "away";
    case ConnectionState::kRefused: return "refused";
    case ConnectionState::kClosed: return "closed";
    case ConnectionState::kForked: return "forked";
    case ConnectionState::kEmbedded: return "embedded";
  }
  return "unknown";
}

/// Thread-safe: what other threads read is written before the client is handed out.
struct Client::Impl {
  struct Resource {
    std::string name;
    std::shared_ptr<LeasePool> pool;
  };

  std::vector<Resource> resources;
  std::shared_ptr<transport::DaemonLink> link;  // null: embedded
  WhenAway when_away;
  std::int64_t child_budget_bytes = 0;
  std::atomic<detail::ChildBudget*> child_budget{nullptr};  // never freed: a child has no end of it
  std::atomic<bool> closed{false};
  std::mutex mutex;  // guards the rest, which is made at the first call
  std::shared_ptr<BufferAllocator> allocator;
  std::shared_ptr<SpillWorkspace> workspace;
  bool makes_workspace = false;  // a thread does
  std::condition_variable workspace_made;

  /// `workspace_bytes` is of the first resource's lease.
  void add_pool(const ResourceOptions& options, std::int64_t workspace_bytes,
                std::int32_t priority) {
    LeaseOptions lease;
    lease.floor = options.floor_bytes;
    lease.workspace = resources.empty() ? workspace_bytes : 0;
    lease.priority = priority;
    // The bytes are the first resource's: of another they would mean something else.
    const bool keeps = !resources.empty() && when_away.mode == WhenAway::Mode::kStandalone;
    lease.when_away = keeps ? lease::WhenAway::kKeep : mode_of(when_away.mode);
    lease.standalone = resources.empty() ? when_away.bytes : 0;
    resources.push_back({options.name, LeasePool::make(options.name, std::move(lease))});
  }
  Result<std::shared_ptr<SpillWorkspace>> spill_workspace(std::chrono::milliseconds timeout);
  Result<std::shared_ptr<SpillWorkspace>> make_workspace(Deadline::Clock::time_point until);
  bool forked() const { return link && transport::DaemonLink::forked(); }
  detail::ChildBudget* child();
  std::vector<CloseHolder> holders() const;
  CloseReport close();
  void end();
};

// Null: not in a forked child, or it has no budget. Takes no lock that the parent may have held.
detail::ChildBudget* Client::Impl::child() {
  if (!forked() || child_budget_bytes == 0) return nullptr;
  const std::uint64_t generation = lease::fork_generation();
  detail::ChildBudget* seen = child_budget.load(std::memory_order_acquire);
  if (seen != nullptr && seen->generation() == generation) return seen;
  auto made =
      std::make_unique<detail::ChildBudget>(resources.front().name, child_budget_bytes, generation);
  if (child_budget.compare_exchange_strong(seen, made.get())) return made.release();
  return seen;  // another thread's
}

std::vector<CloseHolder> Client::Impl::holders() const {
  std::vector<CloseHolder> holders;
  for (const Resource& resource : resources) {
    for (PoolHolder& holder : resource.pool->holders()) {
      holders.push_back(
          {resource.name, std::move(holder.consumer), holder.held_bytes, std::move(holder.within)});
    }
  }
  std::stable_sort(holders.begin(), holders.end(),
                   [](const auto& a, const auto& b) { return a.held_bytes > b.held_bytes; });
  return holders;
}

// One thread makes it: two would take its bytes twice. Inside a spill call-back nobody waits for
// that thread, which may be waiting for what the call-back frees.
Result<std::shared_ptr<SpillWorkspace>> Client::Impl::spill_workspace(
    std::chrono::milliseconds timeout) {
  const auto until = Deadline::Clock::now() + bounded(timeout);
  std::unique_lock lock(mutex);
  const auto free_to_make = [this] { return !makes_workspace || workspace || closed; };
  if (!detail::inside_spill()) workspace_made.wait_until(lock, until, free_to_make);
  if (workspace) return workspace;
  if (closed) return fail(ErrorCode::kClosed, "the client was closed");
  if (makes_workspace) {
    return fail(ErrorCode::kTimeout, "another thread still waits for the spill workspace");
  }
  makes_workspace = true;
  lock.unlock();
  auto made = make_workspace(until);
  lock.lock();
  makes_workspace = false;
  workspace_made.notify_all();
  if (made && !closed) return workspace = *std::move(made);
  const bool late = closed;
  lock.unlock();  // what was made is freed unlocked
  if (made && late) return fail(ErrorCode::kClosed, "the client was closed");
  return made;
}

Result<std::shared_ptr<SpillWorkspace>> Client::Impl::make_workspace(
    Deadline::Clock::time_point until) {
  const auto left = [&] {
    return std::max(std::chrono::milliseconds(0),
                    std::chrono::ceil<std::chrono::milliseconds>(until - Deadline::Clock::now()));
  };
  const bool standalone = when_away.mode == WhenAway::Mode::kStandalone;
  if (link) {
    // Without the daemon there is a workspace too: then it is enough to have tried.
    auto connected = link->wait_connected(standalone ? 0 : left().count());
    if (!connected && (!standalone || connected.error().code() != ErrorCode::kTimeout)) {
      return fail(connected.error());
    }
  }
  auto reservation = resources.front().pool->reserve_workspace(left());
  if (!reservation) return fail(reservation.error());
  const std::int64_t bytes = reservation->size();
  return SpillWorkspace::create(
      {.bytes = bytes, .allocator = make_allocator(*std::move(reservation))});
}

CloseReport Client::Impl::close() {
  std::shared_ptr<SpillWorkspace> idle;  // unless a channel has it
  {
    const std::lock_guard lock(mutex);
    closed = true;
    idle = std::exchange(workspace, nullptr);
    workspace_made.notify_all();
  }
  idle.reset();
  for (const Resource& resource : resources) resource.pool->close();
  CloseReport report;
  report.holders = holders();
  if (link) {
    report.ended = link->end_session(report.holders.empty() ? kCloseWait.count() : 0);
  } else {
    report.ended = report.holders.empty();
  }
  return report;
}

/// After close(): a session that has not ended goes on without the client until it has.
void Client::Impl::end() {
  if (!close().ended) {
    if (link) link->abandon();
    return;
  }
  if (link) link->stop();
  for (const Resource& resource : resources) resource.pool->connect(nullptr);
}

Result<Client> Client::open(ClientOptions options) {
  detail::set_defaults(options);
  if (auto ok = detail::check(options); !ok) return fail(ok.error());
  if (transport::DaemonLink::forked()) return fail(transport::DaemonLink::forked_error());

  transport::LinkOptions link;
  link.socket = options.socket;
  link.identity.tenant = options.tenant;
  link.identity.client_name = options.client_name;
  link.identity.labels = options.labels;
  link.identity.priority = options.priority;
  if (options.log) {
    link.log = [sink = options.log](transport::LinkLog level, const std::string& line) {
      try {
        sink(level == transport::LinkLog::kWarn ? LogLevel::kWarn : LogLevel::kInfo, line);
      } catch (...) {  // the sink's trouble is the sink's: nobody above could handle it
      }
    };
  }
  auto impl = std::make_unique<Impl>();
  impl->when_away = options.when_away;
  impl->child_budget_bytes = options.child_budget_bytes;
  for (const ResourceOptions& resource : options.resources) {
    link.resources.push_back(resource.name);
    impl->add_pool(resource, resource.floor_bytes, options.priority);
  }
  impl->link = transport::DaemonLink::make(std::move(link));
  for (std::size_t i = 0; i < impl->resources.size(); ++i) {
    const std::shared_ptr<LeasePool>& pool = impl->resources[i].pool;
    impl->link->bind(i, {pool, &pool->listener()});
    pool->connect(impl->link->source(i));
  }
  return Client(std::move(impl));
}

Result<Client> Client::embedded(std::int64_t capacity_bytes) {
  if (capacity_bytes <= 0) {
    return fail(ErrorCode::kInvalid,
                strf("an embedded client's capacity must be positive, not %lld",
                     static_cast<long long>(capacity_bytes)));
  }
  auto impl = std::make_unique<Impl>();
  const ResourceOptions ram{.floor_bytes = detail::fixed_workspace(capacity_bytes)};
  impl->add_pool(ram, ram.floor_bytes, 0);
  const std::shared_ptr<LeasePool>& pool = impl->resources.front().pool;
  auto source = std::make_shared<lease::FixedSource>(capacity_bytes, pool->listener());
  pool->connect(source);
  source->attach(ram.floor_bytes);
  return Client(std::move(impl));
}

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::Client(Client&&) noexcept = default;

Client& Client::operator=(Client&& other) noexcept {
  Client old(std::move(*this));
  impl_ = std::move(other.impl_);
  return *this;
}

Client::~Client() {
  if (!impl_) return;
  if (impl_->forked()) {
    static_cast<void>(impl_.release());  // the parent's; nothing of it may be touched here
    return;
  }
  impl_->end();
}

Status Client::wait_connected(std::chrono::milliseconds timeout) {
  if (!impl_->link) return {};
  if (impl_->forked()) return fail(transport::DaemonLink::forked_error());
  if (impl_->closed) return fail(ErrorCode::kClosed, "the client was closed");
  return impl_->link->wait_connected(bounded(timeout).count());
}

std::shared_ptr<MemoryPool> Client::pool(std::string_view resource) {
  if (const auto* child = impl_->child(); child != nullptr && child->resource() == resource) {
    return child->pool();
  }
  for (const Impl::Resource& mine : impl_->resources) {
    if (mine.name == resource) return mine.pool;
  }
  return nullptr;
}

std::shared_ptr<BufferAllocator> Client::allocator() {
  if (const auto* child = impl_->child()) return child->allocator();
  // Refuses everything. The parent may have held the mutex at the fork.
  if (impl_->forked()) return make_allocator(impl_->resources.front().pool, "buffers");
  const std::lock_guard lock(impl_->mutex);
  if (!impl_->allocator) {
    impl_->allocator = make_allocator(impl_->resources.front().pool, "buffers");
  }
  return impl_->allocator;
}

Result<std::shared_ptr<SpillWorkspace>> Client::spill_workspace(std::chrono::milliseconds timeout) {
  if (auto* child = impl_->child()) return child->spill_workspace(timeout);
  if (impl_->forked()) return fail(transport::DaemonLink::forked_error());
  if (impl_->closed) return fail(ErrorCode::kClosed, "the client was closed");
  return impl_->spill_workspace(timeout);
}

ClientStats Client::stats() const {
  ClientStats stats;
  if (impl_->forked()) {
    stats.state = ConnectionState::kForked;
    if (const auto* child = impl_->child()) stats.resources.push_back(child->stats());
    return stats;
  }
  if (impl_->link) {
    const transport::LinkStatus link = impl_->link->status();
    const bool never_used = link.state == transport::LinkState::kIdle;
    stats.state = impl_->closed && never_used ? ConnectionState::kClosed : state_of(link.state);
    stats.session_id = link.session_id;
    stats.epoch = link.epoch;
    stats.attach = link.attach;
    stats.reconnects = link.counters.resumed;
    stats.last_error = link.last_error;
  } else {
    stats.state = impl_->closed ? ConnectionState::kClosed : ConnectionState::kEmbedded;
  }
  for (const Impl::Resource& resource : impl_->resources) {
    stats.resources.push_back(stats_of(resource.name, resource.pool->stats()));
  }
  return stats;
}

Result<CloseReport> Client::close() {
  if (impl_->forked()) return fail(transport::DaemonLink::forked_error());
  return impl_->close();
}

}  // namespace membroker
