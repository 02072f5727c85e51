#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "client/lease/shard_book.h"

/// \file
/// Every interleaving of a small model of the shard rules: a few threads with short programs over
/// the real shards and the real book. One step is what another thread can see as one: a take or a
/// give (each is one compare-and-swap), or the draining of one shard under the mutex. The model
/// adds only what LeaseCache::take_locked does: the mutex, the order of its steps, the decision.
///
/// Checked after each step: nobody uses more than there is, and nothing is lost. At each refusal:
/// at some instant since it was asked for, the bytes were not there.

namespace membroker::lease {
namespace {

constexpr std::size_t kShardsMax = 3;

using Program = std::vector<Bytes>;  // taken; below 0: given back

struct Start {
  Bytes size;
  Bytes credit;
};

struct Model {
  Bytes capacity;
  std::vector<Start> shards;
  std::vector<Program> programs;  // thread i works on shard i
  bool hand_out_credit = true;
  bool slow_while_sweeping = true;  // the rule itself; false shows that the test would see its lack
};

enum class At { kFast, kLock, kSweep, kDecide, kDone };

struct Thread {
  std::size_t op = 0;
  At at = At::kFast;
  std::size_t swept = 0;
  Bytes most_used_since = 0;  // at any instant of this op
};

/// One state, reached by replaying a path of thread numbers.
class World {
 public:
  explicit World(const Model& model) : model_(model), free_(model.capacity) {
    for (std::size_t i = 0; i < model.shards.size(); ++i) {
      auto shard = std::make_unique<LeaseShard>(&shared_[i], accounts_[i]);
      book_.add(*shard);
      free_ -= book_.grow(*shard, model.shards[i].size, model.shards[i].credit);
      shard->set_credit_limit(kLimit);
      shards_.push_back(std::move(shard));
    }
    threads_.resize(model.programs.size());
    for (std::size_t i = 0; i < threads_.size(); ++i) begin(threads_[i], i);
  }
  ~World() {
    for (auto& shard : shards_) book_.shrink(*shard, shard->size(), 0), book_.remove(*shard);
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  bool can_step(std::size_t t) const {
    return threads_[t].at != At::kDone && (threads_[t].at != At::kLock || owner_ == kNobody);
  }
  bool finished() const {
    return std::all_of(threads_.begin(), threads_.end(),
                       [](const Thread& thread) { return thread.at == At::kDone; });
  }

  /// What went wrong, or "".
  std::string step(std::size_t t) {
    Thread& thread = threads_[t];
    LeaseShard& shard = *shards_[t];
    // What was refused before cannot be given back.
    const Bytes n = std::max(model_.programs[t][thread.op], -shard.size());
    switch (thread.at) {
      case At::kFast:
        if (n < 0 ? shard.give(-n) : shard.take(n)) {
          end(t);
        } else {
          thread.at = At::kLock;
        }
        break;
      case At::kLock: lock(t, n); break;
      case At::kSweep: sweep(thread); break;
      case At::kDecide:
        if (auto wrong = decide(t, n); !wrong.empty()) return wrong;
        break;
      case At::kDone: break;
    }
    return check();
  }

  /// Equal for states from which the same can happen.
  std::string key() const {
    std::string key;
    const auto put = [&key](std::int64_t value) { key += std::to_string(value) + ","; };
    for (const auto& shard : shards_) {
      const std::uint64_t word = shard->word();
      put(shard->size());
      put(static_cast<std::int64_t>(word & (LeaseShard::kEdit - 1)));
    }
    for (const Thread& thread : threads_) {
      put(static_cast<std::int64_t>(thread.op));
      put(static_cast<std::int64_t>(thread.at));
      put(static_cast<std::int64_t>(thread.swept));
      put(thread.most_used_since);
    }
    put(free_);
    put(static_cast<std::int64_t>(owner_));
    put(book_.slow() ? 1 : 0);
    return key;
  }

  int refusals() const { return refusals_; }

 private:
  static constexpr Bytes kLimit = 2;
  static constexpr std::size_t kNobody = std::numeric_limits<std::size_t>::max();

  Bytes used() const { return book_.used(); }

  void begin(Thread& thread, std::size_t t) {
    if (thread.op == model_.programs[t].size()) {
      thread.at = At::kDone;
      return;
    }
    thread.at = At::kFast;
    thread.swept = 0;
    thread.most_used_since = used();
  }

  void end(std::size_t t) {
    ++threads_[t].op;
    begin(threads_[t], t);
  }

  void lock(std::size_t t, Bytes n) {
    owner_ = t;
    LeaseShard& shard = *shards_[t];
    if (n < 0) {
      free_ += book_.shrink(shard, -n, credit());
      unlock(t);
      return;
    }
    free_ += book_.drain(shard);
    if (free_ >= n) {
      threads_[t].at = At::kDecide;
      return;
    }
    if (model_.slow_while_sweeping) book_.set_slow(true);
    threads_[t].at = At::kSweep;
  }

  void sweep(Thread& thread) {
    free_ += book_.drain(*shards_[thread.swept++]);
    if (thread.swept == shards_.size()) thread.at = At::kDecide;
  }

  std::string decide(std::size_t t, Bytes n) {
    book_.set_slow(false);
    if (free_ >= n) {
      free_ -= book_.grow(*shards_[t], n, std::min(credit(), free_ - n));
    } else {
      ++refusals_;
      if (model_.capacity - threads_[t].most_used_since >= n) {
        return "refused " + std::to_string(n) + " to thread " + std::to_string(t) +
               " though never less than " +
               std::to_string(model_.capacity - threads_[t].most_used_since) + " was unused";
      }
    }
    unlock(t);
    return {};
  }

  void unlock(std::size_t t) {
    owner_ = kNobody;
    end(t);
  }

  Bytes credit() const { return book_.slow() ? 0 : 1; }

  std::string check() {
    Bytes charged = free_;
    for (std::size_t i = 0; i < shards_.size(); ++i) charged += accounts_[i].charged;
    if (charged != model_.capacity) return "bytes were lost or made";
    if (used() > model_.capacity) return "more is used than there is";
    for (Thread& thread : threads_) {
      thread.most_used_since = std::max(thread.most_used_since, used());
    }
    return {};
  }

  const Model& model_;
  ShardBook book_;
  std::array<detail::SharedUse, kShardsMax> shared_;
  std::array<ShardAccount, kShardsMax> accounts_;
  std::vector<std::unique_ptr<LeaseShard>> shards_;
  std::vector<Thread> threads_;
  Bytes free_;
  std::size_t owner_ = kNobody;
  int refusals_ = 0;
};

struct Explored {
  std::size_t states = 0;
  std::size_t refusals = 0;
  std::string wrong;  // and the path to it
};

/// Depth first over all paths; a state seen before is not entered again. A state is reached by
/// replaying its path from the start: shards cannot be copied.
Explored explore(const Model& model) {
  Explored explored;
  std::set<std::string> seen;
  std::vector<std::vector<std::size_t>> open = {{}};
  while (!open.empty()) {
    const std::vector<std::size_t> path = std::move(open.back());
    open.pop_back();
    for (std::size_t t = 0; t < model.programs.size(); ++t) {
      World world(model);
      for (const std::size_t step : path) world.step(step);
      if (!world.can_step(t)) continue;
      const int refusals_before = world.refusals();
      explored.wrong = world.step(t);
      explored.refusals += static_cast<std::size_t>(world.refusals() - refusals_before);
      if (!explored.wrong.empty()) {
        explored.wrong += "; steps of threads:";
        for (const std::size_t step : path) explored.wrong += " " + std::to_string(step);
        explored.wrong += " " + std::to_string(t);
        return explored;
      }
      if (!seen.insert(world.key()).second) continue;
      ++explored.states;
      auto longer = path;
      longer.push_back(t);
      open.push_back(std::move(longer));
    }
  }
  return explored;
}

// One gives, one takes out of its credit, one asks for what the first gave.
Model passing() {
  return {.capacity = 2, .shards = {{1, 0}, {0, 1}, {0, 0}}, .programs = {{{-1}}, {{1}}, {{1}}}};
}

TEST(ShardInterleavingsTest, ARefusalIsNeverGivenWhileAnotherShardHasTheBytes) {
  const Explored explored = explore(passing());
  EXPECT_EQ(explored.wrong, "");
  EXPECT_GT(explored.states, 20u);
  EXPECT_GT(explored.refusals, 0u);
}

TEST(ShardInterleavingsTest, TheSearchSeesASweepThatLetsBytesSlipPast) {
  Model model = passing();
  model.slow_while_sweeping = false;
  EXPECT_NE(explore(model).wrong, "");
}

TEST(ShardInterleavingsTest, ThreeThreadsTakingAndGivingInTurn) {
  const Program program = {1, 1, -1, 1, -2};
  for (const Bytes capacity : {2, 3, 4}) {
    const Explored explored =
        explore({.capacity = capacity, .shards = {{0, 0}, {0, 0}}, .programs = {program, program}});
    EXPECT_EQ(explored.wrong, "") << "capacity " << capacity;
  }
  const Explored explored = explore({.capacity = 3,
                                     .shards = {{1, 0}, {0, 1}, {0, 1}},
                                     .programs = {{-1, 2, -1, 1}, {1, -1, 1}, {2, -1, 2}}});
  EXPECT_EQ(explored.wrong, "");
  EXPECT_GT(explored.states, 200u);
}

}  // namespace
}  // namespace membroker::lease
