#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/memory/consumer_state.h"
#include "membroker/memory_pool.h"
#include "shared/bytes.h"

/// \file
/// Who holds a pool's bytes, down to the consumers inside nested pools.

namespace membroker::detail {

/// Adds the consumer if it holds bytes; of one that stands for a nested pool those inside, and the
/// pool itself for what they do not account for. Returns what it holds in all.
Bytes add_holders(const std::shared_ptr<ConsumerState>& consumer, const std::string& within,
                  std::vector<PoolHolder>& holders);
Bytes add_holders(const std::vector<std::shared_ptr<ConsumerState>>& consumers,
                  const std::string& within, std::vector<PoolHolder>& holders);

/// Adds what nobody registered accounts for.
void add_unnamed(const std::string& name, Bytes bytes, std::vector<PoolHolder>& holders);

/// Largest first.
std::vector<PoolHolder> in_order(std::vector<PoolHolder> holders);

}  // namespace membroker::detail
