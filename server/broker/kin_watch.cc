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

struct Followed {
  Peer peer;
  std::vector<Kin> kin;
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

bool is_alive(const Peer& peer) {
  const auto start_time = process_start_time(peer.pid);
  return start_time && *start_time == peer.start_time;
}

// Whether the process runs the image. One that cannot be seen may.
enum class Image { kSame, kOther, kUnseen };
Image compare_image(const Peer& peer) {
  const auto image = process_image(peer.pid);
  if (!image) {
    const bool denied = image.error().code() == ErrorCode::kPermissionDenied;
    return denied ? Image::kUnseen : Image::kOther;
  }
  if (peer.image == kImageUnknown) return Image::kUnseen;
  return *image == peer.image ? Image::kSame : Image::kOther;
}

}  // namespace

struct KinWatch::Impl {
  Impl(Hooks h, KinOptions o) : hooks(std::move(h)), options(o) {}

  void run();
  void sample_measured();
  void sample_followed();
  void sample(Followed& followed, const ProcessTable& table) const;

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
    sample_measured();
    if (begun >= next_sample) {
      sample_followed();
      const auto took = Clock::now() - begun;
      next_sample = begun + std::max<Clock::duration>(std::chrono::milliseconds(options.interval),
                                                      took * options.rest);
    }
    lock.lock();
  }
}

void KinWatch::Impl::sample_measured() {
  std::vector<Peer> all;
  {
    const std::lock_guard lock(mutex);
    for (const auto& [key, one] : measured) all.push_back(one.peer);
  }
  for (const Peer& peer : all) {
    std::optional<Bytes> share;
    if (is_alive(peer)) {
      const Image image = compare_image(peer);
      if (image == Image::kOther) share = 0;
      if (image == Image::kSame) {
        if (const auto seen = process_share(peer.pid)) share = *seen;
      }
    }
    bool tell = false;
    {
      const std::lock_guard lock(mutex);
      const auto found = measured.find(peer.key());
      if (found == measured.end()) continue;
      tell = share && found->second.told != share;
      found->second.told = share;
      if (!share || *share == 0) measured.erase(found);
    }
    if (tell) hooks.on_measured(peer, *share);
  }
}

void KinWatch::Impl::sample_followed() {
  std::vector<Followed> all;
  {
    const std::lock_guard lock(mutex);
    for (const auto& [key, one] : followed) all.push_back(one);
  }
  if (all.empty()) return;
  const auto processes = list_processes();
  if (!processes) return;  // without /proc there is nothing to know
  const ProcessTable table(*processes);
  for (Followed& one : all) {
    if (!table.has(one.peer)) continue;  // its end is told by its pidfd
    const auto image = process_image(one.peer.pid);
    if (image && one.peer.image != kImageUnknown && *image != one.peer.image) {
      std::erase_if(one.kin, [&](const Kin& kin) {
        return !is_alive(kin.process) || compare_image(kin.process) == Image::kOther;
      });
      for (Kin& kin : one.kin) kin.bytes = process_resident(kin.process.pid).value_or(0);
      hooks.on_exec(one.peer, *image, std::exchange(one.kin, {}));
    }
    if (image) one.peer.image = *image;
    sample(one, table);
    const std::lock_guard lock(mutex);
    const auto found = followed.find(one.peer.key());
    if (found != followed.end()) found->second = std::move(one);
  }
}

// Who is below the process and runs its image.
void KinWatch::Impl::sample(Followed& one, const ProcessTable& table) const {
  std::erase_if(one.kin, [&](const Kin& kin) { return !table.has(kin.process); });
  for (const ProcessEntry& entry : table.below(one.peer, one.kin)) {
    Kin kin;
    kin.process = {entry.pid, one.peer.uid, one.peer.gid, entry.start_time, one.peer.image};
    one.kin.push_back(std::move(kin));
  }
  std::erase_if(one.kin, [&](Kin& kin) {
    kin.process.image = one.peer.image;
    const Image image = compare_image(kin.process);
    kin.measurable = image == Image::kSame;
    return image == Image::kOther;
  });
  if (one.kin.size() > kKinMax) one.kin.resize(kKinMax);
}

KinWatch::KinWatch(Hooks hooks, KinOptions options)
    : impl_(std::make_unique<Impl>(std::move(hooks), options)) {
  impl_->thread = std::thread([impl = impl_.get()] { impl->run(); });
}

KinWatch::~KinWatch() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->changed.notify_one();
  impl_->thread.join();
}

void KinWatch::follow(const Peer& peer) {
  {
    const std::lock_guard lock(impl_->mutex);
    if (!impl_->followed.try_emplace(peer.key(), Followed{peer, {}}).second) return;
  }
  impl_->changed.notify_one();
}

std::vector<Kin> KinWatch::ended(const Peer& peer) {
  std::vector<Kin> left;
  {
    const std::lock_guard lock(impl_->mutex);
    const auto found = impl_->followed.find(peer.key());
    if (found == impl_->followed.end()) return left;
    left = std::move(found->second.kin);
    impl_->followed.erase(found);
  }
  std::erase_if(left, [](const Kin& kin) {
    return !is_alive(kin.process) || compare_image(kin.process) == Image::kOther;
  });
  for (Kin& kin : left) kin.bytes = process_resident(kin.process.pid).value_or(0);
  return left;
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
