#include "client/examples/external_sort/merge.h"

#include <algorithm>
#include <utility>

namespace membroker::external_sort {

Merger::Merger(const std::vector<LineSource*>& sources) : size_(sources.size()) {
  // One leaf per source, rounded up to a power of two with players that never win.
  std::size_t leaves = 1;
  while (leaves < sources.size()) leaves *= 2;
  losers_.resize(leaves);
  std::vector<Player> winners(2 * leaves);
  for (std::size_t i = 0; i < leaves; ++i) {
    Player& player = winners[leaves + i];
    player.leaf = static_cast<std::uint32_t>(i);
    if (i >= sources.size()) continue;
    player.source = sources[i];
    player.key = key_of(*sources[i]);
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

std::uint32_t Merger::shared_bytes(const Player& a, const Player& b) {
  return std::min({std::uint32_t{sizeof(a.key)}, a.source->length(), b.source->length()});
}

Status Merger::pop() {
  auto more = winner_.source->next();
  if (!more) return fail(more.error());
  Player player{.leaf = winner_.leaf};
  if (*more) {
    player.source = winner_.source;
    player.key = key_of(*player.source);
  } else {
    --size_;
  }
  for (std::size_t node = (losers_.size() + player.leaf) / 2; node > 0; node /= 2) {
    if (before(losers_[node], player)) std::swap(losers_[node], player);
  }
  winner_ = player;
  return {};
}

std::vector<LineSource*> Merger::sources() const {
  std::vector<LineSource*> left;
  if (winner_.source != nullptr) left.push_back(winner_.source);
  for (const Player& loser : losers_) {
    if (loser.source != nullptr) left.push_back(loser.source);
  }
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
