#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

/// \file
/// A binary heap whose members know their places, so that any of them can be moved or removed in
/// O(log n). `Order` says which of two entries comes first, as a total order, and where an item
/// keeps its place (`kNoPlace` while it is not in the heap).

namespace membroker::arbiter {

inline constexpr std::uint32_t kNoPlace = UINT32_MAX;

template <class Item, class Order>
class IndexedHeap {
 public:
  struct Entry {
    std::int64_t key = 0;
    Item* item = nullptr;
  };

  bool empty() const { return entries_.empty(); }
  std::size_t size() const { return entries_.size(); }
  const Entry& top() const { return entries_.front(); }
  const std::vector<Entry>& entries() const { return entries_; }
  static bool order_before(const Entry& a, const Entry& b) { return Order::before(a, b); }

  /// Inserts the item, or moves it to where its key and its own fields now belong.
  void put(Item& item, std::int64_t key) {
    std::uint32_t place = Order::place(item);
    if (place == kNoPlace) {
      place = static_cast<std::uint32_t>(entries_.size());
      entries_.push_back({key, &item});
    } else {
      entries_[place].key = key;
    }
    settle({key, &item}, place);
  }

  void drop(Item& item) {
    const std::uint32_t place = Order::place(item);
    if (place == kNoPlace) return;
    Order::place(item) = kNoPlace;
    const Entry last = entries_.back();
    entries_.pop_back();
    if (last.item != &item) settle(last, place);
  }

  /// Visits entries, first to last, until `visit` returns false or `kWalkMax` were seen.
  template <class Visit>
  void walk(Visit visit) const {
    std::array<std::uint32_t, kWalkMax + 1> frontier{};
    std::size_t open = 0;
    if (!entries_.empty()) frontier[open++] = 0;
    for (std::size_t seen = 0; open > 0 && seen < kWalkMax; ++seen) {
      std::size_t best = 0;
      for (std::size_t i = 1; i < open; ++i) {
        if (Order::before(entries_[frontier[i]], entries_[frontier[best]])) best = i;
      }
      const std::uint32_t place = frontier[best];
      if (!visit(entries_[place])) return;
      frontier[best] = frontier[--open];
      for (std::uint32_t child = 2 * place + 1; child <= 2 * place + 2; ++child) {
        if (child < entries_.size()) frontier[open++] = child;
      }
    }
  }

 private:
  // Of more than these in a row that may not be taken, the rest is not looked at.
  static constexpr std::size_t kWalkMax = 64;

  void set(const Entry& entry, std::uint32_t place) {
    entries_[place] = entry;
    Order::place(*entry.item) = place;
  }

  // Moves `entry`, whose hole is at `place`, up or down to where it belongs.
  void settle(const Entry& entry, std::uint32_t place) {
    while (place > 0) {
      const std::uint32_t parent = (place - 1) / 2;
      if (!Order::before(entry, entries_[parent])) break;
      set(entries_[parent], place);
      place = parent;
    }
    const auto size = static_cast<std::uint32_t>(entries_.size());
    for (;;) {
      std::uint32_t child = 2 * place + 1;
      if (child >= size) break;
      if (child + 1 < size && Order::before(entries_[child + 1], entries_[child])) ++child;
      if (!Order::before(entries_[child], entry)) break;
      set(entries_[child], place);
      place = child;
    }
    set(entry, place);
  }

  std::vector<Entry> entries_;
};

}  // namespace membroker::arbiter
