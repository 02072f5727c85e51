#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace membroker::detail {

struct ConsumerState;

/// The consumers registered with a pool, by registration. There may be 100,000 that come and go.
/// Thread-safe; its mutex is a leaf.
class ConsumerList {
 public:
  void add(std::shared_ptr<ConsumerState> consumer) {
    const std::lock_guard lock(mutex_);
    numbers_[consumer.get()] = ++last_;
    consumers_.emplace(last_, std::move(consumer));
  }
  void remove(const ConsumerState& consumer) {
    std::shared_ptr<ConsumerState> ending;  // outlives the lock
    const std::lock_guard lock(mutex_);
    const auto number = numbers_.find(&consumer);
    if (number == numbers_.end()) return;
    const auto found = consumers_.find(number->second);
    ending = std::move(found->second);
    consumers_.erase(found);
    numbers_.erase(number);
  }
  std::vector<std::shared_ptr<ConsumerState>> all() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<ConsumerState>> all;
    all.reserve(consumers_.size());
    for (const auto& [number, consumer] : consumers_) all.push_back(consumer);
    return all;
  }

 private:
  mutable std::mutex mutex_;  // guards all below
  std::uint64_t last_ = 0;
  std::map<std::uint64_t, std::shared_ptr<ConsumerState>> consumers_;
  std::unordered_map<const ConsumerState*, std::uint64_t> numbers_;
};

}  // namespace membroker::detail
