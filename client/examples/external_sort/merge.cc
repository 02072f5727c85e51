#include "client/examples/external_sort/merge.h"

#include <algorithm>
#include <bit>
#include <iterator>

namespace membroker::external_sort {

Merger::Merger(const std::vector<LineSource*>& sources) : sources_(sources), size_(sources.size()) {
  // One leaf per source, rounded up to a power of two with players that never win.
  sources_.resize(std::bit_ceil(std::max<std::size_t>(sources.size(), 1)));
  const std::size_t leaves = sources_.size();
  losers_.resize(leaves);
  std::vector<Player> winners(2 * leaves);
  for (std::size_t leaf = 0; leaf < leaves; ++leaf) {
    Player& player = winners[leaves + leaf];
    player.leaf = leaf;
    if (sources_[leaf] != nullptr) player.key = key_of(*sources_[leaf]);
  }
  for (std::size_t node = leaves - 1; node > 0; --node) {
    const Player& left = winners[2 * node];
    const Player& right = winners[2 * node + 1];
    const bool left_wins = before(left, right);
    winners[node] = left_wins ? left : right;
    losers_[node] = left_wins ? right : left;
  }
  winner_ = winners[1];
}

bool Merger::before_of_equal_keys(const Player& a, const Player& b) const {
  const LineSource* const first = sources_[a.leaf];
  const LineSource* const second = sources_[b.leaf];
  if (first == nullptr || second == nullptr) return first != nullptr;
  const std::uint32_t equal =
      std::min({std::uint32_t{sizeof(a.key)}, first->length(), second->length()});
  return comes_before(first->line().data(), first->length(), second->line().data(),
                      second->length(), equal);
}

Status Merger::pop() {
  Player player{.leaf = winner_.leaf};
  LineSource*& source = sources_[player.leaf];
  auto more = source->next();
  if (!more) return fail(more.error());
  if (*more) {
    player.key = key_of(*source);
  } else {
    source = nullptr;
    --size_;
  }
  for (std::size_t node = (losers_.size() + player.leaf) / 2; node > 0; node /= 2) {
    Player& loser = losers_[node];
    // Who wins is a coin's toss: exchanged by arithmetic, not by a branch.
    const std::uint64_t exchange = before(loser, player) ? ~std::uint64_t{0} : 0;
    const std::uint64_t key = (loser.key ^ player.key) & exchange;
    const std::uint64_t leaf = (loser.leaf ^ player.leaf) & exchange;
    loser = {loser.key ^ key, loser.leaf ^ leaf};
    player = {player.key ^ key, player.leaf ^ leaf};
  }
  winner_ = player;
  return {};
}

std::vector<LineSource*> Merger::sources() const {
  std::vector<LineSource*> left;
  std::copy_if(sources_.begin(), sources_.end(), std::back_inserter(left),
               [](const LineSource* source) { return source != nullptr; });
  return left;
}

Result<std::vector<LineSource*>> start_all(const std::vector<LineSource*>& sources) {
  std::vector<LineSource*> started;
  for (LineSource* source : sources) {
    const auto has_line = source->next();
    if (!has_line) return fail(has_line.error());
    if (*has_line) started.push_back(source);
  }
  return started;
}

}  // namespace membroker::external_sort
