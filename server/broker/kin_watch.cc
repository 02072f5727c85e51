#include "server/broker/kin_watch.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <utility>

#include "server/broker/process_facts.h"

namespace membroker::broker {
namespace {

using Clock = std::chrono::steady_clock;

// Copied while the lock is held: without its groups a copy allocates nothing.
struct Followed {
  Peer peer;
  std::shared_ptr<const std::vector<Kin>> kin = std::make_shared<std::vector<Kin>>();
};

struct Measured {
  Peer peer;
  std::optional<Bytes> told;
};

// The processes of one moment, for questions by pid and by parent.
class ProcessTable {
 public:
  explicit ProcessTable(const std::vector<ProcessEntry>& all) {
    for (const ProcessEntry& entry : all) {
      by_pid_.emplace(entry.pid, entry);
      children_[entry.parent].push_back(entry.pid);
    }
  }
  bool has(const Peer& peer) const {
    const auto found = by_pid_.find(peer.pid);
    return found != by_pid_.end() && found->second.start_time == peer.start_time;
  }
  // All below the process and below those known before, without these.
  std::vector<ProcessEntry> below(const Peer& peer, const std::vector<Kin>& known) const {
    std::vector<ProcessEntry> result;
    std::vector<pid_t> parents{peer.pid};
    std::map<pid_t, bool> seen{{peer.pid, true}};
    for (const Kin& kin : known) {
      parents.push_back(kin.process.pid);
      seen[kin.process.pid] = true;
    }
    while (!parents.empty() && result.size() < KinWatch::kKinMax) {
      const auto children = children_.find(parents.back());
      parents.pop_back();
      if (children == children_.end()) continue;
      for (const pid_t child : children->second) {
        if (!seen.emplace(child, true).second) continue;
        result.push_back(by_pid_.at(child));
        parents.push_back(child);
      }
    }
    return result;
  }

 private:
  std::unordered_map<pid_t, ProcessEntry> by_pid_;
  std::unordered_map<pid_t, std::vector<pid_t>> children_;
};

// A process whose files cannot be read may live.
bool may_live(const Peer& peer) {
  const auto start_time = process_start_time(peer.pid);
  return start_time ? *start_time == peer.start_time
                    : start_time.error().code() != ErrorCode::kNotFound;
}

// Whether the process runs the image. None: it has ended, or is within an exec; hidden: the daemon
// has no right to see it; unread: that failed just now.
enum class Image { kSame, kOther, kNone, kHidden, kUnread };
Image compare_image(const Peer& peer) {
  const auto image = process_image(peer.pid);
  if (image && peer.image == kImageUnknown) return Image::kHidden;
  if (image) return *image == peer.image ? Image::kSame : Image::kOther;
  switch (image.error().code()) {
    case ErrorCode::kNotFound: return Image::kNone;
    case ErrorCode::kPermissionDenied: return Image::kHidden;
    default: return Image::kUnread;
  }
}

bool holds_nothing(Image image) { return image == Image::kOther || image == Image::kNone; }

// Those that may live and run the image still, with what they hold now.
std::vector<Kin> left_of(std::vector<Kin> kin) {
  std::erase_if(kin, [](const Kin& one) {
    return !may_live(one.process) || holds_nothing(compare_image(one.process));
  });
  for (Kin& one : kin) {
    const auto resident = process_resident(one.process.pid);
    one.bytes = resident ? std::optional(*resident) : std::nullopt;
  }
  return kin;
}

// Who is below the process and runs its image, besides those known.
void find_kin(const Peer& peer, const ProcessTable& table, std::vector<Kin>* kin) {
  std::erase_if(*kin, [&](const Kin& one) { return !table.has(one.process); });
  for (const ProcessEntry& entry : table.below(peer, *kin)) {
    Kin one;
    one.process = {entry.pid, peer.uid, peer.gid, entry.start_time, peer.image};
    kin->push_back(std::move(one));
  }
  std::erase_if(*kin, [&](Kin& one) {
    one.process.image = peer.image;
    const Image image = compare_image(one.process);
    if (image != Image::kUnread) one.measurable = image == Image::kSame;
    return holds_nothing(image);
  });
  if (kin->size() > KinWatch::kKinMax) kin->resize(KinWatch::kKinMax);
}

}  // namespace

struct KinWatch::Impl {
  Impl(Hooks h, KinOptions o) : hooks(std::move(h)), options(o) {}

  void run();
  void measure_all(bool again);
  void sample_followed();
  void sample(Followed& one, const ProcessTable& table);
  std::optional<Followed> after(const ProcessKey& key);

  const Hooks hooks;
  const KinOptions options;
  std::mutex mutex;  // leaf; guards all below; no file is read while it is held
  std::condition_variable changed;
  std::map<ProcessKey, Followed> followed;
  std::map<ProcessKey, Measured> measured;
  bool measure_now = false;
  bool stopping = false;
  std::thread thread;
};

void KinWatch::Impl::run() {
  auto next_sample = Clock::now() + std::chrono::milliseconds(options.interval);
  std::unique_lock lock(mutex);
  while (!stopping) {
    const bool idle = followed.empty() && measured.empty();
    const auto wanted = [this] { return stopping || measure_now; };
    if (idle) {
      changed.wait(lock, [&] { return wanted() || !followed.empty(); });
      next_sample = Clock::now();
    } else {
      changed.wait_until(lock, next_sample, wanted);
    }
    if (stopping) return;
    measure_now = false;
    lock.unlock();
    const auto begun = Clock::now();
    const bool due = begun >= next_sample;
    measure_all(due);
    if (due) {
      sample_followed();
      const auto took = Clock::now() - begun;
      next_sample = begun + std::max<Clock::duration>(std::chrono::milliseconds(options.interval),
                                                      took * options.rest);
    }
    lock.lock();
  }
}

// What has never been told, and, `again`, all else.
void KinWatch::Impl::measure_all(bool again) {
  std::vector<Peer> all;
  {
    const std::lock_guard lock(mutex);
    for (const auto& [key, one] : measured) {
      if (again || !one.told) all.push_back(one.peer);
    }
  }
  std::vector<MeasuredShare> changes;
  for (const Peer& peer : all) {
    const bool ended = !may_live(peer);
    const Image image = ended ? Image::kNone : compare_image(peer);
    const auto share = process_share(peer.pid);
    const std::lock_guard lock(mutex);
    const auto found = measured.find(peer.key());
    if (found == measured.end()) continue;
    if (ended) changes.push_back({peer, 0});
    if (ended || image == Image::kOther || image == Image::kHidden) {
      measured.erase(found);
    } else if (image == Image::kSame && share && found->second.told != *share) {
      found->second.told = *share;
      changes.push_back({peer, *share});
    }
  }
  if (!changes.empty()) hooks.on_measured(std::move(changes));
}

std::optional<Followed> KinWatch::Impl::after(const ProcessKey& key) {
  const std::lock_guard lock(mutex);
  const auto found = followed.upper_bound(key);
  return found == followed.end() ? std::nullopt : std::optional(found->second);
}

void KinWatch::Impl::sample_followed() {
  {
    const std::lock_guard lock(mutex);
    if (followed.empty()) return;
  }
  const auto processes = list_processes();
  if (!processes) return;  // without /proc there is nothing to know
  const ProcessTable table(*processes);
  ProcessKey last{};
  while (auto one = after(last)) {
    last = one->peer.key();
    if (table.has(one->peer)) sample(*one, table);  // the end of others is told by their pidfds
  }
}

void KinWatch::Impl::sample(Followed& one, const ProcessTable& table) {
  std::vector<Kin> kin = *one.kin;
  const auto image = process_image(one.peer.pid);
  if (image && one.peer.image != kImageUnknown && *image != one.peer.image) {
    const std::vector<Kin> before = std::exchange(kin, {});
    one.kin = std::make_shared<const std::vector<Kin>>();
    {
      // First: who is told of the exec must not find them with the new image.
      const std::lock_guard lock(mutex);
      const auto found = followed.find(one.peer.key());
      if (found != followed.end()) found->second.kin = one.kin;
    }
    hooks.on_exec(one.peer, *image, left_of(before));
  }
  if (image) one.peer.image = *image;
  find_kin(one.peer, table, &kin);
  one.kin = std::make_shared<const std::vector<Kin>>(std::move(kin));
  const std::lock_guard lock(mutex);
  const auto found = followed.find(one.peer.key());
  if (found != followed.end()) std::swap(found->second, one);
}

KinWatch::KinWatch(Hooks hooks, KinOptions options)
    : impl_(std::make_unique<Impl>(std::move(hooks), options)) {
  impl_->thread = std::thread([impl = impl_.get()] { impl->run(); });
}

KinWatch::~KinWatch() { stop(); }

void KinWatch::stop() {
  if (!impl_->thread.joinable()) return;
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->changed.notify_one();
  impl_->thread.join();
}

bool KinWatch::follow(const Peer& peer) {
  Followed one;
  one.peer = peer;
  one.peer.groups.clear();
  {
    const std::lock_guard lock(impl_->mutex);
    if (!impl_->followed.try_emplace(peer.key(), std::move(one)).second) return false;
  }
  impl_->changed.notify_one();
  return true;
}

std::vector<Kin> KinWatch::ended(const Peer& peer) {
  Followed one;
  {
    const std::lock_guard lock(impl_->mutex);
    const auto found = impl_->followed.find(peer.key());
    if (found == impl_->followed.end()) return {};
    std::swap(one, found->second);
    impl_->followed.erase(found);
  }
  return left_of(*one.kin);
}

void KinWatch::forget(const Peer& peer) {
  const std::lock_guard lock(impl_->mutex);
  impl_->followed.erase(peer.key());
  impl_->measured.erase(peer.key());
}

void KinWatch::measure(const Peer& process) {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->measured.try_emplace(process.key(), Measured{process, {}});
    impl_->measure_now = true;
  }
  impl_->changed.notify_one();
}

}  // namespace membroker::broker
