#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "client/examples/external_sort/line_sort.h"
#include "membroker/error.h"

/// \file
/// Many sorted sequences of lines into one.

namespace membroker::external_sort {

/// A sorted sequence of lines, read one at a time.
class LineSource {
 public:
  virtual ~LineSource() = default;

  /// Goes to the next line, the first one at the first call. False at the end, after which it is
  /// not called again. The line before may be gone.
  virtual Result<bool> next() = 0;

  /// The present line with its newline; readable for kTextPadding bytes more.
  std::string_view line() const { return line_; }
  std::uint32_t length() const { return static_cast<std::uint32_t>(line_.size() - 1); }

 protected:
  std::string_view line_;
};

/// A tournament of losers: the next line of k sources costs log2(k) comparisons, most of them of
/// two numbers (the lines' first eight bytes), without a branch that could be guessed wrong.
class Merger {
 public:
  /// `sources` stand on their first line and outlive the merger.
  explicit Merger(const std::vector<LineSource*>& sources);

  bool empty() const { return size_ == 0; }
  /// The source whose line is the least. Only if not empty.
  LineSource* top() const { return sources_[winner_.leaf]; }
  /// Moves top() on. On an error the merger must not be used any more.
  Status pop();
  /// Sources that still have a line: fewer as they end.
  std::size_t size() const { return size_; }
  std::vector<LineSource*> sources() const;

 private:
  struct Player {
    std::uint64_t key = ~std::uint64_t{0};
    std::uint64_t leaf = 0;
  };

  bool before(const Player& a, const Player& b) const {
    return a.key == b.key ? before_of_equal_keys(a, b) : a.key < b.key;
  }
  bool before_of_equal_keys(const Player& a, const Player& b) const;
  static std::uint64_t key_of(const LineSource& source) {
    return key_at(source.line().data(), source.length(), 0);
  }

  std::vector<LineSource*> sources_;  // by leaf; null: out of lines, loses to everything
  std::vector<Player> losers_;        // heap order; [0] is not used
  Player winner_;
  std::size_t size_ = 0;
};

/// Moves every source to its first line; returns those that have one.
Result<std::vector<LineSource*>> start_all(const std::vector<LineSource*>& sources);

}  // namespace membroker::external_sort
